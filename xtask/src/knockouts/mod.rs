//! `knockouts`: with each defence missing in turn, does the suite notice exactly that one? Knows
//! the suite's report and the runtime's switch; must never decide by itself what a case means.

mod matrix;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use clawproof::verdict::Verdict;

use crate::failure::{Failure, io};
use crate::workspace::Workspace;
use crate::{bubblewrap, conformance};
use matrix::{Matrix, Row};
use verdicts::Report;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How many suites run side by side; more than 2 disturb each other's clocks.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    jobs: u8,
    /// Only this knockout (may be given again); the matrix file is left as it is.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Play only the cases of what is missing: much faster, and shows that each missing defence is
    /// noticed, but not that nothing else falls with it.
    #[arg(long)]
    own: bool,
    /// Compare with the committed matrix instead of writing it.
    #[arg(long)]
    check: bool,
}

/// What the runs share.
struct Bench<'a> {
    workspace: &'a Workspace,
    folder: PathBuf,
    own: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    bubblewrap::ensure(workspace)?;
    conformance::build(workspace)?;
    workspace
        .cargo()
        .args(["build", "--locked", "--profile", "knockout", "--package", "clawproof-runtime"])
        .args(["--features", "knockout"])
        .run()?;
    let folder = workspace.scratch("knockouts")?;
    let bench = Bench { workspace, folder, own: options.own };
    let ids = chosen(known(workspace)?, &options.only)?;
    eprintln!("baseline: the same build with nothing missing");
    let baseline = bench.suite(None, "baseline", &[])?;
    let (covered, uncovered): (Vec<_>, Vec<_>) =
        ids.into_iter().partition(|id| baseline.covers(id));
    let rows = all_rows(&bench, &baseline, covered, options.jobs)?;
    let matrix = Matrix { rows, uncovered, cases: baseline.digests() };
    println!("\n{matrix}");
    std::fs::write(bench.folder.join("matrix.md"), matrix.markdown())
        .map_err(io("write matrix.md"))?;
    let file = workspace.at("conformance/spec/kill-matrix.json");
    if options.check {
        matrix.compare(&file)?;
    } else if options.only.is_empty() {
        std::fs::write(&file, matrix.json()).map_err(io("write the kill matrix"))?;
        eprintln!("written: {}", file.display());
    }
    matrix.judge()
}

/// The ids that the knockout build knows, from its own mouth.
fn known(workspace: &Workspace) -> Result<Vec<String>, Failure> {
    let heard = workspace.program("knockout", "clawproof-runtime").arg("knockouts").hear()?;
    let ids: Vec<_> = heard.out.split_whitespace().map(str::to_owned).collect();
    if heard.code != 0 || ids.is_empty() {
        let said = heard.last_line();
        return Err(Failure::machine(format!("the knockout build names no knockouts: {said}")));
    }
    Ok(ids)
}

fn chosen(known: Vec<String>, only: &[String]) -> Result<Vec<String>, Failure> {
    if let Some(stranger) = only.iter().find(|id| !known.contains(id)) {
        let sentence =
            format!("no knockout `{stranger}`; `clawproof-runtime knockouts` lists them");
        return Err(Failure::usage(sentence));
    }
    Ok(known.into_iter().filter(|id| only.is_empty() || only.contains(id)).collect())
}

/// One row per id, `jobs` suites at a time, in the order of the ids.
fn all_rows(
    bench: &Bench<'_>,
    baseline: &Report,
    ids: Vec<String>,
    jobs: u8,
) -> Result<Vec<Row>, Failure> {
    let total = ids.len();
    let queue: Mutex<VecDeque<String>> = Mutex::new(ids.iter().cloned().collect());
    let done: Mutex<BTreeMap<String, Result<Row, Failure>>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(id) = next else { break };
                    let row = bench.row(baseline, &id);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Ok(row) = &row {
                        eprintln!("[{}/{total}] {}", done.len() + 1, row.line());
                    }
                    done.insert(id, row);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    ids.iter().filter_map(|id| done.remove(id)).collect()
}

impl Bench<'_> {
    /// Runs the suite with `id` missing and says what newly fails. What fails without having to do
    /// with `id` is asked once more by itself before it counts: a clock may have slipped.
    fn row(&self, baseline: &Report, id: &str) -> Result<Row, Failure> {
        let own = if self.own { baseline.cases_of(id) } else { Vec::new() };
        let report = self.suite(Some(id), id, &own)?;
        let fallen = report.newly_failing(baseline);
        let (own, other): (BTreeSet<_>, BTreeSet<_>) =
            fallen.into_iter().partition(|case| report.witnesses(case, id));
        let stray = if other.is_empty() {
            other
        } else {
            let cases: Vec<_> = other.iter().cloned().collect();
            let again = self.suite(Some(id), &format!("{id}.again"), &cases)?;
            other.into_iter().filter(|case| again.verdict(case) == Some(Verdict::Fail)).collect()
        };
        let requirements = report.requirements_of(own.iter(), id);
        Ok(Row { id: id.to_owned(), cases: own, stray, requirements })
    }

    /// One run of the suite, whose report and log get this name.
    fn suite(
        &self,
        knockout: Option<&str>,
        name: &str,
        cases: &[String],
    ) -> Result<Report, Failure> {
        let report = self.folder.join(format!("{name}.json"));
        let _ = std::fs::remove_file(&report);
        let mut suite = self
            .workspace
            .program("release", "clawproof")
            .arg("run")
            .arg("--target")
            .arg(self.workspace.at("conformance/targets/reference.toml"))
            .arg("--bin")
            .arg(self.workspace.built("knockout", "clawproof-runtime"))
            .arg("--json")
            .arg(&report);
        if let Some(id) = knockout {
            suite = suite.args(["--knockout", id]);
        }
        for case in cases {
            suite = suite.args(["--case", case]);
        }
        let heard = suite.hear()?;
        let log = self.folder.join(format!("{name}.log"));
        std::fs::write(&log, format!("{}\n{}", heard.out, heard.err)).map_err(io("write a log"))?;
        read(&report, name, &log)
    }
}

fn read(report: &Path, name: &str, log: &Path) -> Result<Report, Failure> {
    let text = std::fs::read_to_string(report).map_err(|error| {
        let log = log.display();
        Failure::machine(format!("the suite left no report for `{name}` ({error}); see {log}"))
    })?;
    Report::parse(&text)
        .map_err(|error| Failure::machine(format!("the report for `{name}` is not ours: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knockout_that_is_not_there_is_wrong_use() {
        let known = vec!["input.utf8".to_owned(), "path.link".to_owned()];
        assert_eq!(chosen(known.clone(), &["path.link".into()]).unwrap(), ["path.link"]);
        assert_eq!(chosen(known, &["path.lonk".into()]).unwrap_err().code(), 2);
    }
}
