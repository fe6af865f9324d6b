//! What a run of the suite said, case by case. Pure: reads the report's cases and compares two.

use std::collections::{BTreeMap, BTreeSet};

use clawproof::verdict::{Legs, Verdict};
use serde::Deserialize;

/// The part of the suite's report that the matrix needs.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    cases: Vec<Case>,
    /// By case id: the digest of what defines the case.
    #[serde(default)]
    digests: BTreeMap<String, String>,
    #[serde(default)]
    made: Made,
    #[serde(default)]
    target: Target,
}

/// SHA-256 of the suite.
#[derive(Debug, Default, Deserialize)]
struct Made {
    suite: String,
}

/// SHA-256 of the runtime.
#[derive(Debug, Default, Deserialize)]
struct Target {
    program: String,
}

/// One case as the suite saw it.
#[derive(Debug, Deserialize)]
pub(super) struct Case {
    pub(super) case: String,
    pub(super) requirements: Vec<String>,
    pub(super) verdict: Verdict,
    /// Of an attack that fails: it arrived, and nothing else was seen.
    #[serde(default)]
    pub(super) harmless: bool,
    #[serde(default)]
    pub(super) legs: Option<Legs>,
    #[serde(default)]
    pub(super) evidence: Vec<String>,
}

impl Report {
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Whether it was made by this suite with this runtime, by their digests.
    pub(super) fn made_by(&self, suite: &str, runtime: &str) -> bool {
        self.made.suite == suite && self.target.program == runtime
    }

    /// Every case.
    pub(super) fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// The case with this id.
    pub(super) fn case(&self, id: &str) -> Option<&Case> {
        self.find(id)
    }

    /// Whether this case witnesses the requirement or one of its family.
    pub(super) fn witnesses(&self, case: &str, id: &str) -> bool {
        self.find(case).is_some_and(|case| case.requirements.iter().any(|own| belongs(own, id)))
    }

    /// The cases that witness the requirement or one of its family and have a meaning here.
    pub(super) fn cases_of(&self, id: &str) -> Vec<String> {
        let apply = self.cases.iter().filter(|case| case.verdict != Verdict::NotApplicable);
        let named = apply.map(|case| &case.case);
        named.filter(|case| self.witnesses(case, id)).cloned().collect()
    }

    /// What this case witnesses.
    pub(super) fn requirements(&self, case: &str) -> &[String] {
        self.find(case).map_or(&[], |case| case.requirements.as_slice())
    }

    pub(super) fn verdict(&self, case: &str) -> Option<Verdict> {
        self.find(case).map(|case| case.verdict)
    }

    /// The cases that fail here and did not fail there.
    pub(super) fn newly_failing(&self, baseline: &Self) -> BTreeSet<String> {
        self.cases
            .iter()
            .filter(|case| case.verdict == Verdict::Fail)
            .filter(|case| baseline.verdict(&case.case) != Some(Verdict::Fail))
            .map(|case| case.case.clone())
            .collect()
    }

    /// The requirements of the family of `id` that these cases witness.
    pub(super) fn requirements_of<'a>(
        &self,
        cases: impl Iterator<Item = &'a String>,
        id: &str,
    ) -> BTreeSet<String> {
        cases
            .filter_map(|case| self.find(case))
            .flat_map(|case| case.requirements.iter())
            .filter(|own| belongs(own, id))
            .cloned()
            .collect()
    }

    /// The digest of each case as the suite states it.
    pub(super) fn digests(&self) -> BTreeMap<String, String> {
        self.digests.clone()
    }

    fn find(&self, id: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.case == id)
    }
}

/// Whether a requirement is `id` itself or one of the family that it heads (`sandbox.fs` heads
/// `sandbox.fs.read-outside`).
fn belongs(requirement: &str, id: &str) -> bool {
    requirement.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cases: &[(&str, &str, &str)]) -> Report {
        let cases: Vec<_> = cases
            .iter()
            .map(|(case, requirement, verdict)| {
                serde_json::json!({
                    "case": case, "requirements": [requirement], "verdict": verdict, "reason": "",
                })
            })
            .collect();
        Report::parse(&serde_json::json!({ "cases": cases }).to_string()).unwrap()
    }

    #[test]
    fn a_report_is_known_by_the_programs_that_made_it() {
        let text = r#"{"cases": [], "made": {"suite": "aa"}, "target": {"program": "bb"}}"#;
        let made = Report::parse(text).unwrap();
        assert!(made.made_by("aa", "bb"));
        assert!(!made.made_by("aa", "cc") && !made.made_by("", ""));
    }

    #[test]
    fn only_what_failed_newly_counts() {
        let before = report(&[("A", "x.y", "fail"), ("B", "x.y", "pass"), ("C", "x.z", "pass")]);
        let after = report(&[("A", "x.y", "fail"), ("B", "x.y", "fail"), ("C", "x.z", "pass")]);
        assert_eq!(after.newly_failing(&before), BTreeSet::from(["B".to_owned()]));
        assert!(before.newly_failing(&before).is_empty());
    }

    #[test]
    fn an_inconclusive_case_that_fails_has_newly_failed() {
        let before = report(&[("A", "x.y", "inconclusive")]);
        let after = report(&[("A", "x.y", "fail")]);
        assert_eq!(after.newly_failing(&before).len(), 1);
    }

    #[test]
    fn a_head_owns_its_family_and_no_namesake() {
        let report = report(&[("A", "sandbox.fs.read", "fail"), ("B", "sandbox.fsx", "fail")]);
        assert!(report.witnesses("A", "sandbox.fs"));
        assert!(!report.witnesses("B", "sandbox.fs"));
        assert_eq!(report.cases_of("sandbox.fs"), ["A"]);
    }

    #[test]
    fn a_case_without_a_meaning_here_covers_nothing() {
        let report = report(&[("A", "sandbox.env.canary", "not-applicable")]);
        assert!(report.cases_of("sandbox.env").is_empty());
    }
}
