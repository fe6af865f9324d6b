//! `knockouts`: with each defence missing in turn, does the suite notice exactly that one? Knows
//! the suite's report and the runtime's switch; must never decide by itself what a case means.

mod layers;
mod lines;
mod matrix;
mod page;
mod variants;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use clawproof::corpus::{Corpus, Kind};
use clawproof::spec::Spec;
use clawproof::verdict::Verdict;

use crate::failure::{Failure, io};
use crate::summary::Ended;
use crate::workspace::Workspace;
use crate::{bubblewrap, conformance};
use lines::Stays;
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
    /// Instead: with each whole layer missing, which attacks does another layer still catch?
    #[arg(long, conflicts_with_all = ["own", "check", "variants", "lines"])]
    layers: bool,
    /// Instead: with each form changed that means the same, does the suite notice nothing?
    #[arg(long, conflicts_with_all = ["own", "check", "lines"])]
    variants: bool,
    /// Instead: with each single line of the sandbox's plan missing, which probe notices?
    #[arg(long, conflicts_with_all = ["own", "check"])]
    lines: bool,
    /// Use debug builds: quicker to build, slower to play.
    #[arg(long)]
    dev: bool,
    /// Build nothing: play what stands there from the last time.
    #[arg(long)]
    built: bool,
    /// Take what the last sweep saw with nothing missing, or with a layer missing, where the same
    /// programs saw it.
    #[arg(long)]
    keep: bool,
}

/// What the runs share.
struct Bench<'a> {
    workspace: &'a Workspace,
    folder: PathBuf,
    own: bool,
    /// The folders of the build in which the suite and the runtime stand.
    profiles: (&'static str, &'static str),
    jobs: u8,
    keep: bool,
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

/// The probes of a sandbox, by the heads of their ids.
const PROBES: [&str; 10] = [
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
];

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    bubblewrap::ensure(workspace)?;
    let profiles = build(workspace, options)?;
    let known = known(workspace, profiles.1)?;
    let folder = workspace.scratch("knockouts")?;
    let benign = benign(workspace)?;
    let spec = Spec::load().map_err(|error| Failure::usage(error.to_string()))?;
    let (own, jobs, keep, subjects) = (options.own, options.jobs, options.keep, Vec::new());
    let mut bench = Bench { workspace, folder, own, profiles, jobs, keep, spec, subjects, benign };
    let of = |head: &str| chosen(with_head(&known, head), &options.only);
    if options.layers {
        return layers::run(&bench, of("layer:")?);
    }
    if options.variants {
        return variants::run(&mut bench, of("variant.")?);
    }
    if options.lines {
        return lines::run(&bench, of(lines::HEAD)?);
    }
    let single = |id: &String| !["layer:", "variant."].iter().any(|head| id.starts_with(head));
    let mut ids = chosen(known.into_iter().filter(single).collect(), &options.only)?;
    if options.only.is_empty() {
        // Each has a sweep of its own.
        ids.retain(|id| !id.starts_with(lines::HEAD));
    }
    bench.face_all(|asked| ids.iter().any(|id| asked(id)))?;
    let (covered, uncovered): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| bench.covers(id));
    let rows = bench.rows(covered);
    let cases = bench.subjects.iter().flat_map(|subject| subject.baseline.digests()).collect();
    let matrix = Matrix { rows, uncovered, cases };
    println!("\n{matrix}");
    let lines = lines::Lines::committed(workspace)?;
    let file = |name: &str| bench.folder.join(name);
    let markdown = matrix.markdown() + &page::markdown(&[lines.table()]);
    std::fs::write(file("matrix.md"), markdown).map_err(io("write matrix.md"))?;
    std::fs::write(file("matrix.json"), matrix.json()).map_err(io("write matrix.json"))?;
    let html = matrix.html(&lines)?;
    std::fs::write(file("matrix.html"), html).map_err(io("write matrix.html"))?;
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

/// Whether the committed answers of the sweeps agree with their page, the requirements and themselves.
pub(crate) fn committed(workspace: &Workspace) -> Result<Ended, Failure> {
    layers::check(workspace)?;
    lines::Lines::committed(workspace)?.judge()?;
    Ok(Ended::Passed(String::new()))
}

/// Builds the suite, and the runtime in which defences can be missing; says into which folders.
fn build(
    workspace: &Workspace,
    options: &Options,
) -> Result<(&'static str, &'static str), Failure> {
    let profiles = if options.dev { ("debug", "debug") } else { ("release", "knockout") };
    if options.built {
        return Ok(profiles);
    }
    let runtime = |profile: &str| {
        let cargo = workspace.cargo().args(["build", "--locked", "--profile", profile]);
        cargo.args(["--package", "clawproof-runtime", "--features", "knockout"]).run()
    };
    if options.dev {
        let cargo = workspace.cargo().args(["build", "--locked", "--package", "clawproof"]);
        cargo.args(["--package", "clawproof-probe"]).run()?;
        runtime("dev")?;
    } else {
        conformance::build(workspace)?;
        runtime("knockout")?;
    }
    Ok(profiles)
}

fn with_head(known: &[String], head: &str) -> Vec<String> {
    known.iter().filter(|id| id.starts_with(head)).cloned().collect()
}

/// What the knockout build can be told to leave out or change, from its own mouth.
fn known(workspace: &Workspace, profile: &str) -> Result<Vec<String>, Failure> {
    let heard = workspace.program(profile, "clawproof-runtime").arg("knockouts").hear()?;
    let ids: Vec<_> = heard.out.lines().filter_map(|line| line.split('\t').next()).collect();
    if heard.code != 0 || ids.is_empty() {
        let said = heard.last_line();
        return Err(Failure::machine(format!("the knockout build names no knockouts: {said}")));
    }
    Ok(ids.into_iter().map(str::to_owned).collect())
}

/// Why a line of the sandbox's plan stays although nothing notices that it is missing; the id of
/// every line that says so.
fn reasons(workspace: &Workspace, profile: &str) -> Result<BTreeMap<String, Stays>, Failure> {
    let heard = workspace.program(profile, "clawproof-runtime").arg("knockouts").hear()?;
    let said = heard.out.lines().filter_map(|line| {
        let mut parts = line.split('\t').map(str::to_owned);
        let (id, beside, why) = (parts.next()?, parts.next()?, parts.next()?);
        Some((id, Stays { beside, why, without_both: BTreeSet::new() }))
    });
    Ok(said.collect())
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

/// Does the work for each id, `jobs` at a time; the answers stand in the order of the ids.
fn each<T: Send>(ids: &[String], jobs: u8, work: impl Fn(&str) -> T + Sync) -> Vec<T> {
    let queue: Mutex<VecDeque<usize>> = Mutex::new((0..ids.len()).collect());
    let done: Mutex<BTreeMap<usize, T>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((place, id)) = next.and_then(|it| Some((it, ids.get(it)?))) else {
                        break;
                    };
                    let answer = work(id);
                    done.lock().unwrap_or_else(PoisonError::into_inner).insert(place, answer);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

impl Bench<'_> {
    /// Plays both faces with nothing missing, where they are asked.
    fn face_all(&mut self, wanted: impl Fn(Asked) -> bool) -> Result<(), Failure> {
        for (target, asked) in FACES.into_iter().filter(|(_, asked)| wanted(*asked)) {
            eprintln!("baseline of {target}: the same build with nothing missing");
            let baseline = self.baseline(target, &format!("baseline.{target}"), &[])?;
            self.subjects.push(Subject { target, asked, baseline });
        }
        Ok(())
    }

    /// One row per id.
    fn rows(&self, ids: Vec<String>) -> Vec<Row> {
        let total = ids.len();
        let done = Mutex::new(0_usize);
        each(&ids, self.jobs, |id| {
            let row = self.row(id).unwrap_or_else(|failure| Row::troubled(id, &failure));
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += 1;
            eprintln!("[{done}/{total}] {}", row.line());
            row
        })
    }

    fn covers(&self, id: &str) -> bool {
        let attacks = |case: &String| !self.is_benign(case);
        self.asked(id).any(|subject| subject.baseline.cases_of(id).iter().any(attacks))
    }

    /// Whether a case is benign, on whatever surface it is played.
    fn is_benign(&self, case: &str) -> bool {
        self.benign.contains(case.split('@').next().unwrap_or(case))
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

    /// What is seen with nothing missing.
    fn baseline(&self, target: &str, name: &str, cases: &[String]) -> Result<Report, Failure> {
        self.once(target, None, name, cases)
    }

    /// What the suite sees, or saw in the last sweep where that is to be kept.
    fn once(
        &self,
        target: &str,
        knockout: Option<&str>,
        name: &str,
        cases: &[String],
    ) -> Result<Report, Failure> {
        let kept = self.keep.then(|| self.kept(name)).flatten();
        kept.map_or_else(|| self.suite(target, knockout, name, cases), Ok)
    }

    /// The report of this name, where the programs that stand here made it.
    fn kept(&self, name: &str) -> Option<Report> {
        let name = name.replace(':', "-");
        let text = std::fs::read_to_string(self.folder.join(format!("{name}.json"))).ok()?;
        let report = Report::parse(&text).ok()?;
        let digest = |profile: &str, program: &str| {
            let bytes = std::fs::read(self.workspace.built(profile, program)).ok()?;
            Some(clawproof::oracle::matrix::digest(&bytes))
        };
        let suite = digest(self.profiles.0, "clawproof")?;
        let runtime = digest(self.profiles.1, "clawproof-runtime")?;
        report.made_by(&suite, &runtime).then_some(report)
    }

    /// One run of the suite, whose report and log get this name.
    fn suite(
        &self,
        target: &str,
        knockout: Option<&str>,
        name: &str,
        cases: &[String],
    ) -> Result<Report, Failure> {
        let name = &name.replace(':', "-");
        let report = self.folder.join(format!("{name}.json"));
        let _ = std::fs::remove_file(&report);
        let mut suite = self
            .workspace
            .program(self.profiles.0, "clawproof")
            .args(["run", "--quiet", "--target"])
            .arg(self.workspace.at(format!("conformance/targets/{target}.toml")))
            .arg("--bin")
            .arg(self.workspace.built(self.profiles.1, "clawproof-runtime"))
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

    #[test]
    fn the_work_is_done_for_each_and_stands_in_order() {
        let ids: Vec<String> = (0..20).map(|it| it.to_string()).collect();
        assert_eq!(each(&ids, 2, str::to_owned), ids);
    }
}
