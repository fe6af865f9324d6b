//! Both sides of the verdict: the same cases on the fake with and without its defences.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use clawproof::corpus::Corpus;
use clawproof::oracle::matrix::{KillMatrix, Kills, digest};
use clawproof::run::{Plan, Progress, Results, RunError, Shard, run};
use clawproof::spec::Spec;
use clawproof::target::manifest::Manifest;
use clawproof::verdict::{Exit, Verdict};

use super::cases::corpus;
use super::fake;

struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _total: usize) {}
    fn ended(&self, _case: &str, _milliseconds: u64) {}
}

/// A matrix that takes every attack for proven, as the reference's would.
fn matrix(corpus: &Corpus) -> KillMatrix {
    let mut matrix = KillMatrix { version: 1, ..KillMatrix::default() };
    let mut kills = Kills::default();
    for (record, case) in corpus.cases() {
        kills.cases.push(case.id.clone());
        let definition = serde_json::to_vec(record).unwrap();
        matrix.cases.insert(case.id.clone(), digest(&definition));
    }
    matrix.kills = BTreeMap::from([("all".to_owned(), kills)]);
    matrix
}

/// Plays the cases on the fake in a mode.
pub(crate) async fn play(mode: &str, only: &[&str]) -> Result<Results, RunError> {
    play_on(&fake::manifest(mode), only, None).await
}

/// Plays the cases on the fake that this manifest describes: all, the named ones, or a part.
pub(crate) async fn play_on(
    manifest: &str,
    only: &[&str],
    shard: Option<Shard>,
) -> Result<Results, RunError> {
    let corpus = corpus();
    let own = std::env::current_exe().unwrap();
    let manifest = Manifest::parse(manifest, Path::new("fake.toml")).unwrap();
    let program = clawproof::target::binary::Program::find(&manifest, Some(&own)).unwrap();
    let plan = Plan {
        profiles: manifest.profiles.clone(),
        manifest: Arc::new(manifest),
        binary: program.path().to_owned(),
        knockout: None,
        spec: Spec::load().unwrap(),
        matrix: matrix(&corpus),
        corpus,
        // Scenarios of the reference's groups are not what is tested here.
        only: if only.is_empty() {
            records()
        } else {
            only.iter().map(|it| (*it).to_owned()).collect()
        },
        seed: 1,
        jobs: 2,
        slow: false,
        shard,
        fail_fast: false,
        every_form: false,
    };
    let results = run(&plan, &Quiet).await;
    drop(program);
    results
}

/// All of them; what is injected into commands is in the words of a shell that Windows has not.
fn records() -> Vec<String> {
    let ids = corpus().records.into_iter().map(|record| record.id);
    ids.filter(|id| cfg!(unix) || !id.starts_with("CI-")).collect()
}

/// `id: reason` of every case with that verdict.
pub(crate) fn with(results: &Results, verdict: Verdict) -> Vec<String> {
    let cases = results.cases.iter().filter(|case| case.verdict == verdict);
    cases.map(|case| format!("{}: {} {:?}", case.case, case.reason, case.evidence)).collect()
}

#[tokio::test]
async fn a_target_with_its_defences_passes_on_every_surface() {
    let results = play("strict", &[]).await.unwrap();
    assert_eq!(with(&results, Verdict::Fail), Vec::<String>::new());
    assert_eq!(with(&results, Verdict::HarnessError), Vec::<String>::new());
    // No attack stands on `tool.call`, so its benign case has no control.
    let left = with(&results, Verdict::Inconclusive);
    assert!(left.len() == 1 && left[0].starts_with("TC-003.001"), "{left:#?}");
}

#[tokio::test]
async fn the_same_target_without_its_defences_fails() {
    let results = play("naive", &[]).await.unwrap();
    let failed: Vec<String> = with(&results, Verdict::Fail);
    let names: Vec<&str> = failed.iter().filter_map(|line| line.split(':').next()).collect();
    for case in [
        "UC-001.002",
        "OP-001.002",
        "UC-002.002",
        "PT-001.002",
        "PT-001.003",
        "PT-001.004",
        "PT-001.005",
        "PT-002.002",
        "CI-001.002",
        "TC-001.002",
    ] {
        // No such shell there, and links are an administrator's.
        if cfg!(windows) && (case.starts_with("CI-") || case == "PT-001.005") {
            continue;
        }
        assert!(names.contains(&case), "{case} did not fail: {results:#?}");
    }
    assert_eq!(results.exit(), Exit::Failed);
}

#[tokio::test]
async fn an_attack_alone_brings_its_twin_along_and_certifies_nothing() {
    let results = play("strict", &["PT-001.002"]).await.unwrap();
    assert_eq!(results.cases.len(), 1);
    assert_eq!(results.cases[0].verdict, Verdict::Pass, "{results:#?}");
    assert!(results.partial);
}

#[tokio::test]
async fn an_unknown_case_or_profile_is_one_sentence() {
    let error = play("strict", &["PT-01"]).await.unwrap_err();
    assert_eq!(error.to_string(), "unknown case `PT-01`; did you mean `PT-001`?");
    assert_eq!(error.exit(), Exit::Usage);
}

#[tokio::test]
async fn the_parts_of_a_run_hold_each_case_once_and_say_the_same() {
    let whole = play("strict", &[]).await.unwrap();
    let mut joined = BTreeMap::new();
    for index in 1..=3 {
        let manifest = fake::manifest("strict");
        let part = play_on(&manifest, &[], Some(Shard { index, of: 3 })).await.unwrap();
        assert!(part.partial && part.whole == whole.whole);
        for case in part.cases {
            assert!(joined.insert(case.case.clone(), case).is_none(), "a case is in two parts");
        }
    }
    let stopped: Vec<String> =
        joined.values().filter(|case| case.stopped).map(|case| case.surface.clone()).collect();
    for case in &whole.cases {
        let other = joined.get_mut(&case.case).expect("every case is in a part");
        if stopped.contains(&other.surface) {
            clawproof::run::control_of_benign(other);
        }
        assert_eq!((other.verdict, &other.legs), (case.verdict, &case.legs), "{}", case.case);
    }
    assert_eq!(joined.len(), whole.cases.len());
}
