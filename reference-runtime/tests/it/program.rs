//! The program's own commands as an operator types them: what they print and how they end.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

#[expect(clippy::disallowed_methods, reason = "what is tested is a program")]
fn run(state: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clawproof-runtime"))
        .env_remove("CLAWPROOF_MASTER_PASSWORD")
        .args(arguments)
        .arg("--state")
        .arg(state)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_tail_of_the_log_is_what_stands_in_it_oldest_first() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut tokens = Vec::new();
    for role in ["admin", "user", "user"] {
        let made = run(&state, &["token", "create", "--role", role]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        tokens.push(text(&made.stdout).trim().to_owned());
    }
    let log = std::fs::read_to_string(state.join("audit/audit.jsonl")).unwrap();
    let written: Vec<&str> = log.lines().collect();
    for (asked, shown) in [(&["-n", "2"][..], 2), (&["--lines", "1"], 1), (&[], 20)] {
        let tail = run(&state, &[&["audit", "tail"], asked].concat());
        assert!(tail.status.success() && tail.stderr.is_empty());
        let lines: Vec<&str> = text(&tail.stdout).lines().collect();
        assert_eq!(lines, written[written.len().saturating_sub(shown)..], "{asked:?}");
    }
    let last: Value = serde_json::from_str(written.last().unwrap()).unwrap();
    assert_eq!((&last["kind"], &last["action"]), (&"config".into(), &"token.create".into()));
    assert!(tokens.iter().all(|token| !token.is_empty() && !log.contains(token.as_str())));

    let whole = run(&state, &["audit", "verify"]);
    assert!(whole.status.success());
    assert!(text(&whole.stdout).starts_with(&format!("{} records", written.len())));
}

#[test]
fn a_log_that_was_changed_is_shown_and_told_to_be_broken() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    for _ in 0..3 {
        assert!(run(&state, &["token", "create", "--role", "user"]).status.success());
    }
    let path = state.join("audit/audit.jsonl");
    let log = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, log.replacen("token.create", "token.revoke", 1)).unwrap();
    let tail = run(&state, &["audit", "tail"]);
    assert!(tail.status.success() && text(&tail.stdout).contains("token.revoke"));
    let broken = run(&state, &["audit", "verify"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(text(&broken.stderr).contains("broken at record 1"), "{}", text(&broken.stderr));
}

#[test]
fn a_log_that_is_not_there_is_told_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["tail", "verify"] {
        let ended = run(folder.path(), &["audit", command]);
        assert_eq!(ended.status.code(), Some(1), "{command}");
        assert!(ended.stdout.is_empty());
        assert_eq!(text(&ended.stderr).lines().count(), 1, "{}", text(&ended.stderr));
    }
}
