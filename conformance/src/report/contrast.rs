//! What holds at one target and falls at another, each with the command line that shows it again:
//! the sign that a case tells the two apart. It must never rank.

use std::fmt::Write as _;

use serde::Serialize;

use super::json::Report;
use super::terminal::safe;
use crate::run::RequirementResult;
use crate::verdict::{CaseResult, Leg, Verdict};

/// A requirement that holds at one target at least and falls at one at least.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contrast {
    /// The requirement's id.
    pub requirement: String,
    /// What it asks for.
    pub sentence: String,
    /// Where it passed.
    pub holds: Vec<Shown>,
    /// Where a sensor saw the effect of a case; a benign twin that was blocked is no fall.
    pub falls: Vec<Shown>,
}

/// One target, and how it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The target, as the comparison calls it.
    pub target: String,
    /// The first case of the requirement that came to this.
    pub case: String,
    /// The command line that plays it again.
    pub again: String,
}

/// How a command line is made that plays a case again: `{target}`, `{seed}` and `{case}` stand for
/// their values.
#[derive(Clone, Copy, Debug)]
pub struct Again<'a>(pub &'a str);

impl Default for Again<'_> {
    fn default() -> Self {
        Self("clawproof run --target {target} --seed {seed} --case {case}")
    }
}

impl Again<'_> {
    fn line(self, report: &Report, case: &str) -> String {
        let values = [
            ("{target}", word(&report.target.name)),
            ("{seed}", report.seed.to_string()),
            ("{case}", word(case)),
        ];
        values.iter().fold(self.0.to_owned(), |line, (name, value)| line.replace(name, value))
    }
}

/// A value as one word of a command line that people copy.
fn word(value: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_.:@/".contains(it);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", safe(value).replace('\'', r"'\''"))
}

/// The contrasts among reports that the comparison calls by `names`; `rows` are its requirements,
/// with what each report has for them.
pub(super) fn of(
    reports: &[Report],
    names: &[String],
    rows: &[(&RequirementResult, Vec<Option<&RequirementResult>>)],
    again: Again<'_>,
) -> Vec<Contrast> {
    let contrast = |(row, cells): &(&RequirementResult, Vec<Option<&RequirementResult>>)| {
        let shown = |wanted: fn(&RequirementResult, &CaseResult) -> bool| -> Vec<Shown> {
            reports
                .iter()
                .zip(names)
                .zip(cells)
                .filter_map(|((report, name), cell)| {
                    let cell = (*cell)?;
                    let of_row = |case: &&CaseResult| case.requirements.contains(&row.id);
                    let case =
                        report.cases.iter().filter(of_row).find(|case| wanted(cell, case))?;
                    let again = again.line(report, &case.case);
                    Some(Shown { target: name.clone(), case: case.case.clone(), again })
                })
                .collect()
        };
        let holds =
            shown(|row, case| row.verdict == Some(Verdict::Pass) && case.verdict == Verdict::Pass);
        let falls = shown(|row, case| {
            row.verdict == Some(Verdict::Fail)
                && case.legs.is_some_and(|legs| legs.no_effect == Leg::Fell)
        });
        let both = !holds.is_empty() && !falls.is_empty();
        both.then(|| Contrast {
            requirement: row.id.clone(),
            sentence: row.sentence.clone(),
            holds,
            falls,
        })
    };
    rows.iter().filter_map(contrast).collect()
}

/// The contrasts for a terminal: who, and a command line for each side.
pub(super) fn terminal(contrasts: &[Contrast]) -> String {
    let mut out = String::new();
    if contrasts.is_empty() {
        return out;
    }
    let _ = writeln!(out, "\nholds at one target and falls at another:");
    for contrast in contrasts {
        let _ = writeln!(out, "  {}", safe(&contrast.requirement));
        for (word, side) in [("holds", &contrast.holds), ("falls", &contrast.falls)] {
            let names: Vec<&str> = side.iter().map(|it| it.target.as_str()).collect();
            let _ = writeln!(out, "    {word}: {}", names.join(", "));
            for first in side.iter().take(1) {
                let _ = writeln!(out, "      {}", safe(&first.again));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::compare;
    use crate::report::sample::{case, report};

    fn fallen() -> Report {
        let mut other = report();
        other.target.name = "other".to_owned();
        other.seed = 7;
        other.requirements[0].verdict = Some(Verdict::Fail);
        other.cases = vec![case("UC-001.001", "input.utf8", Verdict::Fail)];
        other
    }

    #[test]
    fn what_holds_here_and_falls_there_is_shown_with_a_command_for_each() {
        let again = Again("do {target} -- --seed {seed} --case {case}");
        let found = compare::contrasts(&[report(), fallen()], again);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].requirement, "input.utf8");
        assert_eq!(found[0].holds[0].again, "do reference -- --seed 1 --case UC-001.001");
        assert_eq!(found[0].falls[0].again, "do other -- --seed 7 --case UC-001.001");
        let text = terminal(&found);
        assert!(text.contains("holds: reference") && text.contains("falls: other"), "{text}");
    }

    #[test]
    fn a_name_is_one_word_of_the_command() {
        assert_eq!(word("probe:fs.tmp"), "probe:fs.tmp");
        assert_eq!(word("a; rm 'b'"), r"'a; rm '\''b'\'''");
    }

    #[test]
    fn a_twin_that_was_blocked_is_no_fall() {
        let mut other = fallen();
        let legs = other.cases[0].legs.as_mut().unwrap();
        (legs.no_effect, legs.twin) = (Leg::Stood, Leg::Fell);
        assert_eq!(compare::contrasts(&[report(), other], Again::default()), Vec::new());
    }

    #[test]
    fn two_that_hold_make_no_contrast() {
        assert_eq!(compare::contrasts(&[report(), report()], Again::default()), Vec::new());
    }
}
