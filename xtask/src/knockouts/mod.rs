//! `knockouts`: with each defence missing in turn, does the suite notice exactly that one? Knows
//! the suite's report and the runtime's switch; must never decide by itself what a case means.

mod matrix;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use clawproof::corpus::{Corpus, Kind};
use clawproof::spec::Spec;
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
    spec: Spec,
    subjects: Vec<Subject>,
    /// The benign cases of the corpora: by themselves they cannot show that an attack is noticed.
    benign: BTreeSet<String>,
}

/// Whether a face is asked about the knockout with this id.
type Asked = fn(&str) -> bool;

/// One face of the runtime that is attacked, and what it shows with nothing missing.
struct Subject {
    target: &'static str,
    asked: Asked,
    baseline: Report,
}

/// The whole runtime, and its sandbox alone: some boundaries (descriptors, terminal, environment of
/// the one who launches) can be tried at the second only.
const FACES: [(&str, Asked); 2] =
    [("reference", |_| true), ("reference-launcher", |id| id.starts_with("sandbox."))];

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    bubblewrap::ensure(workspace)?;
    conformance::build(workspace)?;
    workspace
        .cargo()
        .args(["build", "--locked", "--profile", "knockout", "--package", "clawproof-runtime"])
        .args(["--features", "knockout"])
        .run()?;
    let ids = chosen(known(workspace)?, &options.only)?;
    let folder = workspace.scratch("knockouts")?;
    let benign = benign(workspace)?;
    let spec = Spec::load().map_err(|error| Failure::usage(error.to_string()))?;
    let (own, subjects) = (options.own, Vec::new());
    let mut bench = Bench { workspace, folder, own, spec, subjects, benign };
    for (target, asked) in FACES.into_iter().filter(|(_, asked)| ids.iter().any(|id| asked(id))) {
        eprintln!("baseline of {target}: the same build with nothing missing");
        let baseline = bench.suite(target, None, &format!("baseline.{target}"), &[])?;
        bench.subjects.push(Subject { target, asked, baseline });
    }
    let (covered, uncovered): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| bench.covers(id));
    let rows = all_rows(&bench, covered, options.jobs);
    let cases = bench.subjects.iter().flat_map(|subject| subject.baseline.digests()).collect();
    let matrix = Matrix { rows, uncovered, cases };
    println!("\n{matrix}");
    let page = bench.folder.join("matrix.md");
    std::fs::write(&page, matrix.markdown()).map_err(io("write matrix.md"))?;
    std::fs::write(page.with_extension("json"), matrix.json()).map_err(io("write matrix.json"))?;
    std::fs::write(page.with_extension("html"), matrix.html()?).map_err(io("write matrix.html"))?;
    eprintln!("the matrix as Markdown, JSON and HTML: {}", bench.folder.display());
    let file = workspace.at("conformance/spec/kill-matrix.json");
    if options.check {
        matrix.compare(&file)?;
    } else if options.only.is_empty() && matrix.is_whole() {
        std::fs::write(&file, matrix.json()).map_err(io("write the kill matrix"))?;
        eprintln!("written: {}", file.display());
        crate::attacks::refresh(workspace)?;
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

fn benign(workspace: &Workspace) -> Result<BTreeSet<String>, Failure> {
    let corpus = Corpus::load(&workspace.at("attacks"))
        .map_err(|error| Failure::usage(error.to_string()))?;
    let benign = corpus.cases().filter(|(_, case)| case.kind == Kind::Benign);
    Ok(benign.map(|(_, case)| case.id.clone()).collect())
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
fn all_rows(bench: &Bench<'_>, ids: Vec<String>, jobs: u8) -> Vec<Row> {
    let total = ids.len();
    let queue: Mutex<VecDeque<String>> = Mutex::new(ids.iter().cloned().collect());
    let done: Mutex<BTreeMap<String, Row>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(id) = next else { break };
                    let row = bench.row(&id).unwrap_or_else(|failure| Row::troubled(&id, &failure));
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    eprintln!("[{}/{total}] {}", done.len() + 1, row.line());
                    done.insert(id, row);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    ids.iter().filter_map(|id| done.remove(id)).collect()
}

impl Bench<'_> {
    fn covers(&self, id: &str) -> bool {
        let attacks = |case: &String| !self.benign.contains(case);
        self.asked(id).any(|subject| subject.baseline.cases_of(id).iter().any(attacks))
    }

    fn asked<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Subject> {
        self.subjects.iter().filter(move |subject| (subject.asked)(id))
    }

    /// Runs the suite with `id` missing and says what newly fails.
    fn row(&self, id: &str) -> Result<Row, Failure> {
        let mut row = Row::new(id);
        for subject in self.asked(id) {
            let own = subject.baseline.cases_of(id);
            if own.is_empty() && self.own {
                continue;
            }
            let cases = if self.own { own.as_slice() } else { &[] };
            self.fell(subject, cases, &mut row)?;
        }
        Ok(row)
    }

    /// What falls at one face. What has nothing to do with the knockout is asked once more by
    /// itself before it counts: a clock may have slipped.
    fn fell(&self, subject: &Subject, cases: &[String], row: &mut Row) -> Result<(), Failure> {
        let (id, target) = (row.id.clone(), subject.target);
        let report = self.suite(target, Some(&id), &format!("{id}.{target}"), cases)?;
        let fallen = report.newly_failing(&subject.baseline);
        let (own, other): (BTreeSet<_>, BTreeSet<_>) =
            fallen.into_iter().partition(|case| report.witnesses(case, &id));
        let (resting, other): (BTreeSet<_>, BTreeSet<_>) =
            other.into_iter().partition(|case| self.rests(report.requirements(case), &id));
        row.resting.extend(resting);
        if !other.is_empty() {
            let cases: Vec<_> = other.iter().cloned().collect();
            let again = self.suite(target, Some(&id), &format!("{id}.{target}.again"), &cases)?;
            let still = |case: &String| again.verdict(case) == Some(Verdict::Fail);
            row.stray.extend(other.into_iter().filter(still));
        }
        row.requirements.extend(report.requirements_of(own.iter(), &id));
        row.cases.extend(own);
        Ok(())
    }

    /// Whether one of these requirements rests on what is missing.
    fn rests(&self, requirements: &[String], id: &str) -> bool {
        let rows = requirements.iter().filter_map(|requirement| self.spec.get(requirement));
        rows.flat_map(|row| &row.rests_on).any(|head| head == id)
    }

    /// One run of the suite, whose report and log get this name.
    fn suite(
        &self,
        target: &str,
        knockout: Option<&str>,
        name: &str,
        cases: &[String],
    ) -> Result<Report, Failure> {
        let report = self.folder.join(format!("{name}.json"));
        let _ = std::fs::remove_file(&report);
        let mut suite = self
            .workspace
            .program("release", "clawproof")
            .args(["run", "--quiet", "--target"])
            .arg(self.workspace.at(format!("conformance/targets/{target}.toml")))
            .arg("--bin")
            .arg(self.workspace.built("knockout", "clawproof-runtime"))
            .arg("--json")
            .arg(&report);
        // A minute's wait, for what it is about alone.
        if self.own || knockout.is_none() || knockout.is_some_and(|id| id.starts_with("rate.")) {
            suite = suite.arg("--slow");
        }
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
