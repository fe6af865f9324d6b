//! The job object from outside: what it ends, what may not leave it, what crosses into it; and that
//! nothing runs at a level which this Windows cannot hold. Wine enforces all of the first and none
//! of the last, so these tests say the same on both.

#![cfg(windows)]

use std::{
    fs,
    io::Read,
    os::windows::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use clawproof_runtime::{
    config::{Config, Level},
    registry::{ToolCall, ToolRegistry},
    requirement,
    sandbox::{Contained, Options, Outcome, Sandbox},
};
use serde_json::{Value, json};

const RUNTIME: &str = env!("CARGO_BIN_EXE_clawproof-runtime");
/// `CREATE_BREAKAWAY_FROM_JOB`
const BREAKAWAY: u32 = 0x0100_0000;

/// Wine's own programs stand in no other Windows.
fn wine() -> bool {
    Path::new(r"C:\windows\system32\winecfg.exe").exists()
}

/// This test program again, in a role below: the tool of a test.
fn role(name: &str, word: &Path) -> Vec<String> {
    let own = std::env::current_exe().unwrap();
    let test = format!("sandbox_windows::role_{name}");
    let word = word.to_str().unwrap().to_owned();
    // The role reads its word from the name of a filter that matches nothing.
    let words = [own.to_str().unwrap().to_owned(), test, word];
    let flags = ["--exact", "--ignored", "--nocapture", "--test-threads=1"].map(str::to_owned);
    words.into_iter().chain(flags).collect()
}

fn word() -> PathBuf {
    std::env::args().nth(2).unwrap().into()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test starts the launcher, and a tool its children"
)]
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

/// The launcher at level none: the job, and no container.
fn launcher(workspace: &Path, argv: &[String]) -> Command {
    let mut command = command(RUNTIME);
    command.args(["sandbox", "run", "--level", "none", "--workspace"]).arg(workspace);
    command.arg("--").args(argv);
    command
}

fn run(workspace: &Path, argv: &[&str]) -> Output {
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    launcher(workspace, &argv).output().unwrap()
}

/// Whether the file still grows.
fn beats(file: &Path) -> bool {
    let size = || fs::metadata(file).map_or(0, |data| data.len());
    std::thread::sleep(Duration::from_millis(500));
    let before = size();
    std::thread::sleep(Duration::from_millis(1000));
    size() > before
}

fn wait_for(file: &Path) {
    let begun = Instant::now();
    while !file.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} never came", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "a role of the tests: a process that shows that it lives"]
fn role_beat() {
    use std::io::Write as _;
    let mut file = fs::File::create(word()).unwrap();
    for _ in 0..600 {
        file.write_all(b".").unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn beat(file: &Path, flags: u32) -> std::io::Result<std::process::Child> {
    let argv = role("beat", file);
    command(&argv[0])
        .args(&argv[1..])
        .creation_flags(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

#[test]
#[ignore = "a role of the tests: a tool that leaves a child behind"]
#[expect(clippy::zombie_processes, reason = "a child that is left behind is the test")]
fn role_leave() {
    beat(&word(), 0).unwrap();
    wait_for(&word());
}

#[test]
#[ignore = "a role of the tests: a tool that never ends and has a child"]
#[expect(clippy::zombie_processes, reason = "a child that is left behind is the test")]
fn role_stay() {
    beat(&word(), 0).unwrap();
    std::thread::sleep(Duration::from_secs(30));
}

#[test]
#[ignore = "a role of the tests: a tool whose child is to leave the job"]
fn role_break_away() {
    match beat(&word(), BREAKAWAY) {
        Ok(_) => {
            wait_for(&word());
            println!("it was started");
        }
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn a_heartbeat_beats_where_nothing_ends_it() {
    // The control of the tests below.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("beat");
    let mut child = beat(&file, 0).unwrap();
    wait_for(&file);
    assert!(beats(&file));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_program_runs_and_its_words_and_code_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(folder.path(), &["cmd", "/d", "/c", "echo hello& exit 7"]);
    assert_eq!(ran.status.code(), Some(7), "{ran:?}");
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "hello");
}

#[test]
fn a_program_that_is_not_there_and_a_batch_file_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let batch = folder.path().join("x.bat");
    fs::write(&batch, "echo ran\r\n").unwrap();
    for (name, why) in [("no-such-program", "no such program"), (batch.to_str().unwrap(), "batch")]
    {
        let ran = run(folder.path(), &[name]);
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(127), "{ran:?}");
        assert!(told.contains(why), "{told}");
        assert!(ran.stdout.is_empty());
    }
}

#[test]
fn nothing_of_the_launchers_environment_crosses() {
    let folder = tempfile::tempdir().unwrap();
    let argv = ["cmd", "/d", "/c", "set"].map(str::to_owned);
    let ran = launcher(folder.path(), &argv).env("SERVICE_API_KEY", "canary-17").output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(text.to_uppercase().contains("SYSTEMROOT="), "{text}");
    assert!(!text.contains("canary-17"), "{text}");
}

#[test]
fn the_tool_has_nothing_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let argv = ["cmd", "/d", "/c", "findstr .& echo end"].map(str::to_owned);
    let mut child = launcher(folder.path(), &argv)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"canary-23\r\n").unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    assert!(text.contains("end") && !text.contains("canary-23"), "{text}");
}

#[test]
fn what_a_tool_leaves_behind_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("beat");
    let ran = launcher(folder.path(), &role("leave", &file)).output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(file.exists(), "the child never ran: {ran:?}");
    assert!(!beats(&file), "the child outlived the run");
}

#[test]
fn the_time_limit_ends_the_whole_tree() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("beat");
    let mut command = command(RUNTIME);
    command.args(["sandbox", "run", "--level", "none", "--timeout", "5", "--workspace"]);
    command.arg(folder.path()).arg("--").args(role("stay", &file));
    let ran = command.output().unwrap();
    assert_eq!(ran.status.code(), Some(124), "{ran:?}");
    assert!(file.exists(), "the child never ran: {ran:?}");
    assert!(!beats(&file), "the child outlived the time limit");
}

#[test]
fn a_killed_launcher_takes_the_whole_tree_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("beat");
    let mut child = launcher(folder.path(), &role("stay", &file))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&file);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!beats(&file), "the child outlived the launcher");
}

#[test]
fn nothing_breaks_away_from_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("beat");
    let ran = launcher(folder.path(), &role("break_away", &file)).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(text.contains("refused: "), "{ran:?}");
    assert!(!beats(&file), "a process left the job");
}

/// A tool call against a sandbox that the configuration sets.
fn call(
    change: impl FnOnce(&mut Config),
) -> (Sandbox, Result<Contained<Outcome>, clawproof_runtime::audit::Rejection>) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config { workspace: Some(folder.path().to_owned()), ..Config::default() };
    change(&mut config);
    let options = Options { shim: Some(RUNTIME.into()), ..Options::default() };
    let sandbox = Sandbox::with(&config, options);
    let registry = ToolRegistry::new(&config).unwrap();
    let arguments: Value = json!({"argv": ["cmd", "/d", "/c", "echo ran"]});
    let call = ToolCall { id: "1".into(), name: "exec".into(), arguments };
    let authorized = registry.authorize(call).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ran = runtime.block_on(sandbox.run(authorized));
    (sandbox, ran)
}

#[test]
fn a_level_is_held_as_measured_or_no_tool_runs() {
    for level in [Level::Strict, Level::Relaxed] {
        let (sandbox, ran) = call(|config| config.sandbox.level = level);
        let status = sandbox.status();
        if status.effective == "refused" {
            let refused = ran.unwrap_err();
            assert_eq!(refused.requirement(), requirement::SANDBOX_FAIL_CLOSED, "{status:?}");
            assert!(!status.missing.is_empty());
        } else {
            assert!(!wine(), "Wine holds no level, so none may be reported: {status:?}");
            assert!(ran.unwrap().get().completed, "{status:?}");
        }
    }
}

#[test]
fn the_trial_fills_a_small_job_and_is_not_fooled_by_accepted_limits() {
    let (_, ran) = call(|config| config.sandbox.level = Level::Strict);
    let told = ran.err().map(|refused| refused.cause().to_owned()).unwrap_or_default();
    if wine() {
        // Not that limits hold: that a system which accepts and ignores them is found out.
        assert!(told.contains("processes NOT held, memory NOT held"), "{told}");
    } else {
        assert!(!told.contains("NOT held"), "{told}");
    }
}

#[test]
fn a_tool_that_is_named_for_no_sandbox_says_so() {
    let (_, ran) = call(|config| {
        config.sandbox.tools.insert("exec".into(), Level::None);
    });
    // Where the strict level of the others cannot be held, nothing at all runs.
    match ran {
        Ok(ran) => assert_eq!(ran.level(), Level::None),
        Err(refused) => assert_eq!(refused.requirement(), requirement::SANDBOX_FAIL_CLOSED),
    }
}
