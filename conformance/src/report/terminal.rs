//! The report for a person at a terminal: by layer, failures with their evidence and the command
//! that plays them again. Evidence is hostile: nothing of it reaches the terminal unescaped.

use std::fmt::Write as _;

use crate::run::RequirementResult;
use crate::spec::{Layer, Level};
use crate::verdict::{CaseResult, Verdict};

use super::advice;
use super::json::{Report, word};

/// How the report is written.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// With ANSI colours.
    pub colour: bool,
    /// The command line up to `--case`, for the hints.
    pub again: String,
    /// Evidence of every case, not of failures alone.
    pub evidence: bool,
}

/// The most failures that are written with their evidence.
const FAILURES_SHOWN: usize = 25;

/// The whole report.
#[must_use]
pub fn render(report: &Report, style: &Style) -> String {
    let mut out = String::new();
    head(report, &mut out);
    requirements(report, style, &mut out);
    cases(report, style, &mut out);
    foot(report, style, &mut out);
    out
}

fn head(report: &Report, out: &mut String) {
    let program = report.target.program.get(..12).unwrap_or("no program");
    let _ = writeln!(
        out,
        "\nClawProof {} · requirements {} · corpus {}\ntarget {} ({program}) · profiles {} · seed {}",
        report.suite,
        report.revision,
        report.corpus,
        safe(&report.target.name),
        report.profiles.join(", "),
        report.seed,
    );
    if let Some(knockout) = &report.knockout {
        let _ = writeln!(out, "knocked out: {}", safe(knockout));
    }
}

fn requirements(report: &Report, style: &Style, out: &mut String) {
    let mut layer: Option<Layer> = None;
    let width = report
        .requirements
        .iter()
        .filter(|row| !row.not_run())
        .map(|row| row.id.len())
        .max()
        .unwrap_or(0);
    for row in report.requirements.iter().filter(|row| !row.not_run()) {
        if layer != Some(row.layer) {
            layer = Some(row.layer);
            let _ = writeln!(out, "\n{}", title(row.layer));
        }
        let _ = writeln!(out, "  {} {:width$}  {}", mark(row.verdict, style), row.id, tail(row));
    }
    let not_run = report.requirements.iter().filter(|row| row.not_run()).count();
    if not_run > 0 {
        let _ = writeln!(out, "\nnot run: {not_run} requirements are probes of other systems");
    }
}

fn tail(row: &RequirementResult) -> String {
    let should = if row.level == Level::Should { "(should) " } else { "" };
    match row.verdict {
        Some(Verdict::Pass) => format!("{should}{} of {} cases held", row.passed, row.cases),
        _ => format!("{should}{}", safe(&row.reason)),
    }
}

/// The name of a layer for people.
#[must_use]
pub fn title(layer: Layer) -> &'static str {
    match layer {
        Layer::Input => "Layer 1: input",
        Layer::Registry => "Layer 2: registration by capability",
        Layer::Sandbox => "Layer 3: sandbox",
        Layer::Credentials => "Layer 4: credentials",
        Layer::Errors => "Layer 5: errors and audit",
        Layer::Gateway => "Gateway",
        Layer::Plugins => "Plugins",
        Layer::Hygiene => "Hygiene",
        Layer::Independence => "Independence",
    }
}

fn mark(verdict: Option<Verdict>, style: &Style) -> String {
    let colour = match verdict {
        Some(Verdict::Pass) => "32",
        Some(Verdict::Fail | Verdict::Unsupported) => "31",
        Some(Verdict::HarnessError) => "35",
        Some(Verdict::Inconclusive) => "33",
        Some(Verdict::NotApplicable) | None => "2",
    };
    let word = format!("{:14}", word(verdict));
    if style.colour { format!("\u{1b}[{colour}m{word}\u{1b}[0m") } else { word }
}

fn cases(report: &Report, style: &Style, out: &mut String) {
    let bad = |case: &&CaseResult| {
        style.evidence || matches!(case.verdict, Verdict::Fail | Verdict::HarnessError)
    };
    let shown: Vec<&CaseResult> = report.cases.iter().filter(bad).collect();
    if shown.is_empty() {
        return;
    }
    let limit = if style.evidence { usize::MAX } else { FAILURES_SHOWN };
    for case in shown.iter().take(limit) {
        let _ = writeln!(
            out,
            "\n{} {} on {} ({})\n  {}",
            mark(Some(case.verdict), style),
            safe(&case.case),
            safe(&case.surface),
            case.requirements.join(", "),
            safe(&case.reason),
        );
        for sentence in asked(report, case) {
            let _ = writeln!(out, "  asked: {sentence}");
        }
        for line in &case.evidence {
            let _ = writeln!(out, "    {}", safe(line));
        }
        let advice = advice::about(case);
        if !advice.is_empty() {
            let _ = writeln!(out, "  next: {}", safe(&advice));
        }
        let known = report.baseline.as_ref().and_then(|judged| judged.known.get(&case.case));
        if let Some(words) = known {
            let _ = writeln!(out, "  known failure: {}", safe(words));
        }
        let _ = writeln!(out, "  again: {} --case {}", style.again, safe(&case.case));
    }
    if shown.len() > limit {
        let _ = writeln!(out, "\n... and {} more; --json FILE has them all", shown.len() - limit);
    }
}

/// What the requirements of a case ask for.
fn asked<'a>(report: &'a Report, case: &'a CaseResult) -> impl Iterator<Item = &'a str> {
    let rows = report.requirements.iter().filter(|row| case.requirements.contains(&row.id));
    rows.map(|row| row.sentence.as_str()).filter(|sentence| !sentence.is_empty())
}

fn foot(report: &Report, style: &Style, out: &mut String) {
    let list = |counts: &std::collections::BTreeMap<String, usize>| {
        let order = [
            "pass",
            "fail",
            "inconclusive",
            "unsupported",
            "not-applicable",
            "not-run",
            "harness-error",
            "uncovered",
        ];
        let parts = order.iter().filter_map(|name| Some(format!("{} {name}", counts.get(*name)?)));
        parts.collect::<Vec<_>>().join(", ")
    };
    let seconds = report.milliseconds / 1000;
    let tenth = report.milliseconds % 1000 / 100;
    let _ = writeln!(
        out,
        "\ncases: {}\nrequirements: {}\ntime: {seconds}.{tenth} s",
        list(&report.summary.cases),
        list(&report.summary.requirements),
    );
    if !report.left_out.is_empty() {
        let _ = writeln!(out, "left out without --slow: {}", report.left_out.join(", "));
    }
    if let Some(judged) = &report.baseline {
        let _ = writeln!(out, "baseline: {}", safe(&judged.sentence));
    }
    let _ = writeln!(out, "next: {}", safe(&advice::after(report)));
    let colour = if report.summary.exit == 0 { "1;32" } else { "1;31" };
    let sentence = safe(&report.summary.sentence);
    let _ = if style.colour {
        writeln!(out, "\u{1b}[{colour}m{sentence}\u{1b}[0m")
    } else {
        writeln!(out, "{sentence}")
    };
}

/// Text with everything escaped that a terminal could take for an instruction.
#[must_use]
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let hidden = character.is_control()
            || matches!(
                character,
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
                | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
            );
        if hidden {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_reaches_the_terminal() {
        assert_eq!(safe("a\u{1b}[2Jb\u{202e}\n"), "a\\u{1b}[2Jb\\u{202e}\\u{a}");
        assert_eq!(safe("plain é 漢"), "plain é 漢");
    }
}
