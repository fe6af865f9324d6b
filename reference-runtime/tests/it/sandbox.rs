//! The sandbox from outside: tools run in it, and the host looks what they did. These tests need
//! bubblewrap and user namespaces; where they are missing the tests fail and say so.

#![cfg(target_os = "linux")]

use std::{
    fs,
    io::Read,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

use clawproof_runtime::{
    audit::Rejection,
    config::{Config, Level},
    registry::{ToolCall, ToolRegistry},
    requirement,
    sandbox::{Contained, Options, Outcome, Sandbox},
};
use serde_json::{Value, json};

/// The uid that tools get where the tests run as root.
const SPARE: u32 = 60123;

/// A workspace with a sandbox around it.
struct World {
    folder: tempfile::TempDir,
    registry: ToolRegistry,
    sandbox: Sandbox,
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The runtime's binary, and the small one beside it, at a place that the spare uid can reach.
fn shim(folder: &Path) -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_clawproof-runtime"));
    let small = PathBuf::from(env!("CARGO_BIN_EXE_clawproof-contain"));
    let copy = folder.join("runtime");
    if !root() {
        return built;
    }
    if copy.exists() {
        return copy;
    }
    for (built, copy) in [(&built, &copy), (&small, &folder.join("clawproof-contain"))] {
        if fs::hard_link(built, copy).is_err() {
            fs::copy(built, copy).unwrap();
        }
    }
    copy
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let workspace = folder.path().join("workspace");
        fs::create_dir(&workspace).unwrap();
        let mut config = Config { workspace: Some(workspace.clone()), ..Config::default() };
        if root() {
            std::os::unix::fs::chown(&workspace, Some(SPARE), Some(SPARE)).unwrap();
            config.sandbox.uid = Some(SPARE);
        }
        change(&mut config);
        let options = Options { shim: Some(shim(folder.path())), ..Options::default() };
        let sandbox = Sandbox::with(&config, options);
        let registry = ToolRegistry::new(&config).unwrap();
        Self { folder, registry, sandbox }
    }

    /// As [`World::new`], and the sandbox must be able to hold: else the test says why it fails.
    fn ready() -> Self {
        let world = Self::new();
        let status = world.sandbox.status();
        assert_eq!(
            status.effective, "strict",
            "these tests need bubblewrap and unprivileged user namespaces: {:?}",
            status.missing
        );
        world
    }

    fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace").canonicalize().unwrap()
    }

    fn call(&self, name: &str, arguments: Value) -> Result<Contained<Outcome>, Rejection> {
        let call = ToolCall { id: "1".into(), name: name.into(), arguments };
        let authorised = self.registry.authorize(call)?;
        runtime().block_on(self.sandbox.run(authorised))
    }

    fn output(&self, name: &str, arguments: Value) -> Value {
        self.call(name, arguments).unwrap().into_inner().output
    }

    fn exec(&self, argv: &[&str]) -> Value {
        self.output("exec", json!({ "argv": argv }))
    }

    fn sh(&self, script: &str) -> Value {
        self.exec(&["/bin/sh", "-c", script])
    }
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

fn text(output: &Value, name: &str) -> String {
    output[name].as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_file_tools_work_and_stay_inside() {
    let world = World::ready();
    let written = world.output("write_file", json!({"path": "a/b.txt", "content": "grüße\n"}));
    assert_eq!(written, json!({"bytes": 8}));
    assert_eq!(fs::read_to_string(world.workspace().join("a/b.txt")).unwrap(), "grüße\n");
    assert_eq!(
        world.output("read_file", json!({"path": "a/b.txt"})),
        json!({"content": "grüße\n"})
    );
    let absolute = world.workspace().join("a/b.txt");
    let read = world.output("read_file", json!({"path": absolute.to_str().unwrap()}));
    assert_eq!(read["content"], "grüße\n");
    let listed = world.output("list_files", json!({"path": "."}));
    assert_eq!(listed["entries"], json!([{"name": "a", "folder": true, "bytes": 0}]));
    let missing = world.call("read_file", json!({"path": "none"})).unwrap().into_inner();
    assert!(!missing.completed && missing.output["error"].is_string(), "{missing:?}");
}

#[test]
fn a_passage_is_edited_and_found_inside_the_sandbox() {
    let world = World::ready();
    world.output("write_file", json!({"path": "a.txt", "content": "one\ntwo\n"}));
    let edit = json!({"path": "a.txt", "old": "two", "new": "zwei"});
    assert_eq!(world.output("edit_file", edit), json!({"replaced": 1, "bytes": 9}));
    let found = world.output("search_files", json!({"text": "zwei"}));
    let line = json!({"path": "a.txt", "line": 2, "text": "zwei"});
    assert_eq!(found, json!({"matches": [line], "cut": false}));
    symlink("/usr/lib/os-release", world.workspace().join("link")).unwrap();
    let edit = json!({"path": "link", "old": "a", "new": "b"});
    let refusal = world.call("edit_file", edit).unwrap_err();
    assert_eq!(refusal.requirement(), requirement::PATH_LINK, "{}", refusal.cause());
    assert_eq!(world.output("search_files", json!({"text": "NAME="}))["matches"], json!([]));
}

#[test]
fn a_shell_that_was_asked_for_is_contained_as_any_program() {
    let world = World::with(|config| {
        config.tools.enabled.insert("shell".into());
    });
    let script = "echo in > in && echo x > ../outside; echo $((6 * 7))";
    let output = world.output("shell", json!({ "script": script }));
    assert_eq!(text(&output, "stdout"), "42\n", "{output}");
    assert!(world.workspace().join("in").exists());
    assert!(!world.folder.path().join("outside").exists());
}

#[test]
fn a_page_of_this_machine_is_not_fetched_although_the_network_is_there() {
    let world = World::with(|config| {
        config.sandbox.tools.insert("http_fetch".into(), Level::Relaxed);
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for (host, words) in [
        ("127.0.0.1", "the address is not one of the public internet"),
        ("localhost", "the page could not be fetched"),
    ] {
        let arguments = json!({ "url": format!("http://{host}:{port}/") });
        let outcome = world.call("http_fetch", arguments).unwrap().into_inner();
        assert!(!outcome.completed, "{outcome:?}");
        assert_eq!(outcome.output["error"], words);
    }
    assert!(listener.accept().is_err(), "nobody called");
}

#[test]
fn a_link_out_of_the_workspace_is_refused_by_the_worker() {
    let world = World::ready();
    symlink("/usr/lib/os-release", world.workspace().join("link")).unwrap();
    let refusal = world.call("read_file", json!({"path": "link"})).unwrap_err();
    assert_eq!(refusal.requirement(), requirement::PATH_LINK, "{}", refusal.cause());
}

#[test]
fn a_program_cannot_write_outside_the_workspace() {
    let world = World::ready();
    let outside = world.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    let script = format!(
        "echo x > {0}/canary; mkdir -p {0} && echo x > {0}/canary; echo x > /usr/canary; \
         echo x > /canary; echo x > in; cat {0}/../runtime | head -c 4",
        outside.display()
    );
    let output = world.sh(&script);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!Path::new("/canary").exists() && !Path::new("/usr/canary").exists());
    assert!(world.workspace().join("in").exists(), "the benign twin: {output}");
    assert_eq!(text(&output, "stdout"), "");
}

#[test]
fn strict_has_no_network_and_relaxed_has() {
    let world = World::with(|config| {
        config.sandbox.tools.insert("exec".into(), Level::Relaxed);
    });
    let strict = World::ready();
    for (world, reaches) in [(&strict, false), (&world, true)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = format!(
            "import socket\ns = socket.create_connection(('127.0.0.1', {port}), 3)\ns.sendall(b'hi')\n"
        );
        let output = world.exec(&["python3", "-c", &script]);
        let mut seen = Vec::new();
        if let Ok((mut stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            stream.read_to_end(&mut seen).unwrap();
        }
        assert_eq!(seen, if reaches { b"hi".to_vec() } else { vec![] }, "{output}");
    }
}

#[test]
fn the_environment_and_the_descriptors_are_clean() {
    let world = World::ready();
    let output = world.exec(&["/usr/bin/env"]);
    let names: Vec<String> = text(&output, "stdout")
        .lines()
        .map(|line| line.split_once('=').unwrap().0.to_owned())
        .collect();
    for name in &names {
        assert!(["PATH", "HOME", "TMPDIR", "LANG", "PWD"].contains(&name.as_str()), "{names:?}");
    }
    let output = world.sh("ls /proc/self/fd | wc -w; cat | wc -c; ls /proc | grep -c '^[0-9]'");
    // ls itself holds one descriptor beside the three; standard input is empty.
    let stdout = text(&output, "stdout");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[..2], ["4", "0"], "{output}");
    let host = text(&world.sh("cat /proc/1/environ; cat /proc/1/cmdline"), "stdout");
    assert!(!host.contains(world.folder.path().to_str().unwrap()), "{host:?}");
}

#[test]
fn arguments_reach_a_program_byte_for_byte() {
    let world = World::ready();
    let payload = "a b; touch effect $(touch effect) `touch effect` | > \n\t\"' -n * ~ %s é";
    let output = world.exec(&["/usr/bin/printf", "%s", payload]);
    assert_eq!(text(&output, "stdout"), payload);
    assert!(!world.workspace().join("effect").exists());
    assert_eq!(output["exitCode"], 0);
}

#[test]
fn exit_codes_and_missing_programs_are_the_tools_own() {
    let world = World::ready();
    let failed = world.call("exec", json!({"argv": ["/bin/sh", "-c", "exit 125"]})).unwrap();
    assert_eq!(failed.get().output["exitCode"], 125);
    assert!(!failed.get().completed);
    let missing = world.exec(&["/no/such/program"]);
    assert_eq!(missing["exitCode"], 127);
    assert!(text(&missing, "error").contains("cannot be executed"), "{missing}");
    let killed = world.sh("kill -9 $$");
    assert_eq!(killed["exitCode"], 137);
}

#[test]
fn nothing_outlives_its_run() {
    let world = World::ready();
    let script = "(setsid sh -c 'while :; do date +%s%N > beat; sleep 0.05; done' </dev/null \
                  >/dev/null 2>&1 &); (setsid sleep 60 &); sleep 0.4; echo done";
    let started = Instant::now();
    let output = world.sh(script);
    assert!(started.elapsed() < Duration::from_secs(10), "held by an inherited pipe: {output}");
    let beat = world.workspace().join("beat");
    let last = fs::read_to_string(&beat).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(fs::read_to_string(&beat).unwrap(), last, "the orphan still writes");
}

#[test]
fn a_timeout_ends_the_whole_tree() {
    let world = World::with(|config| config.sandbox.timeout = Duration::from_secs(1));
    let started = Instant::now();
    let output = world
        .sh("echo before; (setsid sh -c 'while :; do date +%s%N > beat; sleep 0.05; done' &); \
         trap '' TERM INT HUP; sleep 60");
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_eq!(output["timedOut"], true);
    assert_eq!(text(&output, "stdout"), "before\n", "what was printed is kept");
    let beat = world.workspace().join("beat");
    let last = fs::read_to_string(&beat).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(fs::read_to_string(&beat).unwrap(), last, "the orphan still writes");
}

#[test]
fn a_cancelled_run_is_ended() {
    let world = World::ready();
    let call = ToolCall {
        id: "1".into(),
        name: "exec".into(),
        arguments: json!({"argv": ["/bin/sh", "-c", "while :; do date +%s%N > beat; sleep 0.05; done"]}),
    };
    let authorised = world.registry.authorize(call).unwrap();
    runtime().block_on(async {
        let run = world.sandbox.run(authorised);
        assert!(tokio::time::timeout(Duration::from_millis(700), run).await.is_err());
        tokio::time::sleep(Duration::from_millis(300)).await;
    });
    let beat = world.workspace().join("beat");
    let last = fs::read_to_string(&beat).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(fs::read_to_string(&beat).unwrap(), last, "the cancelled run still writes");
}

#[test]
fn a_flood_is_kept_to_its_cap_and_does_not_block() {
    let world = World::ready();
    let output = world
        .sh("head -c 30000000 /dev/zero | tr '\\0' x; head -c 2000000 /dev/zero | tr '\\0' y >&2");
    assert_eq!(text(&output, "stdout").len(), 1 << 20);
    assert_eq!(output["dropped"]["stdout"], 30_000_000 - (1 << 20));
    assert_eq!(output["dropped"]["stderr"], 2_000_000 - (1 << 20));
    assert_eq!(output["exitCode"], 0);
}

#[test]
fn resources_are_limited() {
    let world = World::ready();
    let forks = world.sh("for i in $(seq 200); do sleep 2 & done; echo all");
    assert!(text(&forks, "stderr").contains("fork"), "{forks}");
    let memory = world.exec(&["python3", "-c", "x = bytearray(700 << 20); print(len(x))"]);
    assert_ne!(memory["exitCode"], 0, "{memory}");
    let file = world.sh("head -c 150000000 /dev/zero > big; ls -l big | wc -l");
    assert!(fs::metadata(world.workspace().join("big")).unwrap().len() <= 100_000_000, "{file}");
}

#[test]
fn the_kernels_inside_is_out_of_reach() {
    let world = World::ready();
    for script in [
        "unshare -U true",
        "unshare -r true",
        "mount -t tmpfs x /tmp",
        "touch s && chmod u+s s",
        "touch s && chmod 6755 s",
        "echo x > /proc/sys/kernel/hostname",
        "hostname other",
        "mknod n c 1 3",
    ] {
        let output = world.sh(script);
        assert_ne!(output["exitCode"], 0, "{script}: {output}");
    }
    let status =
        text(&world.sh("grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status"), "stdout");
    let words: Vec<&str> = status.split_whitespace().collect();
    assert_eq!(words, ["CapEff:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2"]);
}

#[test]
fn git_hooks_and_configuration_cannot_change_and_git_commit_works() {
    let world = World::ready();
    let git = "git -c user.name=a -c user.email=a@b -c init.defaultBranch=main";
    let made =
        world.sh(&format!("{git} init -q . && echo 1 > f && git add f && {git} commit -qm one"));
    assert_eq!(made["exitCode"], 0, "{made}");
    fs::remove_dir_all(world.workspace().join(".git/hooks")).unwrap();
    let config = fs::read_to_string(world.workspace().join(".git/config")).unwrap();
    for script in [
        "mkdir -p .git/hooks && echo x > .git/hooks/pre-commit",
        "echo x >> .git/config",
        "mv .git .git.old",
        "mv .git/config .git/c",
        "rm -rf .git/hooks && mkdir .git/hooks && echo x > .git/hooks/pre-commit",
        "ln -sf /tmp .git/hooks",
        "echo evil > .git/commondir",
        "rm -f .git/commondir",
        "git config core.fsmonitor evil",
    ] {
        let output = world.sh(script);
        assert_ne!(output["exitCode"], 0, "{script}: {output}");
    }
    assert_eq!(fs::read_to_string(world.workspace().join(".git/config")).unwrap(), config);
    assert!(!world.workspace().join(".git/hooks").exists(), "the placeholder is gone");
    assert!(!world.workspace().join(".git/commondir").exists());
    let more = world.sh(&format!(
        "echo 2 > f && {git} commit -qam two && git log --oneline | wc -l && git status --short"
    ));
    assert_eq!(text(&more, "stdout"), "2\n", "{more}");
}

#[test]
fn a_link_out_of_the_workspace_does_not_outlive_the_run_that_made_it() {
    let world = World::ready();
    let output = world.sh(
        "ln -s /etc/passwd out; ln -s ../outside up; ln -s f in; ln -s /usr/bin/env env; ls | wc -l",
    );
    assert_eq!(text(&output, "stdout"), "4\n");
    assert_eq!(output["removed"], json!(["out", "up"]));
    let mut left: Vec<_> = fs::read_dir(world.workspace())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["env", "in"]);
}

#[test]
fn the_launcher_passes_output_and_exit_code_on_and_says_why_nothing_ran() {
    let world = World::ready();
    let workspace = world.workspace();
    let launch = |extra: &[&str], argv: &[&str]| {
        #[expect(clippy::disallowed_methods, reason = "the launcher is what is tested")]
        let mut command = std::process::Command::new(shim(world.folder.path()));
        command.args(["sandbox", "run", "--workspace"]).arg(&workspace);
        if root() {
            command.args(["--uid", &SPARE.to_string()]);
        }
        command.args(extra).arg("--").args(argv).output().unwrap()
    };
    let ran = launch(&[], &["/bin/sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(
        (ran.status.code(), &ran.stdout[..], &ran.stderr[..]),
        (Some(7), &b"out\n"[..], &b"err\n"[..])
    );
    assert_eq!(launch(&[], &["/no/such"]).status.code(), Some(127));
    assert_eq!(launch(&["--timeout", "1"], &["sleep", "9"]).status.code(), Some(124));
    let reader = launch(&["--capability", "read", "--capability", "process"], &["touch", "x"]);
    assert_ne!(reader.status.code(), Some(0));
    assert!(!workspace.join("x").exists());
    let system = launch(&["--workspace", "/usr"], &["true"]);
    assert_eq!(system.status.code(), Some(2), "an option given twice is a usage error");
}

#[test]
fn ordinary_work_runs_inside_strict() {
    let world = World::ready();
    let python = world.exec(&[
        "python3",
        "-c",
        "import threading, subprocess, json\nt = [threading.Thread(target=print, args=(i,)) for i in range(8)]\n\
         [x.start() for x in t]; [x.join() for x in t]\nprint(subprocess.run(['uname'], capture_output=True).stdout)",
    ]);
    assert_eq!(python["exitCode"], 0, "{python}");
    let source = "#include <stdio.h>\nint main(void) { puts(\"compiled\"); return 0; }\n";
    world.output("write_file", json!({"path": "m.c", "content": source}));
    let compiled = world.sh("gcc -O2 m.c -o m && ./m");
    assert_eq!(text(&compiled, "stdout"), "compiled\n", "{compiled}");
    let commit = world
        .sh("git init -q r && cd r && echo a > a && git add a && git -c user.name=n \
         -c user.email=n@example.org commit -q -m first && git log --format=%s");
    assert_eq!(text(&commit, "stdout"), "first\n", "{commit}");
    let tree = world
        .sh("for i in $(seq 100); do mkdir $i; for j in $(seq 100); do : > $i/$j; done; done; \
                         find . -type f | wc -l");
    assert!(text(&tree, "stdout").trim().parse::<u32>().unwrap() >= 10_000, "{tree}");
}

#[test]
fn a_tool_that_only_reads_sees_a_read_only_workspace() {
    let world = World::ready();
    fs::write(world.workspace().join("f"), "x").unwrap();
    let before = fs::metadata(world.workspace().join("f")).unwrap();
    world.output("read_file", json!({"path": "f"}));
    let after = fs::metadata(world.workspace().join("f")).unwrap();
    assert_eq!((before.mtime(), before.ino()), (after.mtime(), after.ino()));
}

/// Processes that see the workspace as a mount of their own: sandboxes.
fn sandboxes(workspace: &Path) -> usize {
    let workspace = workspace.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let views = entries.filter_map(|it| fs::read_to_string(it.path().join("mountinfo")).ok());
    views.filter(|view| view.contains(workspace)).count()
}

fn until(mut holds: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !holds() && begin.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
    }
    holds()
}

#[test]
fn a_sandbox_built_ahead_serves_one_call_is_fresh_and_goes_with_the_runtime() {
    let world = World::ready();
    let workspace = world.workspace();
    let script =
        "ls /tmp /dev/shm; echo x > /tmp/left; echo x > /dev/shm/left; cut -d' ' -f22 /proc/1/stat";
    let mut views = std::collections::BTreeSet::new();
    let mut warm = 0;
    for _ in 0..6 {
        warm += u32::from(sandboxes(&workspace) > 0);
        let output = world.sh(script);
        let said = text(&output, "stdout");
        assert!(!said.contains("left"), "a call sees what an earlier one left: {said}");
        assert!(views.insert(said.lines().last().unwrap().to_owned()), "used twice: {said}");
        // The next one is built in the background, by this runtime.
        runtime().block_on(async { tokio::time::sleep(Duration::from_millis(200)).await });
    }
    assert!(warm >= 3, "only {warm} of 6 calls found a sandbox waiting");
    // A file of the workspace that is to be protected from now on is protected.
    fs::create_dir_all(workspace.join(".git/hooks")).unwrap();
    fs::write(workspace.join(".git/config"), "").unwrap();
    let output = world.sh("echo x >> .git/config; cat .git/config");
    assert_eq!(text(&output, "stdout"), "", "{output}");
    drop(world);
    assert!(until(|| sandboxes(&workspace) == 0), "a sandbox outlives its runtime's");
}

#[test]
fn no_sandbox_no_tool() {
    let world = World::with(|config| {
        config.workspace = Some("/usr".into());
    });
    assert_eq!(world.sandbox.status().effective, "refused");
    let refusal = world.call("exec", json!({"argv": ["/usr/bin/touch", "/tmp/x"]})).unwrap_err();
    assert_eq!(refusal.requirement(), requirement::SANDBOX_FAIL_CLOSED);
    if root() {
        let world = World::with(|config| config.sandbox.uid = None);
        let refusal = world.call("exec", json!({"argv": ["id"]})).unwrap_err();
        assert_eq!(refusal.requirement(), requirement::SANDBOX_FAIL_CLOSED);
        assert!(refusal.public().contains("root"), "{refusal}");
    }
}

#[test]
fn a_shim_that_cannot_start_is_a_refusal_and_not_the_tools_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let workspace = folder.path().join("workspace");
    fs::create_dir(&workspace).unwrap();
    let config = Config {
        workspace: Some(workspace),
        sandbox: clawproof_runtime::config::Sandbox { uid: Some(SPARE), ..Default::default() },
        ..Config::default()
    };
    let options = Options { shim: Some("/bin/false".into()), ..Options::default() };
    let sandbox = Sandbox::with(&config, options);
    assert_eq!(sandbox.status().effective, "refused");
    let call = ToolCall { id: "1".into(), name: "exec".into(), arguments: json!({"argv": ["id"]}) };
    let authorised = ToolRegistry::new(&config).unwrap().authorize(call).unwrap();
    let refusal = runtime().block_on(sandbox.run(authorised)).unwrap_err();
    assert_eq!(refusal.requirement(), requirement::SANDBOX_FAIL_CLOSED);
}

#[test]
fn the_runtime_does_the_work_of_the_small_program_where_that_is_missing() {
    let mut world = World::ready();
    let alone = world.folder.path().join("alone");
    fs::create_dir(&alone).unwrap();
    fs::set_permissions(&alone, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_clawproof-runtime"), alone.join("runtime")).unwrap();
    let mut config = Config { workspace: Some(world.workspace()), ..Config::default() };
    config.sandbox.uid = root().then_some(SPARE);
    for cold in [true, false] {
        let options = Options { shim: Some(alone.join("runtime")), cold, ..Options::default() };
        world.sandbox = Sandbox::with(&config, options);
        assert_eq!(world.sandbox.status().effective, "strict");
        assert_eq!(text(&world.sh("echo works"), "stdout"), "works\n");
    }
}

#[test]
fn the_status_says_what_was_measured() {
    let world = World::ready();
    let status = world.sandbox.status();
    assert!(status.backend.starts_with("bubblewrap "), "{status:?}");
    assert_eq!(status.level, Level::Strict);
    assert!(status.missing.iter().any(|line| line.contains("memory")), "{status:?}");
}
