//! Several reports side by side, in the terminal and as a page. It must never rank: it shows what
//! each run has shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use askama::Template;

use super::contrast::{self, Again, Contrast};
use super::html::{CSS, JS, mark, policy, slug};
use super::json::{Report, word};
use super::terminal::{safe, title};
use crate::run::RequirementResult;
use crate::spec::{Layer, Level};
use crate::verdict::Verdict;

/// The name and version of the comparison's JSON.
pub const SCHEMA: &str = "clawproof.comparison/1";

/// What stands where a report does not ask for a requirement.
const NOT_ASKED: &str = "not-asked";

#[derive(Template)]
#[template(path = "compare.html")]
struct Page {
    policy: String,
    css: &'static str,
    js: &'static str,
    notes: Vec<String>,
    columns: Vec<Column>,
    layers: Vec<(String, &'static str)>,
    verdicts: BTreeSet<&'static str>,
    rows: Vec<Row>,
    contrasts: Vec<Contrast>,
}

struct Column {
    name: String,
    sentence: String,
    musts: String,
    place: String,
    time: String,
}

struct Row {
    id: String,
    layer: String,
    should: bool,
    sentence: String,
    verdicts: String,
    differs: bool,
    cells: Vec<Cell>,
}

struct Cell {
    verdict: &'static str,
    mark: &'static str,
    reason: String,
}

/// What makes a comparison less than exact, each as one sentence.
fn notes(reports: &[Report]) -> Vec<String> {
    let distinct = |of: fn(&Report) -> String| reports.iter().map(of).collect::<BTreeSet<_>>();
    let mut notes = Vec::new();
    let mut say = |what: &str, values: BTreeSet<String>| {
        if values.len() > 1 {
            let list = values.into_iter().map(|value| safe(&value)).collect::<Vec<_>>().join("; ");
            notes.push(format!("These runs differ in their {what}: {list}"));
        }
    };
    say("revision", distinct(|it| it.revision.clone()));
    say("suite", distinct(|it| it.suite.clone()));
    say("corpus", distinct(|it| it.corpus.clone()));
    say("kill matrix", distinct(|it| it.made.matrix.chars().take(12).collect()));
    say("system", distinct(|it| format!("{} {}", it.environment.os, it.environment.kernel)));
    for report in reports.iter().filter(|report| report.partial) {
        notes.push(format!("{} ran in part only", safe(&report.target.name)));
    }
    notes
}

/// Names for the columns; two runs of one target get numbers.
fn names(reports: &[Report]) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    reports
        .iter()
        .map(|report| {
            let count = seen.entry(&report.target.name).or_insert(0);
            *count += 1;
            let name = safe(&report.target.name);
            if *count == 1 { name } else { format!("{name} ({count})") }
        })
        .collect()
}

/// Every requirement that any report asks for, by layer, with what each report has for it.
fn rows(reports: &[Report]) -> Vec<(&RequirementResult, Vec<Option<&RequirementResult>>)> {
    let mut all: BTreeMap<(Layer, &str), &RequirementResult> = BTreeMap::new();
    for row in reports.iter().flat_map(|report| &report.requirements) {
        all.entry((row.layer, row.id.as_str())).or_insert(row);
    }
    let of = |report: &'_ Report, id: &str| report.requirements.iter().position(|row| row.id == id);
    all.into_values()
        .map(|row| {
            let cells = reports
                .iter()
                .map(|report| report.requirements.get(of(report, &row.id)?))
                .collect::<Vec<_>>();
            (row, cells)
        })
        .collect()
}

fn cell(row: Option<&RequirementResult>) -> &'static str {
    row.map_or(NOT_ASKED, |row| word(row.verdict))
}

/// What holds at one of these targets and falls at another.
#[must_use]
pub fn contrasts(reports: &[Report], again: Again<'_>) -> Vec<Contrast> {
    contrast::of(reports, &names(reports), &rows(reports), again)
}

/// The comparison as JSON.
#[must_use]
pub fn json(reports: &[Report], again: Again<'_>) -> serde_json::Value {
    let names = names(reports);
    let targets: Vec<_> = names
        .iter()
        .zip(reports)
        .map(|(name, report)| {
            serde_json::json!({
                "name": name,
                "title": report.target.title,
                "time": report.time,
                "seed": report.seed,
                "environment": report.environment,
                "summary": report.summary,
            })
        })
        .collect();
    let requirements: Vec<_> = rows(reports)
        .iter()
        .map(|(row, cells)| {
            let verdicts: BTreeMap<&str, &str> =
                names.iter().map(String::as_str).zip(cells.iter().map(|it| cell(*it))).collect();
            serde_json::json!({ "id": row.id, "layer": row.layer, "verdicts": verdicts })
        })
        .collect();
    serde_json::json!({
        "schema": SCHEMA,
        "notes": notes(reports),
        "targets": targets,
        "requirements": requirements,
        "contrasts": contrasts(reports, again),
    })
}

/// The comparison for a terminal; `all` also shows what is the same everywhere.
#[must_use]
pub fn terminal(reports: &[Report], all: bool, again: Again<'_>) -> String {
    let names = names(reports);
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(14);
    let mut out = String::new();
    for note in notes(reports) {
        let _ = writeln!(out, "note: {note}");
    }
    let mut line = |head: &str, cells: Vec<String>| {
        let cells: String = cells.into_iter().map(|cell| format!("  {cell:width$}")).collect();
        let _ = writeln!(out, "{}", format!("{head:40}{cells}").trim_end());
    };
    line("", names);
    let musts = |it: &Report| format!("{}/{} MUST", it.summary.musts_passed, it.summary.musts);
    line("", reports.iter().map(musts).collect());
    let (mut same, mut layer) = (0, None);
    for (row, cells) in rows(reports) {
        let words: Vec<&str> = cells.iter().map(|it| cell(*it)).collect();
        if !all && words.iter().collect::<BTreeSet<_>>().len() < 2 {
            same += 1;
            continue;
        }
        if layer != Some(row.layer) {
            layer = Some(row.layer);
            line(title(row.layer), Vec::new());
        }
        line(&format!("  {}", row.id), words.into_iter().map(str::to_owned).collect());
    }
    if same > 0 {
        let _ =
            writeln!(out, "{same} requirements have the same verdict everywhere; --all lists them");
    }
    for (name, report) in self::names(reports).iter().zip(reports) {
        let _ = writeln!(out, "{name}: {}", safe(&report.summary.sentence));
    }
    out.push_str(&contrast::terminal(&contrasts(reports, again)));
    out
}

/// Where runs of one target came to other verdicts, each as one line: first of requirements, then of
/// cases. A case that one run has and another has not is a difference too.
///
/// # Errors
/// The reports are not of one target, or not of one set of requirements; in one sentence.
pub fn differences(reports: &[Report]) -> Result<Vec<String>, String> {
    let one = |what: &str, of: fn(&Report) -> &str| -> Result<(), String> {
        let values: BTreeSet<&str> = reports.iter().map(of).collect();
        let list = values.iter().map(|value| safe(value)).collect::<Vec<_>>().join("; ");
        if values.len() < 2 {
            Ok(())
        } else {
            Err(format!("these reports are of several {what}: {list}"))
        }
    };
    one("targets", |it| &it.target.name)?;
    one("programs", |it| &it.target.program)?;
    one("manifests", |it| &it.target.manifest)?;
    one("revisions", |it| &it.revision)?;
    let mut found = Vec::new();
    for (row, cells) in rows(reports) {
        let words: Vec<&str> = cells.iter().map(|it| cell(*it)).collect();
        differs(&mut found, "requirement", &row.id, &words);
    }
    let cases: Vec<BTreeMap<&str, Verdict>> = reports
        .iter()
        .map(|report| report.cases.iter().map(|it| (it.case.as_str(), it.verdict)).collect())
        .collect();
    let ids: BTreeSet<&str> = cases.iter().flat_map(BTreeMap::keys).copied().collect();
    for id in ids {
        let verdict =
            |run: &BTreeMap<&str, Verdict>| run.get(id).map_or("not-run", |it| word(Some(*it)));
        differs(&mut found, "case", id, &cases.iter().map(verdict).collect::<Vec<_>>());
    }
    Ok(found)
}

fn differs(found: &mut Vec<String>, what: &str, id: &str, words: &[&str]) {
    if words.iter().collect::<BTreeSet<_>>().len() > 1 {
        found.push(format!("{what} {}: {}", safe(id), words.join(", ")));
    }
}

/// The comparison as a page that needs no network.
///
/// # Errors
/// What the template says.
pub fn html(reports: &[Report], again: Again<'_>) -> Result<String, String> {
    let contrasts = contrasts(reports, again);
    let rows: Vec<Row> = rows(reports)
        .into_iter()
        .map(|(row, cells)| {
            let words: BTreeSet<&str> = cells.iter().map(|it| cell(*it)).collect();
            Row {
                id: row.id.clone(),
                layer: slug(row.layer),
                should: row.level == Level::Should,
                sentence: row.sentence.clone(),
                differs: words.len() > 1,
                verdicts: words.into_iter().collect::<Vec<_>>().join(" "),
                cells: cells
                    .into_iter()
                    .map(|it| Cell {
                        verdict: cell(it),
                        mark: mark(cell(it)),
                        reason: it.map(|row| safe(&row.reason)).unwrap_or_default(),
                    })
                    .collect(),
            }
        })
        .collect();
    let layers: BTreeSet<Layer> =
        reports.iter().flat_map(|it| &it.requirements).map(|row| row.layer).collect();
    let page = Page {
        policy: policy(),
        css: CSS,
        js: JS,
        notes: notes(reports),
        columns: names(reports)
            .into_iter()
            .zip(reports)
            .map(|(name, report)| Column {
                name,
                sentence: safe(&report.summary.sentence),
                musts: format!("{} of {}", report.summary.musts_passed, report.summary.musts),
                place: safe(&format!("{} {}", report.environment.os, report.environment.kernel)),
                // To the second.
                time: safe(report.time.split('.').next().unwrap_or_default()),
            })
            .collect(),
        layers: layers.into_iter().map(|layer| (slug(layer), title(layer))).collect(),
        verdicts: rows.iter().flat_map(|row| row.cells.iter().map(|cell| cell.verdict)).collect(),
        rows,
        contrasts,
    };
    page.render().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::report;

    fn two() -> [Report; 2] {
        let mut other = report();
        other.target.name = "<b>other</b>".to_owned();
        other.requirements[0].verdict = Some(Verdict::Fail);
        other.requirements[0].reason = "<img src=x>".to_owned();
        other.requirements.pop();
        [report(), other]
    }

    #[test]
    fn what_differs_is_shown_and_what_is_the_same_is_counted() {
        let text = terminal(&two(), false, Again::default());
        let row = text.lines().find(|line| line.contains("input.utf8")).unwrap();
        assert!(row.contains("pass") && row.contains("fail"), "{text}");
        let row = text.lines().find(|line| line.contains("plugin.peer")).unwrap();
        assert!(row.contains("uncovered") && row.contains("not-asked"), "{text}");
        let same = terminal(&[report(), report()], false, Again::default());
        assert!(same.contains("2 requirements have the same verdict"), "{same}");
        assert!(same.contains("reference (2)"), "{same}");
    }

    #[test]
    fn two_runs_of_one_target_differ_where_a_verdict_does_and_nowhere_else() {
        let mut other = report();
        other.seed += 1;
        other.cases[0].reason = "other words".to_owned();
        assert_eq!(differences(&[report(), other.clone()]), Ok(Vec::new()));
        other.requirements[0].verdict = Some(Verdict::Inconclusive);
        let gone = other.cases.pop().unwrap();
        let found = differences(&[report(), other.clone()]).unwrap();
        assert!(found[0].starts_with("requirement input.utf8: pass, inconclusive"), "{found:?}");
        assert!(found[1].contains(&gone.case) && found[1].ends_with("not-run"), "{found:?}");
        other.target.program = "another".to_owned();
        assert!(differences(&[report(), other]).unwrap_err().contains("several programs"));
    }

    #[test]
    fn the_page_escapes_what_targets_wrote() {
        let html = html(&two(), Again::default()).unwrap();
        assert!(!html.contains("<img") && !html.contains("<b>other"), "{html}");
        assert!(html.contains("data-differs=\"yes\""));
    }
}
