//! From the verdicts of cases to those of requirements. Pure, so that a run and parts of a run that
//! are joined are judged alike; it must never look at anything but the cases.

use std::collections::{BTreeMap, BTreeSet};

use crate::corpus::Kind;
use crate::spec::{Spec, System};
use crate::target::manifest::declared_unsupported;
use crate::verdict::{CaseResult, Verdict};

use super::{NOT_RUN, RequirementResult};

/// What requirements are judged by, besides the cases.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// The catalogue.
    pub spec: &'a Spec,
    /// The ids that the profiles require.
    pub required: &'a BTreeSet<String>,
    /// What the manifest says that the target does not do: id or head = reason.
    pub unsupported: &'a BTreeMap<String, String>,
    /// Whether requirements without a case are left out.
    pub partial: bool,
}

/// The verdict of each requirement of the profiles.
#[must_use]
pub fn requirements(judged: &Judged<'_>, cases: &[CaseResult]) -> Vec<RequirementResult> {
    let rows = judged.spec.requirements.iter().filter(|row| judged.required.contains(&row.id));
    rows.filter_map(|row| {
        let of_row: Vec<&CaseResult> =
            cases.iter().filter(|case| case.requirements.contains(&row.id)).collect();
        if of_row.is_empty() && judged.partial {
            return None;
        }
        let elsewhere = row.system().filter(|system| *system != System::current());
        let (verdict, reason) = match declared_unsupported(judged.unsupported, &row.id) {
            _ if elsewhere.is_some() && of_row.is_empty() => {
                (Some(Verdict::NotApplicable), not_run(elsewhere))
            }
            Some(reason) => (Some(Verdict::Unsupported), reason.to_owned()),
            // What must not be blocked is shown by benign input itself.
            None if row.id.ends_with(".no-overblock") => requirement(&of_row, |_| false),
            None => requirement(&of_row, benign),
        };
        let passed = of_row.iter().filter(|case| case.verdict == Verdict::Pass).count();
        Some(RequirementResult {
            id: row.id.clone(),
            layer: row.layer,
            level: row.level,
            sentence: row.sentence.clone(),
            verdict,
            reason,
            cases: of_row.len(),
            passed,
        })
    })
    .collect()
}

fn not_run(system: Option<System>) -> String {
    let theirs = system.map_or("", System::name);
    format!("{NOT_RUN}a probe of {theirs}, and this is {}", System::current().name())
}

fn benign(case: &CaseResult) -> bool {
    case.kind == Some(Kind::Benign)
}

/// Any failure fails; an error of the suite is one; then a single conclusive pass is enough. Where
/// attacks witness the requirement, it must be one of theirs: twins alone show no defence. Where no
/// attack on it has a meaning here, neither has the requirement.
fn requirement(
    cases: &[&CaseResult],
    benign: impl Fn(&CaseResult) -> bool,
) -> (Option<Verdict>, String) {
    let order = [
        Verdict::Fail,
        Verdict::HarnessError,
        Verdict::Pass,
        Verdict::Inconclusive,
        Verdict::Unsupported,
        Verdict::NotApplicable,
    ];
    let counts = |case: &CaseResult| case.verdict != Verdict::NotApplicable && !benign(case);
    let attacked = cases.iter().any(|case| counts(case));
    let elsewhere = !attacked && cases.iter().any(|case| !benign(case));
    for verdict in order {
        let found = cases.iter().find(|case| {
            let shows = !elsewhere && (!attacked || counts(case));
            case.verdict == verdict && (verdict != Verdict::Pass || shows)
        });
        if let Some(case) = found {
            let reason = match verdict {
                Verdict::Pass => "every conclusive case held".to_owned(),
                _ => format!("{}: {}", case.case, case.reason),
            };
            return (Some(verdict), reason);
        }
    }
    let none = "no case of this suite witnesses it";
    (None, none.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(verdict: Verdict) -> CaseResult {
        CaseResult {
            case: "X".into(),
            requirements: Vec::new(),
            surface: String::new(),
            kind: None,
            stopped: false,
            harmless: false,
            verdict,
            legs: None,
            reason: String::new(),
            evidence: Vec::new(),
            milliseconds: 0,
        }
    }

    #[test]
    fn a_requirement_is_as_good_as_its_worst_conclusive_case() {
        use Verdict::{Fail, HarnessError, Inconclusive, NotApplicable, Pass, Unsupported};
        let of = |verdicts: &[Verdict]| {
            let cases: Vec<CaseResult> = verdicts.iter().map(|it| case(*it)).collect();
            requirement(&cases.iter().collect::<Vec<_>>(), |_| false).0
        };
        assert_eq!(of(&[Pass, Fail]), Some(Fail));
        assert_eq!(of(&[Pass, HarnessError]), Some(HarnessError));
        assert_eq!(of(&[Inconclusive, Pass]), Some(Pass));
        assert_eq!(of(&[Inconclusive, NotApplicable]), Some(Inconclusive));
        assert_eq!(of(&[NotApplicable, Unsupported]), Some(Unsupported));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn twins_alone_show_no_defence() {
        let mut twin = case(Verdict::Pass);
        twin.case = "twin".into();
        let attack = |verdict| case(verdict);
        let of = |cases: &[&CaseResult]| requirement(cases, |case| case.case == "twin").0;
        assert_eq!(of(&[&twin, &attack(Verdict::Inconclusive)]), Some(Verdict::Inconclusive));
        assert_eq!(of(&[&twin, &attack(Verdict::Pass)]), Some(Verdict::Pass));
        assert_eq!(of(&[&twin]), Some(Verdict::Pass));
        let elsewhere = attack(Verdict::NotApplicable);
        assert_eq!(of(&[&twin, &elsewhere]), Some(Verdict::NotApplicable));
        assert_eq!(of(&[&twin, &elsewhere, &attack(Verdict::Fail)]), Some(Verdict::Fail));
    }
}
