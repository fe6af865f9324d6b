//! The machine-readable report: everything that a run has shown, under a published schema.
//! It must never leave out a case, an uncovered requirement or a skip.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::judgement::Judgement;
use crate::run::{Plan, RequirementResult, Results, Shard};
use crate::spec::Level;
pub use crate::target::host::Environment;
use crate::verdict::{CaseResult, Exit, Verdict};

/// The schema's name and version.
pub const SCHEMA: &str = "clawproof.report/1";

/// The report of one run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// `clawproof.report/1`.
    pub schema: String,
    /// The suite's version.
    pub suite: String,
    /// The revision of the requirements, such as `2026-11`.
    pub revision: String,
    /// The version of the corpus.
    pub corpus: String,
    /// What was tested.
    pub target: TargetFacts,
    /// Where.
    pub environment: Environment,
    /// The profiles that were asked for.
    pub profiles: Vec<String>,
    /// The seed of the order.
    pub seed: u64,
    /// The check that was knocked out, if any.
    pub knockout: Option<String>,
    /// Whether only named cases ran: such a report certifies nothing.
    pub partial: bool,
    /// The slow cases that were left out; `run --slow` plays them.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// Which part of a split run this is; `clawproof merge` joins them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// Whether the run ended at its first failure (`--fail-fast`).
    #[serde(default)]
    pub cut_short: bool,
    /// Digests of suite, requirements and kill matrix.
    #[serde(default)]
    pub made: Made,
    /// What the manifest says that the target does not do: requirement id or head = reason.
    #[serde(default)]
    pub unsupported: BTreeMap<String, String>,
    /// How the run stands against its known failures, where a baseline was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Judgement>,
    /// When the run ended, RFC 3339.
    pub time: String,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// What it comes to.
    pub summary: Summary,
    /// Every requirement of the profiles.
    pub requirements: Vec<RequirementResult>,
    /// Every case.
    pub cases: Vec<CaseResult>,
    /// By case id: the SHA-256 of what defines the case.
    pub digests: BTreeMap<String, String>,
}

/// The target of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TargetFacts {
    /// The manifest's name.
    pub name: String,
    /// The manifest's title.
    pub title: String,
    /// The SHA-256 of the program; empty where the manifest names none.
    pub program: String,
    /// The SHA-256 of the manifest's text.
    pub manifest: String,
}

/// Digests of what a run was made with, each as SHA-256 in hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Made {
    /// The suite's own program.
    pub suite: String,
    /// The catalogue of requirements.
    pub requirements: String,
    /// The kill matrix, which is the fourth leg of most cases.
    pub matrix: String,
}

/// Which part of a split run a report is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// Which part of how many.
    #[serde(flatten)]
    pub shard: Shard,
    /// SHA-256 of the sorted ids of all cases of the whole run, one a line.
    pub whole: String,
}

/// What a run comes to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The exit code: 0 certified, 1 failed, 3 the suite failed, 4 inconclusive.
    pub exit: u8,
    /// One sentence.
    pub sentence: String,
    /// MUST requirements that are certified.
    pub musts_passed: usize,
    /// MUST requirements of the profiles.
    pub musts: usize,
    /// Cases by verdict.
    pub cases: BTreeMap<String, usize>,
    /// Requirements by verdict; `uncovered` are those that no case witnesses.
    pub requirements: BTreeMap<String, usize>,
}

impl Report {
    /// The report of a run that ended just now.
    #[must_use]
    pub fn new(plan: &Plan, results: Results, target: TargetFacts, made: Made) -> Self {
        let summary = summary(&plan.spec.revision, &results);
        Self {
            schema: SCHEMA.to_owned(),
            suite: env!("CARGO_PKG_VERSION").to_owned(),
            revision: plan.spec.revision.clone(),
            corpus: crate::corpus::VERSION.to_owned(),
            target,
            environment: Environment::here(&plan.manifest),
            profiles: plan.profiles.clone(),
            seed: plan.seed,
            knockout: plan.knockout.clone(),
            partial: results.partial,
            left_out: results.left_out,
            part: plan.shard.map(|shard| Part { shard, whole: results.whole }),
            cut_short: results.cut_short,
            made,
            unsupported: plan.manifest.unsupported.clone(),
            baseline: None,
            time: jiff::Timestamp::now().to_string(),
            milliseconds: results.milliseconds,
            summary,
            requirements: results.requirements,
            cases: results.cases,
            digests: results.digests,
        }
    }

    /// The JSON Schema of this report.
    #[must_use]
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

/// A verdict as reports write it.
#[must_use]
pub fn word(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Pass) => "pass",
        Some(Verdict::Fail) => "fail",
        Some(Verdict::Inconclusive) => "inconclusive",
        Some(Verdict::Unsupported) => "unsupported",
        Some(Verdict::NotApplicable) => "not-applicable",
        Some(Verdict::HarnessError) => "harness-error",
        None => "uncovered",
    }
}

fn count<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word.to_owned()).or_insert(0) += 1;
    }
    counts
}

/// The word of a requirement; `not-run` where its probe is another operating system's.
#[must_use]
pub fn word_of(row: &RequirementResult) -> &'static str {
    if row.not_run() { "not-run" } else { word(row.verdict) }
}

/// What results come to.
#[must_use]
pub fn summary(revision: &str, results: &Results) -> Summary {
    let exit = results.exit();
    let (musts_passed, musts) = results.musts();
    Summary {
        exit: exit as u8,
        sentence: sentence(revision, results, exit, (musts_passed, musts)),
        musts_passed,
        musts,
        cases: count(results.cases.iter().map(|case| word(Some(case.verdict)))),
        requirements: count(results.requirements.iter().map(word_of)),
    }
}

fn sentence(
    revision: &str,
    results: &Results,
    exit: Exit,
    (passed, all): (usize, usize),
) -> String {
    let named = |wanted: &[Option<Verdict>]| {
        let musts = results.requirements.iter().filter(|it| it.level == Level::Must);
        let ids: Vec<&str> =
            musts.filter(|it| wanted.contains(&it.verdict)).map(|it| it.id.as_str()).collect();
        let (first, more) = ids.split_at(ids.len().min(6));
        let rest =
            if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        format!("{}{rest}", first.join(", "))
    };
    if results.cut_short {
        return "ended at the first failure: such a run certifies nothing".to_owned();
    }
    if results.partial {
        return "a run of some cases certifies nothing".to_owned();
    }
    match exit {
        Exit::Certified => {
            format!("certified for {passed} of {all} MUST requirements of revision {revision}")
        }
        Exit::Failed => {
            let ids = named(&[Some(Verdict::Fail), Some(Verdict::Unsupported)]);
            format!("not certified: it does not meet {ids} of revision {revision}")
        }
        Exit::Harness | Exit::Usage => {
            let ids = named(&[Some(Verdict::HarnessError)]);
            format!("not certified: the suite itself failed on {ids}")
        }
        Exit::Inconclusive if passed == 0 => {
            format!("not certified: no MUST requirement of revision {revision} is shown to hold")
        }
        Exit::Inconclusive => {
            let ids = named(&[Some(Verdict::Inconclusive)]);
            format!("not certified: {passed} of {all} MUST requirements hold; not shown: {ids}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_names_every_field() {
        let schema = Report::json_schema();
        for field in ["schema", "summary", "requirements", "cases", "digests", "seed"] {
            assert!(schema.pointer(&format!("/properties/{field}")).is_some(), "{field}");
        }
    }
}
