//! Joins the reports of the parts of one run into the report of the whole. It must never join what
//! does not belong together, nor take a gap for a whole.

use std::collections::{BTreeMap, BTreeSet};

use super::json::{Part, Report, summary};
use crate::run::{Judged, Results, control_of_benign, requirements, whole};
use crate::spec::Spec;
use crate::verdict::Verdict;

/// Why reports cannot be joined, in one sentence.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MergeError(String);

/// Joins every part of one run, in any order.
///
/// # Errors
/// One sentence that names what differs or is missing.
pub fn merge(parts: &[Report], spec: &Spec) -> Result<Report, MergeError> {
    let refuse = |words: String| Err(MergeError(words));
    let Some(first) = parts.first() else { return refuse("there is nothing to join".to_owned()) };
    for (number, other) in parts.iter().enumerate().skip(1) {
        if let Some(what) = differs(first, other) {
            return refuse(format!("part {} and part 1 differ in their {what}", number + 1));
        }
    }
    let whole_of_run = complete(parts)?;
    if spec.revision != first.revision {
        let (theirs, ours) = (&first.revision, &spec.revision);
        return refuse(format!("these reports are of revision {theirs}, this catalogue is {ours}"));
    }
    let mut cases = BTreeMap::new();
    for case in parts.iter().flat_map(|part| &part.cases) {
        if cases.insert(case.case.clone(), case.clone()).is_some() {
            return refuse(format!("{} stands in two parts", case.case));
        }
    }
    if whole(&cases.keys().cloned().collect()) != whole_of_run {
        return refuse("the parts do not hold the cases of the whole run".to_owned());
    }
    let mut cases: Vec<_> = cases.into_values().collect();
    let stopped: BTreeSet<String> =
        cases.iter().filter(|case| case.stopped).map(|case| case.surface.clone()).collect();
    for case in cases.iter_mut().filter(|case| stopped.contains(&case.surface)) {
        control_of_benign(case);
    }
    let mut digests = BTreeMap::new();
    for (case, digest) in parts.iter().flat_map(|part| &part.digests) {
        if digests.insert(case, digest).is_some_and(|before| before != digest) {
            return refuse(format!("{case} is not the same case in all parts"));
        }
    }
    let digests =
        digests.into_iter().map(|(case, digest)| (case.clone(), digest.clone())).collect();
    let required: BTreeSet<String> = first
        .profiles
        .iter()
        .flat_map(|profile| spec.required_by(profile).map(|row| row.id.clone()))
        .collect();
    let judged =
        Judged { spec, required: &required, unsupported: &first.unsupported, partial: false };
    let results = Results {
        requirements: requirements(&judged, &cases),
        cases,
        digests,
        partial: false,
        left_out: first.left_out.clone(),
        whole: whole_of_run,
        cut_short: false,
        milliseconds: parts.iter().map(|part| part.milliseconds).sum(),
    };
    if results.cases.iter().all(|case| case.verdict == Verdict::NotApplicable) {
        return refuse("no part executed a case".to_owned());
    }
    Ok(Report {
        summary: summary(&spec.revision, &results),
        part: None,
        partial: false,
        time: parts.iter().map(|part| part.time.as_str()).max().unwrap_or_default().to_owned(),
        milliseconds: results.milliseconds,
        requirements: results.requirements,
        cases: results.cases,
        digests: results.digests,
        baseline: None,
        ..first.clone()
    })
}

/// The first thing in which two parts differ that must be the same.
fn differs(one: &Report, two: &Report) -> Option<&'static str> {
    let target = |report: &Report| {
        let target = &report.target;
        (target.name.clone(), target.program.clone(), target.manifest.clone())
    };
    let same = [
        (one.schema == two.schema, "schema"),
        (one.suite == two.suite && one.made.suite == two.made.suite, "suite"),
        (one.revision == two.revision, "revision of the requirements"),
        (one.made.requirements == two.made.requirements, "digest of the requirements"),
        (one.made.matrix == two.made.matrix, "digest of the kill matrix"),
        (one.corpus == two.corpus, "corpus"),
        (target(one) == target(two), "target"),
        (one.unsupported == two.unsupported, "target"),
        (one.environment == two.environment, "environment"),
        (one.profiles == two.profiles, "profiles"),
        (one.seed == two.seed, "seed"),
        (one.knockout == two.knockout, "knockout"),
        (one.left_out == two.left_out, "slow cases"),
    ];
    same.into_iter().find(|(same, _)| !same).map(|(_, what)| what)
}

/// Whether these are all parts of one run, each once; the digest of its case ids.
fn complete(parts: &[Report]) -> Result<String, MergeError> {
    let mut there = BTreeSet::new();
    let mut run: Option<(u32, &str)> = None;
    for (number, report) in parts.iter().enumerate() {
        let number = number + 1;
        let Some(Part { shard, whole }) = &report.part else {
            return Err(MergeError(format!("report {number} is no part of a run (`run --shard`)")));
        };
        if report.cut_short {
            return Err(MergeError(format!("part {}/{} was cut short", shard.index, shard.of)));
        }
        if *run.get_or_insert((shard.of, whole)) != (shard.of, whole.as_str()) {
            return Err(MergeError(format!("report {number} is a part of another run")));
        }
        if !there.insert(shard.index) {
            return Err(MergeError(format!("part {}/{} is there twice", shard.index, shard.of)));
        }
    }
    let (of, whole) = run.unwrap_or_default();
    let missing: Vec<String> = (1..=of)
        .filter(|index| !there.contains(index))
        .map(|index| format!("{index}/{of}"))
        .collect();
    if missing.is_empty() {
        Ok(whole.to_owned())
    } else {
        Err(MergeError(format!("missing: part {}", missing.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Kind;
    use crate::report::sample::{case, report};
    use crate::run::Shard;
    use crate::verdict::{CaseResult, Leg};

    fn spec() -> Spec {
        Spec::load().unwrap()
    }

    /// A benign case that waits for its control, and an attack that is one, in a part each.
    fn parts() -> [Report; 2] {
        let mut attack = case("UC-001.002", "input.control-chars", Verdict::Pass);
        attack.kind = Some(Kind::Attack);
        attack.stopped = true;
        let mut benign = case("UC-002.001", "input.control-chars", Verdict::Inconclusive);
        benign.kind = Some(Kind::Benign);
        let ids = [&attack, &benign].map(|case| case.case.clone()).into_iter().collect();
        let part = |index, case: CaseResult| {
            let mut part = report();
            part.partial = true;
            part.part = Some(Part { shard: Shard { index, of: 2 }, whole: whole(&ids) });
            part.cases = vec![case];
            part
        };
        [part(1, attack), part(2, benign)]
    }

    #[test]
    fn all_parts_give_the_report_of_the_whole_in_any_order() {
        let [one, two] = parts();
        let joined = merge(&[two, one], &spec()).unwrap();
        assert!(!joined.partial && joined.part.is_none());
        assert_eq!(joined.cases.len(), 2);
        let row = joined.requirements.iter().find(|row| row.id == "input.control-chars").unwrap();
        assert_eq!((row.verdict, row.passed), (Some(Verdict::Pass), 2));
        // What no case of the parts witnesses is there again, as uncovered.
        assert!(joined.requirements.iter().any(|row| row.verdict.is_none()));
    }

    #[test]
    fn a_benign_case_gets_its_control_from_another_part_and_nothing_else() {
        let [one, mut two] = parts();
        let joined = merge(&[one.clone(), two.clone()], &spec()).unwrap();
        assert_eq!(joined.cases[1].legs.unwrap().control, Leg::Stood);
        two.cases[0].surface = "http.body".to_owned();
        let joined = merge(&[one, two], &spec()).unwrap();
        assert_eq!(joined.cases[1].verdict, Verdict::Inconclusive);
    }

    #[test]
    fn gaps_doubles_and_strangers_are_refused() {
        let [one, two] = parts();
        let refused = |parts: &[Report]| merge(parts, &spec()).unwrap_err().to_string();
        assert_eq!(refused(std::slice::from_ref(&one)), "missing: part 2/2");
        assert!(refused(&[one.clone(), one.clone()]).contains("twice"));
        assert!(refused(&[report()]).contains("no part of a run"));
        let mut emptied = two.clone();
        emptied.cases.clear();
        assert!(refused(&[one.clone(), emptied]).contains("do not hold the cases"));
        type Change = fn(&mut Report);
        let change: [(Change, &str); 7] = [
            (|it| it.seed = 2, "seed"),
            (|it| it.target.program = "x".into(), "target"),
            (|it| it.made.matrix = "x".into(), "kill matrix"),
            (|it| it.made.suite = "x".into(), "suite"),
            (|it| it.environment.kernel = "x".into(), "environment"),
            (|it| it.profiles.clear(), "profiles"),
            (|it| it.knockout = Some("x".into()), "knockout"),
        ];
        for (change, word) in change {
            let mut other = two.clone();
            change(&mut other);
            let words = refused(&[one.clone(), other]);
            assert!(words.ends_with(word) || words.contains(word), "{words}");
        }
        let mut short = two;
        short.cut_short = true;
        assert!(refused(&[one, short]).contains("cut short"));
    }
}
