//! Null subjects: none of them may ever get a single pass that counts.

use std::time::{Duration, Instant};

use clawproof::run::RunError;
use clawproof::verdict::{Exit, Verdict};

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
