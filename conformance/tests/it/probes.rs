//! The probes both ways: without a sandbox everything that this host can show is a breach, the
//! published line has its known holes, a tight line holds the basics. Must never know a stage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawproof::driver::launcher::Launcher;
use clawproof::scenario::probes;
use clawproof::scenario::{Lab, Trouble};
use clawproof::spec::Spec;
use clawproof::target::manifest::Manifest;
use clawproof::target::world::World;
use clawproof::verdict::Verdict;
use futures_util::StreamExt as _;

/// What each probe came to on one target.
type Table = BTreeMap<&'static str, (Verdict, String)>;

fn manifest(name: &str) -> Manifest {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("targets/{name}.toml"));
    Manifest::load(&path).unwrap()
}

/// Runs the probes whose id the filter takes, a few side by side.
async fn table(name: &str, wanted: impl Fn(&str) -> bool) -> Table {
    table_of(manifest(name), wanted).await
}

async fn table_of(manifest: Manifest, wanted: impl Fn(&str) -> bool) -> Table {
    assert_eq!(Launcher::missing(&manifest), None);
    // A program under test stands where the spare uid can reach it.
    let world = World::new().unwrap();
    let program = std::env::var_os("PROBE_BIN").map_or("/nonexistent".into(), PathBuf::from);
    let binary = if program.is_file() { world.install(&program).unwrap() } else { program };
    let lab = Lab::new(Arc::new(manifest), binary, std::env::var("PROBE_KNOCKOUT").ok());
    let pool = probes::Pool::new(&lab);
    let chosen = probes::all().filter(|probe| wanted(probe.id));
    let runs = chosen.map(|probe| {
        let pool = pool.clone();
        async move {
            let found = match probes::case(&pool, probe, probes::Asked::Usual).await {
                Ok(finding) => (finding.legs().verdict(), finding.evidence().join(" | ")),
                Err(Trouble::NotApplicable(reason)) => (Verdict::NotApplicable, reason),
                Err(Trouble::Target(reason)) => (Verdict::Fail, reason),
                Err(trouble) => (Verdict::HarnessError, trouble.to_string()),
            };
            (probe.id, found)
        }
    });
    futures_util::stream::iter(runs).buffer_unordered(3).collect().await
}

/// Breaches of the published line that need nothing of the kernel but namespaces and perl.
const NAIVE_BREACHES: &[&str] = &[
    "env.canary",
    "env.stdin",
    "fs.case-variant",
    "fs.fd-dir",
    "fs.fd-file",
    "fs.fifo-bait",
    "fs.git-config",
    "fs.hardlink-existing",
    "fs.lease-ro",
    "fs.protected-missing",
    "fs.protected-nested",
    "fs.protected-rename",
    "fs.setuid-ws",
    "fs.symlink-planted",
    "fs.write-synthetic-root",
    "ipc.posix-mq",
    "ipc.sysv-msg",
    "ipc.sysv-sem",
    "ipc.sysv-shm",
    "kern.keyring-leave",
    "kern.keyring-read",
    "kern.ld-preload",
    "kern.mount-in-userns",
    "kern.seccomp",
    "kern.userns",
    "net.scm-rights",
    "net.unix-in-ws",
    "proc.kill-pgrp0",
    "proc.pdeathsig-thread",
    "proc.pid1-cmdline",
    "proc.pid1-environ",
    "res.cpu",
    "res.disk-ws",
    "res.fork",
    "res.inotify",
    "res.mem",
    "term.escape",
    "term.read-tty",
    "term.tiocsti",
];

/// What a tight line of bubblewrap holds by itself.
const TIGHT_HOLDS: &[&str] = &[
    "env.canary",
    "fs.cwd-outside",
    "fs.home-secrets",
    "fs.metadata-outside",
    "fs.proc-root",
    "fs.shell-rc",
    "fs.tmp",
    "fs.bind-source-swap",
    "fs.race-exchange",
    "fs.write-outside-workspace",
    "fs.write-synthetic-root",
    "fs.write-system",
    "ipc.clipboard",
    "ipc.posix-mq",
    "ipc.sysv-shm",
    "kern.dev-nodes",
    "kern.no-new-privs",
    "kern.setuid-exec",
    "kern.userns",
    "net.dns",
    "net.metadata",
    "net.tcp4",
    "net.udp4",
    "net.unix-abstract",
    "net.unix-host",
    "proc.kill-pid",
    "proc.list-host",
    "proc.orphan-exit",
    "proc.orphan-launcher",
    "proc.orphan-monitor",
    "proc.pipe-held",
    "proc.ptrace",
    "proc.vm-readv",
    "res.tmpfs",
    "term.read-tty",
    "term.tiocsti",
];

/// Namespaces for ordinary users are what both lines are made of.
fn bubblewrap_works() -> bool {
    let unlimited = std::fs::read_to_string("/proc/sys/user/max_user_namespaces");
    Launcher::missing(&manifest("bwrap-naive")).is_none()
        && unlimited.is_ok_and(|text| text.trim() != "0")
}

#[test]
fn the_table_says_what_the_catalogue_says() {
    let spec = Spec::load().unwrap();
    for probe in probes::all() {
        let id = format!("sandbox.{}", probe.id);
        let row = spec.get(&id).unwrap_or_else(|| panic!("{id} is not in the catalogue"));
        let boundary = row.boundary.as_ref().unwrap();
        let said = serde_json::json!([boundary.relaxed, boundary.strict]);
        assert_eq!(said, serde_json::json!([probe.relaxed, probe.strict]), "{id}");
    }
}

#[test]
fn the_list_explains_every_probe() {
    let list = probes::list();
    for probe in probes::all() {
        assert!(list.contains(probe.what) && list.contains(probe.observer), "{}", probe.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_sandbox_every_probe_fails_or_is_visibly_not_shown() {
    let table = table("sh", |_| true).await;
    assert!(table.len() >= 114, "{} probes", table.len());
    let mut failed = 0;
    for (id, (verdict, reason)) in &table {
        match verdict {
            Verdict::Fail => {
                assert!(reason.contains("BREACHED"), "{id} failed for another reason: {reason}");
                failed += 1;
            }
            Verdict::Inconclusive => assert!(reason.contains("cannot show it"), "{id}: {reason}"),
            Verdict::NotApplicable => assert!(!reason.is_empty(), "{id}"),
            // A launcher that asks for its own end with its starter's thread, which a shell does not.
            Verdict::Pass => {
                assert_eq!(*id, "proc.pdeathsig-thread", "held without a sandbox: {reason}");
            }
            _ => panic!("{id} came to {verdict:?}: {reason}"),
        }
    }
    assert!(failed >= 80, "only {failed} breached without a sandbox: {table:#?}");
    // A privilege that the user does not have outside either is no merit of a sandbox.
    let (_, reason) = table.get("net.raw").unwrap();
    assert!(reason.contains("nothing separates"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_published_line_is_breached_where_it_is_known_to_be() {
    if !bubblewrap_works() {
        eprintln!("not run: no bubblewrap or no user namespaces here");
        return;
    }
    for (id, (verdict, reason)) in table("bwrap-naive", |id| NAIVE_BREACHES.contains(&id)).await {
        assert_eq!(verdict, Verdict::Fail, "{id}: {reason}");
        assert!(reason.contains("BREACHED"), "{id} failed for another reason: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tight_line_holds_the_basics() {
    if !bubblewrap_works() {
        eprintln!("not run: no bubblewrap or no user namespaces here");
        return;
    }
    for (id, (verdict, reason)) in table("bwrap-tight", |id| TIGHT_HOLDS.contains(&id)).await {
        assert_eq!(verdict, Verdict::Pass, "{id}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launcher_that_runs_nothing_never_passes() {
    let text = "name = \"deny\"\ndriver = \"launcher\"\n[launcher]\nprefix = [\"/bin/false\"]\n";
    let manifest = Manifest::parse(text, Path::new("deny.toml")).unwrap();
    let table = table_of(manifest, |id| id.starts_with("fs.") || id.starts_with("net.")).await;
    for (id, (verdict, reason)) in table {
        assert_eq!(verdict, Verdict::Fail, "{id}: {reason}");
        assert!(reason.contains("does not even run"), "{id}: {reason}");
    }
}

#[test]
fn a_missing_launcher_is_one_clear_sentence() {
    let text = "name = \"x\"\ndriver = \"launcher\"\n[launcher]\nprefix = [\"no-such-box\"]\n";
    let manifest = Manifest::parse(text, Path::new("x.toml")).unwrap();
    let sentence = Launcher::missing(&manifest).unwrap();
    assert!(sentence.contains("no-such-box") && sentence.contains("install"), "{sentence}");
}

/// The whole table of one target, for people: `PROBE_TARGET=sh cargo test ... -- --ignored`.
#[tokio::test]
#[ignore = "prints a table; it asserts nothing"]
async fn prints_the_table_of_a_target() {
    let target = std::env::var("PROBE_TARGET").unwrap_or_else(|_| "sh".into());
    let only = std::env::var("PROBE_ONLY").unwrap_or_default();
    for (id, (verdict, reason)) in table(&target, |id| id.starts_with(&only)).await {
        println!("{id:28} {verdict:?} {reason}");
    }
}
