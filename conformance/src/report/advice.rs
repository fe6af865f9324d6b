//! What to do next, in one sentence: about a case by its legs, about a run by how it ended. It must
//! never depend on what a target wrote.

use super::json::Report;
use crate::corpus::Kind;
use crate::verdict::{CaseResult, Exit, Leg, Verdict};

/// What to do about a case; empty where there is nothing to do.
#[must_use]
pub fn about(case: &CaseResult) -> String {
    let surface = &case.surface;
    match case.verdict {
        Verdict::Pass | Verdict::NotApplicable => String::new(),
        Verdict::HarnessError => {
            "nothing about the target is known: mend what the reason names, then play it again"
                .to_owned()
        }
        Verdict::Unsupported => {
            "tell the manifest how this is reached, or do not claim a profile that requires it"
                .to_owned()
        }
        Verdict::Inconclusive => inconclusive(case),
        Verdict::Fail => match case.legs {
            _ if case.kind == Some(Kind::Benign) => {
                format!("let this benign input through at {surface}: the defence takes too much")
            }
            Some(legs) if legs.no_effect == Leg::Fell => {
                format!(
                    "find where {surface} enters and stop this there; the evidence is what got through"
                )
            }
            Some(legs) if legs.twin == Leg::Fell => {
                format!(
                    "let the benign twin at {surface} work: a defence that stops it too is no defence"
                )
            }
            _ => "keep the target running and answering through this case".to_owned(),
        },
    }
}

fn inconclusive(case: &CaseResult) -> String {
    let Some(legs) = case.legs else {
        return "a sensor or a control is missing here: the reason names it".to_owned();
    };
    let advice = if legs.reached != Leg::Stood {
        "make sure that it arrives: look at the call or tool in the manifest"
    } else if legs.twin != Leg::Stood {
        "make its benign twin work first"
    } else if legs.no_effect == Leg::Missing {
        "make the target answer in time, so that its effect can be judged"
    } else {
        "nothing to mend in the target: no build with a missing defence was seen to fall to this yet"
    };
    advice.to_owned()
}

/// What to do after a run.
#[must_use]
pub fn after(report: &Report) -> String {
    let first = |wanted: Verdict| {
        report.cases.iter().find(|case| case.verdict == wanted).map(|case| case.case.clone())
    };
    if report.part.is_some() {
        return "join it with the other parts: clawproof merge A.json B.json ...".to_owned();
    }
    let exit = report.summary.exit;
    if exit == Exit::Certified as u8 && !report.partial {
        return "sign it: run with --certificate and --signing-key".to_owned();
    }
    if let Some(case) = first(Verdict::Fail) {
        return format!(
            "mend the failures, first {case}; each is shown with the line that plays it again"
        );
    }
    if let Some(case) = first(Verdict::HarnessError) {
        return format!("this machine keeps the suite from its work: see {case}");
    }
    if let Some(case) = first(Verdict::Unsupported) {
        return format!("{case} cannot be delivered: see what the manifest lacks");
    }
    if let Some(case) = first(Verdict::Inconclusive).filter(|_| exit != Exit::Certified as u8) {
        return format!("see why {case} shows nothing: --case {case}");
    }
    "run it without --case: a run of named cases certifies nothing".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{case, report};

    #[test]
    fn every_verdict_but_a_pass_says_what_to_do() {
        for verdict in
            [Verdict::Fail, Verdict::Inconclusive, Verdict::Unsupported, Verdict::HarnessError]
        {
            assert!(!about(&case("A", "x.y", verdict)).is_empty(), "{verdict:?}");
        }
        assert!(about(&case("A", "x.y", Verdict::Pass)).is_empty());
    }

    #[test]
    fn a_failed_run_names_its_first_failure() {
        let mut failed = report();
        failed.summary.exit = 1;
        failed.cases.push(case("PT-001.001", "path.traversal", Verdict::Fail));
        assert!(after(&failed).contains("PT-001.001"));
        assert!(after(&report()).starts_with("sign it"));
    }
}
