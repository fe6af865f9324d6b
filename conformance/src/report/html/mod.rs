//! The report as one page that needs no network: a picture of the layers, filters, evidence that
//! unfolds, and the kill matrix. Evidence is hostile: every value goes through the template's
//! escaping, and the page's policy runs no script but its own.

mod plot;
mod tables;
mod wall;

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::advice;
use super::json::{Report, word};
use super::terminal::{safe, title};
use crate::oracle::matrix::KillMatrix;
use crate::run::RequirementResult;
use crate::spec::{Layer, Level};
use crate::verdict::{CaseResult, Exit, Leg};

pub use tables::{Table, tables};

pub(super) const CSS: &str = include_str!("../../../templates/page.css");
pub(super) const JS: &str = include_str!("../../../templates/page.js");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: String,
    policy: String,
    css: &'a str,
    js: &'a str,
    suite: &'a str,
    reports: Vec<Run>,
    layers: Vec<(String, &'static str)>,
    verdicts: BTreeSet<&'static str>,
    systems: BTreeSet<String>,
    plot: String,
    kills: Vec<(String, String, String)>,
}

struct Run {
    os: String,
    target: String,
    class: &'static str,
    sentence: String,
    baseline: Option<String>,
    next: String,
    facts: Vec<(&'static str, String)>,
    wall: String,
    counts: Vec<(&'static str, &'static str, usize)>,
    layers: Vec<LayerPart>,
    cases: Vec<Case>,
}

struct LayerPart {
    id: String,
    name: &'static str,
    rows: Vec<Row>,
}

struct Row {
    anchor: String,
    id: String,
    verdict: &'static str,
    mark: &'static str,
    should: bool,
    sentence: String,
    reason: String,
    passed: usize,
    cases: usize,
    links: Vec<(String, String, &'static str)>,
}

struct Case {
    anchor: String,
    id: String,
    verdict: &'static str,
    mark: &'static str,
    surface: String,
    requirements: String,
    layers: String,
    reason: String,
    known: Option<String>,
    next: String,
    legs: String,
    again: String,
    evidence: Vec<String>,
}

/// The page of one report, or of several of one target on different systems. `again` is the command
/// line that plays a case, up to `--case`.
///
/// # Errors
/// What the template says.
pub fn render(reports: &[Report], matrix: &KillMatrix, again: &str) -> Result<String, String> {
    let first = reports.first().ok_or_else(|| "there is no report".to_owned())?;
    let runs: Vec<Run> =
        reports.iter().enumerate().map(|(number, report)| run(number, report, again)).collect();
    let rows = reports.iter().flat_map(|report| &report.requirements);
    let layers: BTreeSet<Layer> = rows.clone().map(|row| row.layer).collect();
    let cases = reports.iter().flat_map(|report| &report.cases);
    let page = Page {
        title: safe(&first.target.name),
        policy: policy(),
        css: CSS,
        js: JS,
        suite: &first.suite,
        layers: layers.into_iter().map(|layer| (slug(layer), title(layer))).collect(),
        verdicts: rows
            .map(|row| word(row.verdict))
            .chain(cases.map(|case| word(Some(case.verdict))))
            .collect(),
        systems: runs.iter().map(|run| run.os.clone()).collect(),
        reports: runs,
        plot: plot::svg(matrix),
        kills: kills(matrix),
    };
    page.render().map_err(|error| error.to_string())
}

#[derive(Template)]
#[template(path = "matrix.html")]
struct MatrixPage<'a> {
    policy: String,
    css: &'a str,
    plot: String,
    kills: Vec<(String, String, String)>,
}

/// The kill matrix as a page of its own.
///
/// # Errors
/// What the template says.
pub fn matrix(matrix: &KillMatrix) -> Result<String, String> {
    let page =
        MatrixPage { policy: policy(), css: CSS, plot: plot::svg(matrix), kills: kills(matrix) };
    page.render().map_err(|error| error.to_string())
}

fn kills(matrix: &KillMatrix) -> Vec<(String, String, String)> {
    let rows = matrix.kills.iter();
    rows.map(|(id, kills)| (id.clone(), kills.requirements.join(", "), kills.cases.join(", ")))
        .collect()
}

/// The policy of a page: nothing is loaded, and no style or script counts but our own.
pub(super) fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        hash(CSS),
        hash(JS)
    )
}

fn run(number: usize, report: &Report, again: &str) -> Run {
    let layer_of: BTreeMap<&str, Layer> =
        report.requirements.iter().map(|row| (row.id.as_str(), row.layer)).collect();
    let layers: BTreeSet<Layer> = layer_of.values().copied().collect();
    let of = |layer: Layer| report.requirements.iter().filter(move |row| row.layer == layer);
    let mut counts = BTreeMap::new();
    for row in &report.requirements {
        *counts.entry(word(row.verdict)).or_insert(0) += 1;
    }
    Run {
        os: system(report),
        target: safe(&report.target.name),
        class: match report.summary.exit {
            code if code == Exit::Certified as u8 && !report.partial => "certified",
            code if code == Exit::Failed as u8 => "failed",
            _ => "open",
        },
        sentence: safe(&report.summary.sentence),
        baseline: report.baseline.as_ref().map(|judged| safe(&judged.sentence)),
        next: safe(&advice::after(report)),
        facts: facts(report),
        wall: wall::svg(number, report),
        counts: counts
            .into_iter()
            .map(|(verdict, count)| (verdict, mark(verdict), count))
            .collect(),
        layers: layers
            .into_iter()
            .map(|layer| LayerPart {
                id: slug(layer),
                name: title(layer),
                rows: of(layer).map(|it| row(number, report, it)).collect(),
            })
            .collect(),
        cases: report.cases.iter().map(|it| case(number, report, it, &layer_of, again)).collect(),
    }
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let environment = &report.environment;
    let mut facts = vec![
        ("Revision", report.revision.clone()),
        ("Profiles", report.profiles.join(", ")),
        ("MUST", format!("{} of {}", report.summary.musts_passed, report.summary.musts)),
        ("Cases", report.cases.len().to_string()),
        ("Program", report.target.program.clone()),
        ("Manifest", report.target.manifest.clone()),
        ("Kernel", environment.kernel.clone()),
        ("Order", format!("seed {}", report.seed)),
        ("When", format!("{}, {:.1} s", report.time, report.milliseconds as f64 / 1000.0)),
    ];
    let tools = environment.programs.iter();
    let tools: Vec<String> = tools.map(|(name, it)| format!("{name}: {}", it.version)).collect();
    facts.push(("Host", tools.join("; ")));
    if !environment.network.is_empty() {
        facts.push(("Network", environment.network.clone()));
    }
    if !report.left_out.is_empty() {
        facts.push(("Left out", report.left_out.join(", ")));
    }
    if let Some(id) = &report.knockout {
        facts.push(("Knocked out", id.clone()));
    }
    facts.retain(|(_, value)| !value.is_empty());
    facts.into_iter().map(|(name, value)| (name, safe(&value))).collect()
}

fn row(number: usize, report: &Report, row: &RequirementResult) -> Row {
    let verdict = word(row.verdict);
    let cases = report.cases.iter().filter(|case| case.requirements.contains(&row.id));
    Row {
        anchor: anchor(number, &row.id),
        id: row.id.clone(),
        verdict,
        mark: mark(verdict),
        should: row.level == Level::Should,
        sentence: row.sentence.clone(),
        reason: safe(&row.reason),
        passed: row.passed,
        cases: row.cases,
        links: cases
            .map(|case| (anchor(number, &case.case), case.case.clone(), word(Some(case.verdict))))
            .collect(),
    }
}

fn case(
    number: usize,
    report: &Report,
    case: &CaseResult,
    layer_of: &BTreeMap<&str, Layer>,
    again: &str,
) -> Case {
    let verdict = word(Some(case.verdict));
    let layers: BTreeSet<String> = case
        .requirements
        .iter()
        .filter_map(|id| layer_of.get(id.as_str()))
        .map(|layer| slug(*layer))
        .collect();
    let known = report.baseline.as_ref().and_then(|judged| judged.known.get(&case.case));
    Case {
        anchor: anchor(number, &case.case),
        id: safe(&case.case),
        verdict,
        mark: mark(verdict),
        surface: safe(&case.surface),
        requirements: case.requirements.join(" "),
        layers: layers.into_iter().collect::<Vec<_>>().join(" "),
        reason: safe(&case.reason),
        known: known.map(|words| safe(words)),
        next: advice::about(case),
        legs: legs(case),
        again: format!("{again} --case {}", safe(&case.case)),
        evidence: case.evidence.iter().map(|line| safe(line)).collect(),
    }
}

fn legs(case: &CaseResult) -> String {
    let Some(legs) = case.legs else { return String::new() };
    let of = |name: &str, leg: Leg| match leg {
        Leg::Stood => format!("{name} stood"),
        Leg::Fell => format!("{name} fell"),
        Leg::Missing => format!("{name} missing"),
    };
    [
        of("reached", legs.reached),
        of("twin", legs.twin),
        of("no effect", legs.no_effect),
        of("control", legs.control),
    ]
    .join(", ")
}

/// The name of a system for the filter.
fn system(report: &Report) -> String {
    let os = &report.environment.os;
    if os.is_empty() { "unknown".to_owned() } else { safe(os) }
}

/// An anchor that only this page's own letters make.
fn anchor(number: usize, id: &str) -> String {
    let plain = |it: char| if it.is_ascii_alphanumeric() || "-.".contains(it) { it } else { '_' };
    format!("r{number}-{}", id.chars().map(plain).collect::<String>())
}

/// The layer as the filter names it.
pub(super) fn slug(layer: Layer) -> String {
    format!("{layer:?}").to_lowercase()
}

/// A sign for each verdict, so that nothing is told by colour alone.
pub(super) fn mark(verdict: &str) -> &'static str {
    match verdict {
        "pass" => "\u{2713}",
        "fail" => "\u{2717}",
        "inconclusive" => "?",
        "unsupported" => "!",
        "harness-error" => "E",
        "not-applicable" => "\u{2013}",
        _ => "\u{b7}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{case, report};
    use crate::verdict::Verdict;

    fn page(report: &Report) -> String {
        render(std::slice::from_ref(report), &KillMatrix::shipped().unwrap(), "clawproof run")
            .unwrap()
    }

    #[test]
    fn nothing_of_a_target_can_become_markup() {
        let evil = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&";
        let mut hostile = report();
        let mut bad = case(evil, "input.utf8", Verdict::Fail);
        bad.evidence = vec![evil.to_owned()];
        bad.reason = evil.to_owned();
        bad.surface = evil.to_owned();
        hostile.cases.push(bad);
        hostile.target.name = evil.to_owned();
        hostile.requirements[0].reason = evil.to_owned();
        hostile.summary.sentence = evil.to_owned();
        hostile.environment.os = evil.to_owned();
        hostile.baseline = Some(crate::report::judgement::Judgement {
            sentence: evil.to_owned(),
            ..Default::default()
        });
        let html = page(&hostile);
        assert_eq!(html.matches("<script").count(), 1, "one script, the page's own");
        assert!(!html.contains("<img"));
    }

    #[test]
    fn the_page_loads_nothing_and_its_policy_names_its_own_script() {
        let html = page(&report());
        for word in ["http://", "https://", "url(", "@import", " src=", "style=\""] {
            let found = html.replace("http://www.w3.org/2000/svg", "").contains(word);
            assert!(!found, "{word}");
        }
        assert!(
            html.contains("default-src &#39;none&#39;") || html.contains("default-src &#x27;none")
        );
    }
}
