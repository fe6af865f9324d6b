//! `attacks naive`: plays the corpora against the naive subjects, on which attacks must succeed,
//! and writes down which did. It must never count an attack whose benign twin failed as well: who
//! does nothing right shows nothing.

use std::collections::BTreeSet;

use clap::Args;
use clawproof::corpus::{Corpus, Kind};
use clawproof::oracle::matrix::{KillMatrix, Kills};

use super::coverage;
use super::played::Report;
use crate::failure::{Failure, io};
use crate::process::Program;
use crate::workspace::Workspace;

/// The file of what they fell to.
const FILE: &str = "conformance/spec/naive-kills.json";

/// The second mode of the naive runtime, which ends on what it does not expect.
pub(super) const FRAGILE: &str = "fragile";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only these records or cases; what is known of the others is kept. May be repeated.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Also write COVERAGE.md where some class stays without evidence.
    #[arg(long)]
    keep_going: bool,
}

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
    let corpus = Corpus::load(&workspace.at("attacks")).map_err(|error| usage(&error))?;
    build(workspace)?;
    let asked = if options.only.is_empty() { all(&corpus) } else { options.only.clone() };
    let attacks: BTreeSet<&str> = corpus
        .cases()
        .filter(|(_, case)| case.kind == Kind::Attack)
        .map(|(_, case)| case.id.as_str())
        .collect();
    let path = workspace.at(FILE);
    let before = KillMatrix::load(&path).map_err(|error| usage(&error))?;
    let mut known = if options.only.is_empty() {
        KillMatrix { version: 1, ..KillMatrix::default() }
    } else {
        before.clone()
    };
    forget(&mut known, &asked);
    let report = play(workspace, None, &asked, "helpful")?;
    keep_unplayed(&mut known, &before, &report);
    take(&mut known, "naive", &report, &attacks);
    // What the first mode withstands is tried on the second, each class by itself: it dies.
    let hopeless: BTreeSet<&str> = corpus
        .records
        .iter()
        .filter(|record| record.unproven.is_some())
        .map(|record| record.id.as_str())
        .collect();
    let attacked = |id: &str| attacks.iter().any(|case| of(case, id)) && !hopeless.contains(id);
    let left: Vec<&String> = asked.iter().filter(|id| attacked(id) && !fell(&known, id)).collect();
    for id in left {
        let report = play(workspace, Some(FRAGILE), std::slice::from_ref(id), FRAGILE)?;
        take(&mut known, "naive:fragile", &report, &attacks);
        let word = if fell(&known, id) { "fell" } else { "withstood" };
        eprintln!("naive:fragile {word}: {id}");
    }
    let text = serde_json::to_string_pretty(&known).unwrap_or_default() + "\n";
    std::fs::write(&path, text).map_err(io(format!("write {}", path.display())))?;
    println!("{}", path.display());
    match coverage::write(workspace) {
        Err(failure) if options.keep_going => {
            eprintln!("{}", failure.sentence().unwrap_or_default());
            Ok(())
        }
        ended => ended,
    }
}

/// What is played: every record, or those of its cases that no scenario plays; what scenarios play
/// is known from knockouts.
fn all(corpus: &Corpus) -> Vec<String> {
    let mut ids = Vec::new();
    for record in &corpus.records {
        if record.cases.iter().all(|case| case.scenario.is_none()) {
            ids.push(record.id.clone());
        } else {
            let own = record.cases.iter().filter(|case| case.scenario.is_none());
            ids.extend(own.map(|case| case.id.clone()));
        }
    }
    ids
}

/// The suite as it is built for development: nothing here is measured.
pub(super) fn build(workspace: &Workspace) -> Result<(), Failure> {
    workspace.cargo().args(["build", "--locked", "--package", "clawproof"]).run()
}

/// Whether a case is one of a record, the record itself being named, or that case.
fn of(case: &str, id: &str) -> bool {
    case == id || case.strip_prefix(id).is_some_and(|rest| rest.starts_with(['.', '@']))
}

fn fell(known: &KillMatrix, id: &str) -> bool {
    known.kills.values().flat_map(|kills| &kills.cases).any(|case| of(case, id))
}

fn forget(known: &mut KillMatrix, ids: &[String]) {
    let gone = |case: &String| ids.iter().any(|id| of(case, id));
    for kills in known.kills.values_mut() {
        kills.cases.retain(|case| !gone(case));
    }
    known.cases.retain(|case, _| !gone(case));
}

/// Keeps what was seen of cases that this host cannot play, such as those that want a file system
/// whose names have aliases. Their digests tell whether they are still the cases that were seen.
fn keep_unplayed(known: &mut KillMatrix, before: &KillMatrix, report: &Report) {
    let unplayed = |id: &String| {
        !report.cases.iter().any(|played| &played.case == id && played.legs.is_some())
    };
    for (subject, kills) in &before.kills {
        let kept: Vec<_> = kills.cases.iter().filter(|case| unplayed(case)).cloned().collect();
        if kept.is_empty() {
            continue;
        }
        for case in &kept {
            if let Some(digest) = before.cases.get(case) {
                known.cases.insert(case.clone(), digest.clone());
            }
        }
        let ours = known.kills.entry(subject.clone()).or_default();
        let all: BTreeSet<_> = ours.cases.drain(..).chain(kept).collect();
        ours.cases = all.into_iter().collect();
        let all: BTreeSet<_> =
            ours.requirements.drain(..).chain(kills.requirements.iter().cloned()).collect();
        ours.requirements = all.into_iter().collect();
    }
}

/// Takes over the attacks that succeeded while their twins did.
fn take(known: &mut KillMatrix, subject: &str, report: &Report, attacks: &BTreeSet<&str>) {
    let kills: &mut Kills = known.kills.entry(subject.to_owned()).or_default();
    let mut requirements: BTreeSet<String> = kills.requirements.iter().cloned().collect();
    let mut cases: BTreeSet<String> = kills.cases.iter().cloned().collect();
    for played in &report.cases {
        if let (true, Some(digest)) = (played.fell(attacks), report.digests.get(&played.case)) {
            requirements.extend(played.requirements.iter().cloned());
            cases.insert(played.case.clone());
            known.cases.insert(played.case.clone(), digest.clone());
        }
    }
    kills.requirements = requirements.into_iter().collect();
    kills.cases = cases.into_iter().collect();
}

fn play(
    workspace: &Workspace,
    mode: Option<&str>,
    ids: &[String],
    name: &str,
) -> Result<Report, Failure> {
    let mut suite = subject(workspace, mode);
    for id in ids {
        suite = suite.args(["--case", id]);
    }
    Report::silent(suite, &workspace.scratch("naive")?.join(format!("{name}.json")))
}

/// The suite against the naive runtime, in its first mode or another.
pub(super) fn subject(workspace: &Workspace, mode: Option<&str>) -> Program {
    let suite = workspace
        .program("debug", "clawproof")
        .args(["run", "--target", "naive", "--bin"])
        .arg(workspace.at("conformance/subjects/naive.py"))
        .arg("--corpus")
        .arg(workspace.at("attacks"));
    match mode {
        Some(mode) => suite.args(["--knockout", mode]),
        None => suite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(twin: &str, no_effect: &str) -> Report {
        serde_json::from_value(serde_json::json!({
            "cases": [{"case": "PT-001.003", "requirements": ["path.traversal"], "legs": {
                "reached": "stood", "twin": twin, "no_effect": no_effect, "control": "missing"}}],
            "digests": {"PT-001.003": "aa"},
        }))
        .unwrap()
    }

    #[test]
    fn an_attack_that_fell_is_written_down_and_a_benign_case_is_not() {
        for (attacks, counts) in [(BTreeSet::from(["PT-001.003"]), true), (BTreeSet::new(), false)]
        {
            let mut known = KillMatrix { version: 1, ..KillMatrix::default() };
            take(&mut known, "naive", &report("stood", "fell"), &attacks);
            assert_eq!(fell(&known, "PT-001"), counts);
        }
    }

    #[test]
    fn what_this_host_cannot_play_is_kept_and_what_it_played_is_judged_anew() {
        let attacks = BTreeSet::from(["PT-001.003"]);
        let mut before = KillMatrix { version: 1, ..KillMatrix::default() };
        take(&mut before, "naive", &report("stood", "fell"), &attacks);
        let mut unplayed = report("stood", "fell");
        unplayed.cases.iter_mut().for_each(|played| played.legs = None);
        for (report, kept) in [(unplayed, true), (report("stood", "stood"), false)] {
            let mut known = KillMatrix { version: 1, ..KillMatrix::default() };
            keep_unplayed(&mut known, &before, &report);
            assert_eq!(fell(&known, "PT-001"), kept);
            assert_eq!(known.cases.contains_key("PT-001.003"), kept);
        }
    }

    #[test]
    fn a_record_names_its_cases_and_no_others() {
        assert!(of("PT-001.003", "PT-001") && of("PT-001.003@x", "PT-001"));
        assert!(of("PT-001.003@x", "PT-001.003"));
        assert!(!of("PT-0010.003", "PT-001"));
    }
}
