//! A small report for the tests of this room. It must never be part of a build that ships.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::json::{Environment, Made, Report, SCHEMA, Summary, TargetFacts};
use crate::run::RequirementResult;
use crate::spec::{Layer, Level};
use crate::verdict::{CaseResult, Leg, Legs, Verdict};

/// One requirement that passed with one case, one that is uncovered.
pub(crate) fn report() -> Report {
    let row = |id: &str, verdict| RequirementResult {
        id: id.to_owned(),
        layer: Layer::Input,
        level: Level::Must,
        sentence: "What it asks for.".to_owned(),
        verdict,
        reason: String::new(),
        cases: 1,
        passed: 1,
    };
    Report {
        schema: SCHEMA.to_owned(),
        suite: "0.1.0".to_owned(),
        revision: "2026-11".to_owned(),
        corpus: "2026.1".to_owned(),
        target: TargetFacts {
            name: "reference".to_owned(),
            title: String::new(),
            program: hex::encode(Sha256::digest(b"program")),
            manifest: "m".to_owned(),
        },
        environment: Environment::default(),
        profiles: vec!["boundary".to_owned()],
        seed: 1,
        knockout: None,
        partial: false,
        left_out: Vec::new(),
        part: None,
        cut_short: false,
        made: Made::default(),
        unsupported: BTreeMap::new(),
        baseline: None,
        time: "2026-11-24T00:00:00Z".to_owned(),
        milliseconds: 1,
        summary: Summary {
            exit: 0,
            sentence: "certified".to_owned(),
            musts_passed: 1,
            musts: 2,
            cases: BTreeMap::new(),
            requirements: BTreeMap::new(),
        },
        requirements: vec![row("input.utf8", Some(Verdict::Pass)), row("plugin.peer", None)],
        cases: vec![case("UC-001.001", "input.utf8", Verdict::Pass)],
        digests: BTreeMap::new(),
    }
}

/// One case of one requirement.
pub(crate) fn case(id: &str, requirement: &str, verdict: Verdict) -> CaseResult {
    let no_effect = if verdict == Verdict::Fail { Leg::Fell } else { Leg::Stood };
    let control = if verdict == Verdict::Inconclusive { Leg::Missing } else { Leg::Stood };
    CaseResult {
        case: id.to_owned(),
        requirements: vec![requirement.to_owned()],
        surface: "message.text".to_owned(),
        kind: None,
        stopped: false,
        harmless: false,
        verdict,
        legs: Some(Legs { reached: Leg::Stood, twin: Leg::Stood, no_effect, control }),
        reason: "why".to_owned(),
        evidence: vec!["what was seen".to_owned()],
        milliseconds: 1,
    }
}
