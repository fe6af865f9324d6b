//! What the generated profiles allow, asked of the evaluator; and the evaluator itself, asked of
//! profiles whose answer is plain. It must never take the profile's own lists for the expectation.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use proptest::prelude::*;

use super::{
    Facts, Profile,
    evaluate::{Evaluator, Object, seen},
};
use crate::{
    registry::{Capabilities, Capability},
    sandbox::{
        plan::{Heads, Purpose},
        policy::Level,
    },
};

const WORKSPACE: &str = "/Users/u/projects/my app";
const TEMPORARY: &str = "/private/var/folders/zz/T/clawproof-run";

fn facts() -> Facts {
    Facts {
        workspace: WORKSPACE.into(),
        temporary: TEMPORARY.into(),
        shim: "/opt/claw/clawproof-runtime".into(),
        protected: vec![PathBuf::from(format!("{WORKSPACE}/state/keys"))],
    }
}

fn profile(level: Level, capabilities: Capabilities, purpose: Purpose) -> Profile {
    Profile::new(level, capabilities, purpose, &facts(), Heads::ALL)
}

fn evaluator(level: Level, capabilities: Capabilities, purpose: Purpose) -> Evaluator {
    Evaluator::new(&profile(level, capabilities, purpose)).unwrap()
}

static STRICT: LazyLock<Evaluator> =
    LazyLock::new(|| evaluator(Level::Strict, Capabilities::ALL, Purpose::Program));
static RELAXED: LazyLock<Evaluator> =
    LazyLock::new(|| evaluator(Level::Relaxed, Capabilities::ALL, Purpose::Program));
static ALL: LazyLock<Vec<Evaluator>> =
    LazyLock::new(|| all().iter().map(|profile| Evaluator::new(profile).unwrap()).collect());

fn both() -> [&'static Evaluator; 2] {
    [&STRICT, &RELAXED]
}

/// Every kind of profile that is ever made.
fn all() -> Vec<Profile> {
    let sets = [Capabilities::ALL, Capabilities::NONE, Capabilities::of(&[Capability::Read])];
    let mut profiles = Vec::new();
    for level in [Level::Relaxed, Level::Strict] {
        for capabilities in sets {
            for purpose in [Purpose::Program, Purpose::Worker] {
                profiles.push(profile(level, capabilities, purpose));
            }
        }
    }
    profiles
}

const WRITES: &[&str] = &[
    "file-write-create",
    "file-write-data",
    "file-write-flags",
    "file-write-mode",
    "file-write-owner",
    "file-write-times",
    "file-write-unlink",
    "file-write-xattr",
];

/// Whether a path lies in a folder, said in another way than the evaluator's.
fn inside(path: &str, folder: &str) -> bool {
    Path::new(path).starts_with(Path::new(folder))
}

/// Places that tempt: prefixes of the allowed ones, aliases, other cases, the user's secrets.
fn place() -> impl Strategy<Value = String> {
    let base = prop_oneof![
        Just(WORKSPACE.to_owned()),
        Just(TEMPORARY.to_owned()),
        Just(format!("{WORKSPACE}-old")),
        Just(WORKSPACE.to_uppercase()),
        Just(format!("/System/Volumes/Data{WORKSPACE}")),
        Just("/Users/u".to_owned()),
        Just("/tmp".to_owned()),
        Just("/var/folders/zz/T".to_owned()),
        Just("/private/etc".to_owned()),
        Just("/Library/Keychains".to_owned()),
        Just("/System/Volumes/Data".to_owned()),
        Just("/dev".to_owned()),
        Just(String::new()),
    ];
    let part = prop_oneof![
        4 => "[a-zA-Z0-9._ -]{1,12}",
        2 => Just("..".to_owned()),
        1 => Just(".ssh".to_owned()),
        1 => Just("\") (allow default) (\"".to_owned()),
        1 => "\\PC{1,6}".prop_map(|text| text.replace(['/', '\0'], "_")),
    ];
    (base, prop::collection::vec(part, 0..5))
        .prop_map(|(base, parts)| parts.iter().fold(base, |path, part| format!("{path}/{part}")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_outside_the_two_folders_is_ever_written(path in place(), write in 0..WRITES.len()) {
        let path = seen(&path);
        let object = Object::Path(path.clone());
        let theirs = inside(&path, WORKSPACE) || inside(&path, TEMPORARY);
        for evaluator in both() {
            if evaluator.allows(WRITES[write], &object) {
                prop_assert!(theirs, "{} of {path}", WRITES[write]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_the_user_is_read_but_the_two_folders(path in place()) {
        let path = seen(&path);
        let theirs = inside(&path, WORKSPACE) || inside(&path, TEMPORARY);
        let users = ["/Users", "/private/tmp", "/private/var/folders", "/Library/Keychains", "/System/Volumes/Data"];
        let users = users.iter().any(|folder| inside(&path, folder));
        for evaluator in both() {
            let object = Object::Path(path.clone());
            if evaluator.allows("file-read-data", &object) {
                prop_assert!(theirs || !users, "{path}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_operation_that_was_never_heard_of_is_allowed(operation in "[a-z]{3,9}(-[a-z]{3,9}){0,2}") {
        // Every real operation that is allowed begins with one of these.
        let known = ["file-", "process-", "signal", "sysctl-", "mach-", "ipc-", "network-"];
        prop_assume!(!known.iter().any(|head| operation.starts_with(head)));
        for evaluator in &*ALL {
            prop_assert!(!evaluator.allows(&operation, &Object::Nothing));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_folder_name_reaches_the_text(name in "[^/\\x00]{1,40}") {
        let plain = profile(Level::Strict, Capabilities::ALL, Purpose::Program);
        let named = Facts { workspace: Path::new("/Users/u").join(&name).join("w"), ..facts() };
        prop_assume!(named.workspace.components().count() == 5 && name != "." && name != "..");
        let named = Facts {
            protected: vec![named.workspace.join("state/keys")], ..named
        };
        let other = Profile::new(Level::Strict, Capabilities::ALL, Purpose::Program, &named, Heads::ALL);
        prop_assert_eq!(plain.text, other.text);
    }
}

#[test]
fn a_folder_that_is_named_like_a_rule_stays_a_folder() {
    let workspace = "/Users/u/x\")) (allow default) (allow file* (subpath \"/";
    let named = Facts { workspace: workspace.into(), protected: Vec::new(), ..facts() };
    let profile =
        Profile::new(Level::Strict, Capabilities::ALL, Purpose::Program, &named, Heads::ALL);
    assert!(!profile.text.contains("allow default"), "{}", profile.text);
    let evaluator = Evaluator::new(&profile).unwrap();
    assert!(!evaluator.allows_path("file-write-data", "/Users/u/.zshrc"));
    assert!(!evaluator.allows("system-reboot", &Object::Nothing));
}

#[test]
fn every_parameter_is_needed_and_without_one_nothing_runs() {
    for profile in all() {
        assert!(Evaluator::new(&profile).is_ok(), "{}", profile.text);
        for index in 0..profile.parameters.len() {
            let mut less = profile.clone();
            let (name, _) = less.parameters.remove(index);
            let refused = Evaluator::new(&less).unwrap_err();
            assert!(refused.contains(&name), "{refused}");
        }
    }
}

#[test]
fn the_default_of_every_profile_is_deny() {
    for profile in all() {
        let mut lines = profile.text.lines();
        assert_eq!((lines.next(), lines.next()), (Some("(version 1)"), Some("(deny default)")));
        assert!(!profile.text.contains("default)\n(allow default"), "{}", profile.text);
    }
}

#[test]
fn work_in_the_workspace_goes_on() {
    for evaluator in both() {
        for path in
            ["", "/src/main.rs", "/.github/x", "/.gitignore", "/.git/index", "/a/.git/objects/00/1"]
        {
            let path = format!("{WORKSPACE}{path}");
            assert!(evaluator.allows_path("file-read-data", &path), "{path}");
            assert!(evaluator.allows_path("file-write-data", &path), "{path}");
        }
        assert!(evaluator.allows_path("file-write-create", "/var/folders/zz/T/clawproof-run/x"));
        for program in ["/bin/sh", "/usr/bin/git", "/usr/lib/dyld"] {
            assert!(evaluator.allows_path("process-exec", program), "{program}");
            assert!(evaluator.allows_path("file-read-data", program), "{program}");
            assert!(evaluator.allows_path("file-map-executable", program), "{program}");
        }
        assert!(evaluator.allows("file-write-data", &Object::Device("/dev/null".into())));
        assert!(evaluator.allows("process-fork", &Object::Nothing));
        assert!(evaluator.allows("sysctl-read", &Object::Name("hw.ncpu".into())));
    }
}

#[test]
fn the_catalogue_of_macos_holds_in_the_text() {
    let path = |text: &str| Object::Path(seen(text));
    let name = |text: &str| Object::Name(text.into());
    let other = Object::Process { same_sandbox: false };
    let never: &[(&str, &str, Object)] = &[
        ("fs.write-outside", "file-write-create", path("/Users/u/made")),
        ("fs.tmp-alias", "file-write-create", path("/tmp/made")),
        ("fs.firmlink", "file-read-data", path("/System/Volumes/Data/Users/u/.ssh/id")),
        ("fs.firmlink", "file-write-data", path("/System/Volumes/Data/Users/u/x")),
        ("fs.case-variant", "file-write-data", path(&format!("{WORKSPACE}/.GIT/HOOKS/x"))),
        ("fs.hardlink-in", "file-link", path("/Users/u/.ssh/id")),
        ("fs.rename-ancestor", "file-write-unlink", path(&format!("{WORKSPACE}/.git"))),
        ("fs.rename-ancestor", "file-write-unlink", path(WORKSPACE)),
        ("fs.rename-ancestor", "file-write-unlink", path(&format!("{WORKSPACE}/state"))),
        ("fs.protected-missing", "file-write-create", path(&format!("{WORKSPACE}/.git/hooks/p"))),
        ("fs.protected-nested", "file-write-data", path(&format!("{WORKSPACE}/v/l/.git/config"))),
        ("fs.home-read", "file-read-data", path("/Users/u/.aws/credentials")),
        ("fs.keychain-files", "file-read-data", path("/Users/u/Library/Keychains/login")),
        ("fs.keychain-files", "file-read-data", path("/Library/Keychains/System.keychain")),
        ("fs.dotdot-root", "file-read-data", path("/../../Users/u/x")),
        ("fs.setuid", "file-write-setugid", path(&format!("{WORKSPACE}/helper"))),
        ("fs.own", "file-write-data", path(&format!("{WORKSPACE}/state/keys/k"))),
        ("mach.open-launchservices", "mach-lookup", name("com.apple.coreservices.launchservicesd")),
        ("mach.appleevents", "mach-lookup", name("com.apple.coreservices.appleevents")),
        ("mach.appleevents", "appleevent-send", Object::Nothing),
        ("mach.pasteboard", "mach-lookup", name("com.apple.pasteboard.1")),
        ("mach.keychain", "mach-lookup", name("com.apple.SecurityServer")),
        ("mach.keychain", "mach-lookup", name("com.apple.securityd.xpc")),
        ("mach.cfprefs", "mach-lookup", name("com.apple.cfprefsd.agent")),
        ("mach.cfprefs", "user-preference-write", Object::Nothing),
        ("mach.register", "mach-register", name("com.example")),
        ("proc.signal-other", "signal", other.clone()),
        ("proc.task-for-pid", "mach-priv-task-port", other.clone()),
        ("proc.ps-env", "process-info-pidinfo", other),
        ("proc.ps-env", "sysctl-read", name("kern.procargs2")),
        ("ipc.posix-shm", "ipc-posix-shm-write-create", name("x")),
        ("ipc.posix-shm", "ipc-posix-shm-read-data", name("x")),
        ("ipc.sysv", "ipc-sysv-shm", Object::Nothing),
        ("tty.tiocsti", "file-ioctl", path("/dev/ttys001")),
        ("tty.tiocsti", "file-write-data", path("/dev/tty")),
        ("iokit.open", "iokit-open", name("AppleMultitouchDeviceUserClient")),
        ("kern.sysctl-write", "sysctl-write", name("kern.maxproc")),
        ("net.unix-docker", "network-outbound", path("/var/run/docker.sock")),
        ("net.unix-in-ws", "network-outbound", path(&format!("{WORKSPACE}/dev.sock"))),
    ];
    for (id, operation, object) in never {
        for evaluator in both() {
            assert!(!evaluator.allows(operation, object), "{id}: {operation} of {object:?}");
        }
    }
}

#[test]
fn the_network_is_relaxed_and_declared_or_it_is_not_there() {
    let quiet = Capabilities::of(&[Capability::Read, Capability::Write, Capability::Process]);
    let resolver = Object::Path("/private/var/run/mDNSResponder".into());
    let service = Object::Name("com.apple.dnssd.service".into());
    for (evaluator, there) in [
        (&*RELAXED, true),
        (&*STRICT, false),
        (&evaluator(Level::Relaxed, quiet, Purpose::Program), false),
    ] {
        for operation in ["network-outbound", "network-inbound", "network-bind"] {
            assert_eq!(evaluator.allows(operation, &Object::Internet), there, "{operation}");
        }
        assert_eq!(evaluator.allows("network-outbound", &resolver), there);
        assert_eq!(evaluator.allows("mach-lookup", &service), there);
    }
}

#[test]
fn a_file_tool_starts_nothing_and_one_that_reads_writes_nothing() {
    let reads = Capabilities::of(&[Capability::Read]);
    let worker = evaluator(Level::Strict, reads, Purpose::Worker);
    assert!(worker.allows_path("process-exec", "/opt/claw/clawproof-runtime"));
    for program in ["/bin/sh", &format!("{WORKSPACE}/tool")] {
        assert!(!worker.allows_path("process-exec", program), "{program}");
    }
    let file = format!("{WORKSPACE}/a");
    assert!(worker.allows_path("file-read-data", &file));
    assert!(WRITES.iter().all(|write| !worker.allows_path(write, &file)));
}

#[test]
fn each_head_that_is_missing_shows() {
    let path = |text: &str| Object::Path(text.into());
    type Take = fn(&mut Heads);
    let cases: [(Take, &str, Object); 6] = [
        (|heads| heads.fs = false, "file-write-data", path("/Users/u/x")),
        (|heads| heads.net = false, "network-outbound", Object::Internet),
        (|heads| heads.proc = false, "signal", Object::Process { same_sandbox: false }),
        (|heads| heads.ipc = false, "ipc-posix-shm-write-create", Object::Name("x".into())),
        (|heads| heads.kern = false, "sysctl-write", Object::Name("kern.x".into())),
        (|heads| heads.term = false, "file-ioctl", path("/dev/ttys001")),
    ];
    for (take, operation, object) in cases {
        assert!(!STRICT.allows(operation, &object), "{operation}");
        let mut heads = Heads::ALL;
        take(&mut heads);
        let text =
            Profile::new(Level::Strict, Capabilities::ALL, Purpose::Program, &facts(), heads);
        assert!(Evaluator::new(&text).unwrap().allows(operation, &object), "{operation}");
    }
}

#[test]
fn the_evaluator_sees_what_a_loose_profile_gives_away() {
    let none = BTreeMap::new();
    let says = |text: &str, operation: &str, path: &str| {
        Evaluator::compile(text, &none).unwrap().allows_path(operation, path)
    };
    assert!(says("(version 1)(allow default)", "file-write-data", "/Users/u/x"));
    assert!(!says("(version 1)(deny default)", "file-write-data", "/Users/u/x"));
    // The last rule decides, in either order.
    let rules = "(version 1)(deny default)(deny file-write* (subpath \"/a/b\"))(allow file-write* (subpath \"/a\"))";
    assert!(says(rules, "file-write-data", "/a/b/c"));
    let rules = "(version 1)(deny default)(allow file-write* (subpath \"/a\"))(deny file-write* (subpath \"/a/b\"))";
    assert!(!says(rules, "file-write-data", "/a/b/c"));
    assert!(says(rules, "file-write-data", "/a/bc"));
    assert!(!says(rules, "file-write-data", "/ab"));
    // Aliases are followed before the question is asked.
    let rules = "(version 1)(deny default)(allow file-read* (subpath \"/private/tmp/w\"))";
    assert!(says(rules, "file-read-data", "/tmp/w/x"));
    assert!(!says(rules, "file-read-data", "/tmp/w/../x"));
}

#[test]
fn what_the_evaluator_does_not_know_it_does_not_judge() {
    for text in [
        "(deny default)",
        "(version 1)",
        "(version 1)(deny default)(import \"system.sb\")",
        "(version 1)(deny default)(allow file-read* (extension \"x\"))",
        "(version 1)(deny default)(allow file-read* (subpath (param \"X\")))",
        "(version 1)(deny default)(allow (subpath \"/\"))",
        "(version 1)(deny default)(allow network-outbound (remote tcp \"evil:80\"))",
    ] {
        assert!(Evaluator::compile(text, &BTreeMap::new()).is_err(), "{text}");
    }
}

#[test]
fn the_profiles_are_exactly_these() {
    for (name, level, capabilities, purpose) in [
        ("strict_program", Level::Strict, Capabilities::ALL, Purpose::Program),
        ("relaxed_program", Level::Relaxed, Capabilities::ALL, Purpose::Program),
        ("strict_reader", Level::Strict, Capabilities::of(&[Capability::Read]), Purpose::Worker),
    ] {
        let profile = profile(level, capabilities, purpose);
        let parameters: Vec<String> = profile
            .parameters
            .iter()
            .map(|(key, value)| format!("; {key} = {}", value.display()))
            .collect();
        let text = format!("{}\n{}", parameters.join("\n"), profile.text);
        insta::assert_snapshot!(name, text);
    }
}
