//! Null subjects: none of them may ever get a single pass that counts.

use std::time::{Duration, Instant};

use clawproof::run::RunError;
use clawproof::verdict::{Exit, Verdict};

#[cfg(target_os = "linux")]
use super::verdicts::play_on;
use super::verdicts::{play, with};

/// The subject gets no pass for any MUST, and the run is not certified.
async fn never_passes(mode: &str) {
    let results = play(mode, &[]).await.unwrap();
    assert_eq!(with(&results, Verdict::Pass), Vec::<String>::new(), "{mode}");
    assert_ne!(results.exit(), Exit::Certified, "{mode}");
    assert_eq!(results.musts().0, 0, "{mode}");
}

#[tokio::test]
async fn one_that_answers_an_empty_object_to_all_gets_nothing() {
    never_passes("empty").await;
}

#[tokio::test]
async fn one_that_refuses_all_gets_nothing() {
    never_passes("refuse").await;
}

#[tokio::test]
async fn one_that_allows_all_gets_nothing() {
    never_passes("allow").await;
}

/// It refuses every attack exactly as it is published, and has no defence besides.
#[tokio::test]
async fn one_that_knows_the_public_corpora_by_heart_gets_nothing() {
    never_passes("heart").await;
    let results = play("heart", &[]).await.unwrap();
    let failed = with(&results, Verdict::Fail);
    let words = "withstood as published; falls when it is written another way";
    let by_heart = failed.iter().filter(|line| line.contains(words)).count();
    assert!(by_heart >= 3, "{by_heart}: {failed:#?}");
    // Seen at the attack with a link, and links are an administrator's on Windows.
    let others = with(&results, Verdict::Inconclusive);
    let doubted = others.iter().any(|line| line.contains("known by heart"));
    assert!(doubted || cfg!(windows), "{others:#?}");
}

/// Its fine words buy it nothing at the boundaries either.
#[tokio::test]
async fn one_that_lies_gets_nothing() {
    never_passes("liar").await;
}

#[tokio::test]
async fn one_that_crashes_on_every_input_gets_nothing() {
    never_passes("crash").await;
}

#[tokio::test]
async fn one_that_hangs_gets_nothing_and_costs_a_bounded_time() {
    let begun = Instant::now();
    never_passes("hang").await;
    assert!(begun.elapsed() < Duration::from_secs(240));
}

#[tokio::test]
async fn one_with_a_closed_port_does_not_start() {
    let error = play("closed", &[]).await.unwrap_err();
    assert!(matches!(error, RunError::Start { usage: false, .. }), "{error}");
    assert!(error.to_string().contains("did not listen"), "{error}");
}

#[tokio::test]
async fn one_that_dies_at_its_start_is_quoted() {
    let error = play("dead", &[]).await.unwrap_err();
    assert!(error.to_string().contains("this target dies at its start"), "{error}");
    assert_eq!(error.exit(), Exit::Harness);
}

#[tokio::test]
async fn one_that_floods_its_output_does_not_disturb_the_suite() {
    let results = play("flood", &["UC-001", "PT-001"]).await.unwrap();
    assert_eq!(with(&results, Verdict::Fail), Vec::<String>::new());
}

/// Reports Strict, writes a fine audit log, and runs everything on the host.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn one_that_lies_is_caught_by_the_sensors_at_every_word() {
    let honesty = [
        "scenario:sandbox.honest-status",
        "scenario:sandbox.default-strict",
        "scenario:audit.tool-level",
        "scenario:audit.reconciled-session",
    ];
    let results = play_on(&super::fake::liar(), &honesty, None).await.unwrap();
    let failed = with(&results, Verdict::Fail);
    assert_eq!(failed.len(), honesty.len(), "{results:#?}");
    assert_eq!(with(&results, Verdict::Pass), Vec::<String>::new());
    let status = failed.iter().find(|line| line.starts_with(honesty[0])).unwrap();
    assert!(status.contains("it reports Some(\"strict\"); seen from outside"), "{status}");
}
