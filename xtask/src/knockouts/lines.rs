//! The single lines of the sandbox's plan: with each missing alone, which probe notices? A line that
//! none notices stays where the runtime says why. It must never judge a probe itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clawproof::oracle::matrix::Kills;
use clawproof::report::html::Table;
use clawproof::verdict::Verdict;
use serde::{Deserialize, Serialize};

use super::verdicts::Report;
use super::{Bench, FACES, each, known, page, reasons, with_head};
use crate::failure::{Failure, io};
use crate::workspace::Workspace;

/// How the ids of the lines begin.
pub(super) const HEAD: &str = "sandbox.plan.";

/// The committed answer.
const FILE: &str = "conformance/spec/plan-lines.json";

/// What may notice: the probes, and what else is played on a sandbox.
const PLAYED: [&str; 11] = [
    "probe:env",
    "probe:fs",
    "probe:ipc",
    "probe:kern",
    "probe:net",
    "probe:proc",
    "probe:res",
    "probe:term",
    "probe:time",
    "probe:uts",
    "scenario:sandbox.reap",
];

/// Where a line is looked for first: by a word of its name, the heads of the probes that are likely
/// to notice. All are asked where none of these does.
const LIKELY: &[(&str, &[&str])] = &[
    ("net", &["probe:net"]),
    ("tcp", &["probe:net"]),
    ("families", &["probe:net", "probe:ipc"]),
    ("pid", &["probe:proc"]),
    ("processes", &["probe:proc"]),
    ("ipc", &["probe:ipc"]),
    ("scopes", &["probe:ipc", "probe:proc", "probe:net"]),
    ("terminal", &["probe:term"]),
    ("session", &["probe:term", "probe:proc"]),
    ("environment", &["probe:env"]),
    ("output", &["probe:res"]),
    ("size", &["probe:res"]),
    ("rlimit", &["probe:res"]),
    ("seccomp", &["probe:kern", "probe:proc"]),
    ("userns", &["probe:kern", "probe:proc"]),
    ("cap", &["probe:kern", "probe:proc"]),
    ("parent", &["probe:proc", "scenario:sandbox.reap"]),
    ("", &["probe:fs", "probe:kern"]),
];

/// Every line and what was seen without it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lines {
    version: u32,
    lines: BTreeMap<String, Line>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The first cases that fail without it, twice; others may too.
    noticed_by: BTreeSet<String>,
    /// Why it stays although none does, in the runtime's own table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stays: Option<Stays>,
}

/// Another line that holds the same.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stays {
    /// Which.
    pub(super) beside: String,
    /// What it holds, and why both stay.
    pub(super) why: String,
    /// The cases that fail where both are missing, twice.
    #[serde(default)]
    pub(super) without_both: BTreeSet<String>,
}

impl Lines {
    /// The committed answer.
    ///
    /// # Errors
    /// The file is missing or is not ours.
    pub(super) fn committed(workspace: &Workspace) -> Result<Self, Failure> {
        let text =
            std::fs::read_to_string(workspace.at(FILE)).map_err(io("read plan-lines.json"))?;
        serde_json::from_str(&text).map_err(|error| Failure::usage(format!("{FILE}: {error}")))
    }

    fn json(&self) -> String {
        format!("{}\n", serde_json::to_string_pretty(self).unwrap_or_default())
    }

    /// The lines that are noticed, in the form of the kill matrix.
    pub(super) fn kills(&self) -> impl Iterator<Item = (String, Kills)> {
        self.lines.iter().filter(|(_, line)| !line.noticed_by.is_empty()).map(|(id, line)| {
            let cases: Vec<String> = line.noticed_by.iter().cloned().collect();
            let requirements: BTreeSet<String> = cases.iter().map(|it| requirement(it)).collect();
            (id.clone(), Kills { requirements: requirements.into_iter().collect(), cases })
        })
    }

    /// One row a line.
    pub(super) fn table(&self) -> Table {
        let row = |(id, line): (&String, &Line)| {
            let cases = line.noticed_by.iter().cloned().collect::<Vec<_>>().join(" ");
            let stays = line.stays.as_ref().map_or_else(String::new, |it| {
                let both = it.without_both.iter().cloned().collect::<Vec<_>>().join(" ");
                let seen = if both.is_empty() { "not seen here".to_owned() } else { both };
                format!("{} (without both: {seen})", it.why)
            });
            vec![format!("`{id}`"), cases, stays]
        };
        Table {
            heading: "Lines of the sandbox's plan".to_owned(),
            words:
                "Each row: the plan without that one line. Where no probe notices, another line \
                    holds the same, and the last column says which."
                    .to_owned(),
            columns: ["missing", "noticed first by", "stays because"].map(str::to_owned).into(),
            rows: self.lines.iter().map(row).collect(),
        }
    }

    /// # Errors
    /// A line that nothing notices and that nobody explains.
    pub(super) fn judge(&self) -> Result<(), Failure> {
        let unexplained = |line: &&Line| line.noticed_by.is_empty() && line.stays.is_none();
        let bad = self.lines.iter().filter(|(_, line)| unexplained(line));
        let bad: Vec<_> = bad.map(|(id, _)| id.as_str()).collect();
        if bad.is_empty() && !self.lines.is_empty() {
            return Ok(());
        }
        Err(Failure::check(format!("no probe notices, and no reason stands: {}", bad.join(", "))))
    }
}

/// What a probe is about: `probe:fs.read@relaxed` is `sandbox.fs.read`.
fn requirement(case: &str) -> String {
    let name = case.split('@').next().unwrap_or(case);
    match name.strip_prefix("probe:") {
        Some(name) => format!("sandbox.{name}"),
        None => name.trim_start_matches("scenario:").to_owned(),
    }
}

/// Plays the probes without each line in turn and writes down what falls.
pub(super) fn run(bench: &Bench<'_>, ids: Vec<String>) -> Result<(), Failure> {
    let mut faces = Vec::new();
    for (target, _) in FACES.into_iter().rev() {
        let cases = served(target, &PLAYED);
        faces.push((target, bench.baseline(target, &format!("lines.{target}"), &cases)?));
    }
    let stays = reasons(bench.workspace, bench.profiles.1)?;
    let found = each(&ids, bench.jobs, |id| {
        let noticed_by = noticed(bench, id, &faces)?;
        eprintln!("{id:<34} {}", noticed_by.iter().cloned().collect::<Vec<_>>().join(" "));
        let mut stays = stays.get(id).cloned();
        if let Some(stays) = stays.as_mut().filter(|_| noticed_by.is_empty()) {
            let both = format!("{id},{}", stays.beside);
            stays.without_both = noticed(bench, &both, &faces)?;
            eprintln!("{both}: {:?}", stays.without_both);
        }
        Ok::<_, Failure>(Line { noticed_by, stays })
    });
    let known = with_head(&known(bench.workspace, bench.profiles.1)?, HEAD);
    let mut lines = if ids.len() < known.len() {
        Lines::committed(bench.workspace)?
    } else {
        Lines { version: 1, lines: BTreeMap::new() }
    };
    for (id, line) in ids.into_iter().zip(found) {
        lines.lines.insert(id, line?);
    }
    let tables = [lines.table()];
    let write = |path: PathBuf, text: String| {
        std::fs::write(&path, text).map_err(io(format!("write {}", path.display())))
    };
    let words = "Which probe notices that a single line of the reference's sandbox is missing.";
    write(bench.folder.join("lines.md"), page::markdown(&tables))?;
    write(bench.folder.join("lines.html"), page::page("Lines of the plan", words, &tables)?)?;
    write(bench.folder.join("lines.json"), lines.json())?;
    write(bench.workspace.at(FILE), lines.json())?;
    lines.judge()
}

/// What is played on a face: a launcher has no scenarios.
fn served(target: &str, heads: &[&str]) -> Vec<String> {
    let kept = heads.iter().filter(|head| target == FACES[0].0 || head.starts_with("probe:"));
    kept.map(|head| (*head).to_owned()).collect()
}

/// The first probes that notice that a line is missing: the likely ones at each face, then all.
fn noticed(
    bench: &Bench<'_>,
    id: &str,
    faces: &[(&str, Report)],
) -> Result<BTreeSet<String>, Failure> {
    let first = id.split(',').next().unwrap_or(id);
    let name = first.trim_start_matches(HEAD);
    let likely = LIKELY.iter().find(|(word, _)| name.contains(word)).map(|(_, heads)| *heads);
    for (place, heads) in likely.into_iter().chain([PLAYED.as_slice()]).enumerate() {
        for (target, baseline) in faces {
            // The launcher shows more of a sandbox; the runtime's own tool goes the same way in.
            if place > 0 && *target == FACES[0].0 {
                continue;
            }
            let cases = served(target, heads);
            if cases.is_empty() {
                continue;
            }
            let fallen = fallen(bench, id, target, &cases, baseline)?;
            if !fallen.is_empty() {
                return Ok(fallen);
            }
        }
    }
    Ok(BTreeSet::new())
}

/// What falls without a line, and falls again when it is played by itself.
fn fallen(
    bench: &Bench<'_>,
    id: &str,
    target: &str,
    cases: &[String],
    baseline: &Report,
) -> Result<BTreeSet<String>, Failure> {
    let report = bench.suite(target, Some(id), &format!("{id}.{target}"), cases)?;
    let mut fallen = report.newly_failing(baseline);
    if !fallen.is_empty() {
        let again: Vec<_> = fallen.iter().cloned().collect();
        let again = bench.suite(target, Some(id), &format!("{id}.{target}.again"), &again)?;
        fallen.retain(|case| again.verdict(case) == Some(Verdict::Fail));
    }
    Ok(fallen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_none_notices_and_nobody_explains_is_judged_bad() {
        let lines = |noticed: &[&str], stays: Option<&str>| {
            let noticed_by = noticed.iter().map(|it| (*it).to_owned()).collect();
            let stays = stays.map(|why| Stays {
                beside: "sandbox.plan.y".into(),
                why: why.to_owned(),
                without_both: BTreeSet::new(),
            });
            let line = Line { noticed_by, stays };
            Lines { version: 1, lines: BTreeMap::from([("sandbox.plan.x".to_owned(), line)]) }
        };
        assert!(lines(&["probe:fs.a"], None).judge().is_ok());
        assert!(lines(&[], Some("another holds it")).judge().is_ok());
        assert_eq!(lines(&[], None).judge().unwrap_err().code(), 1);
        assert!(Lines { version: 1, lines: BTreeMap::new() }.judge().is_err());
    }

    #[test]
    fn a_probe_speaks_about_its_requirement_at_either_level() {
        assert_eq!(requirement("probe:fs.read@relaxed"), "sandbox.fs.read");
        assert_eq!(requirement("scenario:sandbox.reap-after-run"), "sandbox.reap-after-run");
    }

    #[test]
    fn the_committed_answer_has_no_line_without_probe_or_reason() {
        Lines::committed(&Workspace::find().unwrap()).unwrap().judge().unwrap();
    }
}
