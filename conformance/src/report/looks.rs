//! How each form of a report looks, compared with what was looked at and committed (`snapshots/`).
//! A change shows as a failing test; `INSTA_UPDATE=always cargo test looks` writes it for review.

use insta::{assert_json_snapshot, assert_snapshot};

use super::json::Report;
use super::sample::{case, report};
use super::{junit, sarif, terminal};
use crate::verdict::Verdict;

/// A run in which something passed, failed, stayed open; with hostile evidence.
fn mixed() -> Report {
    let mut mixed = report();
    let mut failed = case("PT-001.001", "path.traversal", Verdict::Fail);
    failed.evidence = vec![
        "the canary was read: \u{1b}[2J\u{202e}gnp.exe".to_owned(),
        "<script>alert(1)</script> & ]]> \u{0}".to_owned(),
    ];
    mixed.cases.push(failed);
    mixed.cases.push(case("PT-002.001", "path.traversal", Verdict::Inconclusive));
    mixed.cases.push(case("PT-003.001", "path.traversal", Verdict::NotApplicable));
    mixed.cases.push(case("PT-004.001", "path.traversal", Verdict::HarnessError));
    let mut row = mixed.requirements[0].clone();
    row.id = "path.traversal".to_owned();
    row.verdict = Some(Verdict::Fail);
    row.reason = "PT-001.001 had its effect".to_owned();
    (row.cases, row.passed) = (4, 0);
    mixed.requirements.insert(1, row);
    mixed.summary.exit = 1;
    mixed.summary.sentence = "not certified: path.traversal".to_owned();
    mixed
}

#[test]
fn at_the_terminal() {
    let style = |colour, evidence| terminal::Style {
        colour,
        again: "clawproof run --target mine.toml".to_owned(),
        evidence,
    };
    assert_snapshot!("terminal", terminal::render(&mixed(), &style(false, true)));
    let coloured = terminal::render(&report(), &style(true, false));
    // The escapes are shown as text, so that the file can be read.
    assert_snapshot!("terminal_coloured", coloured.replace('\u{1b}', "<ESC>"));
}

#[test]
fn as_json() {
    assert_json_snapshot!("json", mixed());
}

#[test]
fn as_junit() {
    assert_snapshot!("junit", junit::render(&mixed()).unwrap());
}

#[test]
fn as_sarif() {
    assert_json_snapshot!("sarif", sarif::render(&mixed(), "mine.toml"));
}
