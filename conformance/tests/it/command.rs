//! The command itself: its sentences, its exit codes, and that it leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::fake;

/// A folder for one test, open to the uid that targets run as.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
    }
    folder
}

#[expect(clippy::disallowed_methods, reason = "the command is what is tested")]
fn clawproof(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawproof"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(arguments: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = clawproof(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

fn manifest(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("target.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn each_wrong_call_is_one_sentence_and_exit_2() {
    let folder = folder();
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap();
    let good = manifest(folder.path(), &fake::manifest("strict"));
    let good = good.to_str().unwrap();
    let missing = folder.path().join("none").display().to_string();
    for (arguments, words) in [
        (vec!["run", "--target", "referense"], "did you mean `reference`?"),
        (vec!["run", "--target", good], "the manifest names no program: name it with --bin FILE"),
        (vec!["run", "--target", good, "--bin", &missing], "there is no program"),
        (vec!["run", "--target", good, "--bin", own, "--corpus", &missing], "cannot read"),
        (
            vec!["run", "--target", good, "--bin", own, "--profile", "boundry"],
            "unknown profile `boundry`; did you mean `boundary`?",
        ),
        (
            vec!["run", "--target", good, "--bin", own, "--case", "PT-01"],
            "unknown case `PT-01`; did you mean `PT-0",
        ),
        (vec!["run", "--target", good, "--bin", own, "--matrix", &missing], "the kill matrix"),
    ] {
        let (code, text) = said(&arguments);
        assert_eq!(code, 2, "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
        assert_eq!(text.trim().lines().count(), 1, "{text}");
    }
    let wrong = fake::manifest("strict").replace("ready-seconds", "redy-seconds");
    let path = manifest(folder.path(), &wrong);
    let (code, text) = said(&["run", "--target", path.to_str().unwrap(), "--bin", own]);
    assert_eq!(code, 2);
    assert!(text.contains("unknown key `redy-seconds`; did you mean `ready-seconds`?"), "{text}");
}

#[test]
fn a_target_that_needs_a_program_that_is_not_there_is_told_so() {
    let folder = folder();
    let text = fake::manifest("strict").replace(
        "driver = \"rpc\"",
        "driver = \"rpc\"\nrequires = [\"clawproof-no-such-program\"]",
    );
    let path = manifest(folder.path(), &text);
    let (code, text) = said(&["run", "--target", path.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(text.contains("needs `clawproof-no-such-program`, which is not on PATH"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_run_leaves_neither_process_nor_folder() {
    let (home, folder) = (folder(), folder());
    let own = std::env::current_exe().unwrap();
    let path = manifest(home.path(), &fake::manifest("strict"));
    let mut command =
        clawproof(&["run", "--target", path.to_str().unwrap(), "--bin", own.to_str().unwrap()]);
    let mut child = command.env("TMPDIR", folder.path()).spawn().unwrap();
    let live = || clawproof::target::process::processes_of(folder.path()).len();
    for _ in 0..200 {
        // The command itself has the folder in its environment, so its target is the second.
        if live() >= 2 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(live() >= 2, "no target was started");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(3));
    assert_eq!(live(), 0);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_published_schema_fits_the_report() {
    let folder = folder();
    let own = std::env::current_exe().unwrap();
    let path = manifest(folder.path(), &fake::manifest("strict"));
    let json = folder.path().join("report.json");
    let output = clawproof(&[
        "run",
        "--target",
        path.to_str().unwrap(),
        "--bin",
        own.to_str().unwrap(),
        "--case",
        "UC-010",
        "--seed",
        "7",
        "--json",
        json.to_str().unwrap(),
    ])
    .output()
    .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("seed 7") && text.contains("certifies nothing"), "{text}");
    let report = std::fs::read(&json).unwrap();
    let report: clawproof::report::json::Report = serde_json::from_slice(&report).unwrap();
    assert_eq!(report.schema, "clawproof.report/1");
    assert!(!report.cases.is_empty() && report.partial);
}

#[test]
fn a_run_ends_at_its_first_failure_and_every_form_of_the_report_is_written() {
    let folder = folder();
    let own = std::env::current_exe().unwrap();
    let path = manifest(folder.path(), &fake::manifest("naive"));
    let file = |name: &str| folder.path().join(name).display().to_string();
    let forms = ["json", "html", "junit", "sarif", "badge", "shields", "predicate"];
    let named: Vec<String> =
        forms.iter().flat_map(|form| [format!("--{form}"), file(form)]).collect();
    let mut arguments = vec!["run", "--target", path.to_str().unwrap(), "--fail-fast"];
    arguments.extend(["--bin", own.to_str().unwrap(), "--seed", "7", "--jobs", "1"]);
    arguments.extend(CASES.iter().flat_map(|case| ["--case", case]));
    arguments.extend(named.iter().map(String::as_str));
    let output = clawproof(&arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for words in ["again: ", " run --target", "asked: ", "next: ", "first failure"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let report = std::fs::read(file("json")).unwrap();
    let report: clawproof::report::json::Report = serde_json::from_slice(&report).unwrap();
    assert!(report.cut_short && report.partial);
    assert!(report.cases.len() < CASES.len() * 2, "{}", report.cases.len());
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    assert!(read("html").starts_with("<!DOCTYPE html>"));
    assert!(read("junit").contains("<testsuite") && read("badge").contains("part of a run"));
    let sarif: serde_json::Value = serde_json::from_str(&read("sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert!(results.iter().any(|result| result["level"] == "error"), "{sarif:#}");
    let shields: serde_json::Value = serde_json::from_str(&read("shields")).unwrap();
    assert_eq!(shields["color"], "lightgrey");
    assert!(!Path::new(&file("predicate")).exists(), "nothing was earned");
    let first = clawproof(&["baseline", &file("json")]).output().unwrap();
    let draft = String::from_utf8(first.stdout).unwrap();
    assert!(draft.contains("CHANGE ME"), "{draft}");
    let (code, words) = said(&["merge", &file("json")]);
    assert!(code == 2 && words.contains("no part of a run"), "{words}");
    let compared = clawproof(&["compare", &file("json"), &file("json")]).output().unwrap();
    let text = String::from_utf8(compared.stdout).unwrap();
    assert!(text.contains("same verdict everywhere"), "{text}");
}

const CASES: &[&str] =
    &["PT-001", "PT-002", "PT-003", "PT-004", "PT-005", "PT-006", "PT-007", "PT-008", "PT-009"];
