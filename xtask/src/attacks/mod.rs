//! `attacks`: the corpora, through the suite's own library. Must never judge a record by itself.

mod coverage;
mod import;
mod naive;
mod played;
mod submitted;

use clap::{Args, Subcommand};
use clawproof::corpus::{self, Corpus, Family, Outline, Surface};
use clawproof::spec::Spec;

use crate::failure::{Failure, io};
use crate::summary::Ended;
use crate::workspace::Workspace;

#[derive(Subcommand, Debug)]
pub(crate) enum Action {
    /// Check every record: file, line and fix of all that is wrong.
    Lint,
    /// Begin a record: the next free number, an attack and its twin, to be filled in.
    New(New),
    /// Make local cases of somebody's word list of path attacks, and play them if a target is named:
    /// no line may lead outside.
    Import(import::Options),
    /// Count cases by family, surface, system and requirement, and name what has none.
    Stats,
    /// Write MANIFEST.json and schema.json anew.
    Manifest,
    /// Play the corpora against the naive subjects and write down what they fell to.
    Naive(naive::Options),
    /// Play a record or case against a target and show what was seen.
    Replay(Replay),
    /// Play the records that a change adds or edits: the reference must withstand, somebody must fall.
    Submitted(submitted::Options),
    /// Write COVERAGE.md anew: which class of attacks was seen to succeed where.
    Coverage,
}

#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// The record or case, such as PT-001 or PT-001.003; or a line of an imported list.
    id: String,
    /// The target: `naive`, `reference`, or another that the suite knows.
    #[arg(long, default_value = "naive", value_name = "NAME|FILE")]
    target: String,
    /// The folder of records, such as attacks/regressions.
    #[arg(long, default_value = "attacks", value_name = "DIR")]
    corpus: std::path::PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct New {
    /// The family, such as PT.
    family: Family,
    /// A short name of the technique.
    #[arg(long)]
    title: String,
    /// Where the attack is delivered, such as tool.path.read.
    #[arg(long, value_parser = surface)]
    surface: Surface,
    /// Who writes it.
    #[arg(long)]
    author: String,
}

fn surface(id: &str) -> Result<Surface, String> {
    let known = || Surface::ALL.iter().map(|surface| surface.id()).collect::<Vec<_>>().join(", ");
    let found = Surface::ALL.iter().copied().find(|surface| surface.id() == id);
    found.ok_or_else(|| format!("one of {}", known()))
}

pub(crate) fn run(workspace: &Workspace, action: &Action) -> Result<(), Failure> {
    match action {
        Action::Lint => match lint(workspace)? {
            Ended::Passed(note) => {
                println!("{note}");
                Ok(())
            }
            Ended::Failed(why) | Ended::NotChecked(why) => Err(Failure::check(why)),
        },
        Action::New(new) => begin(workspace, new),
        Action::Stats => {
            let corpus = Corpus::load(&workspace.at("attacks")).map_err(unusable)?;
            let table = corpus::stats(&corpus, &spec()?).to_string();
            // A reader that has seen enough (`| head`) is no failure.
            let _ = std::io::Write::write_all(&mut std::io::stdout(), table.as_bytes());
            Ok(())
        }
        Action::Import(options) => import::run(workspace, options),
        Action::Manifest => generate(workspace),
        Action::Replay(replay) => again(workspace, replay),
        Action::Naive(options) => naive::run(workspace, options),
        Action::Submitted(options) => submitted::run(workspace, options),
        Action::Coverage => coverage::write(workspace),
    }
}

/// Checks every record; also a step of `test`.
pub(crate) fn lint(workspace: &Workspace) -> Result<Ended, Failure> {
    let folder = workspace.at("attacks");
    let findings = corpus::lint(&folder, &spec()?);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        return Ok(Ended::Failed(format!("{} things are wrong with the corpus", findings.len())));
    }
    coverage::check(workspace)?;
    let corpus = Corpus::load(&folder).map_err(unusable)?;
    let cases = corpus.cases().count();
    Ok(Ended::Passed(format!("{} records, {cases} cases", corpus.records.len())))
}

/// Writes what depends on the kill matrix anew.
pub(crate) fn refresh(workspace: &Workspace) -> Result<(), Failure> {
    coverage::write(workspace)
}

fn begin(workspace: &Workspace, new: &New) -> Result<(), Failure> {
    let outline = Outline {
        family: new.family,
        surface: new.surface,
        title: new.title.clone(),
        author: new.author.clone(),
        date: corpus::today(),
    };
    let (path, text) = corpus::scaffold(&workspace.at("attacks"), &outline).map_err(unusable)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io(format!("make {}", folder.display())))?;
    }
    std::fs::write(&path, text).map_err(io(format!("write {}", path.display())))?;
    println!("{}", path.display());
    println!(
        "fill in every CHANGE ME, then: cargo xtask attacks manifest, cargo xtask attacks lint"
    );
    Ok(())
}

/// Plays with programs built for development: they are there sooner, and nothing is measured.
fn again(workspace: &Workspace, replay: &Replay) -> Result<(), Failure> {
    if replay.id.starts_with("X-") {
        return import::replay(workspace, &replay.target, &replay.id);
    }
    let own = replay.target == "reference";
    naive::build(workspace)?;
    if own {
        crate::bubblewrap::ensure(workspace)?;
        workspace.cargo().args(["build", "--locked", "--package", "clawproof-runtime"]).run()?;
    }
    let mut suite = workspace
        .program("debug", "clawproof")
        .args(["run", "--evidence", "--target", &replay.target, "--case", &replay.id])
        .arg("--corpus")
        .arg(workspace.at(&replay.corpus));
    if own {
        suite = suite.arg("--bin").arg(workspace.built("debug", "clawproof-runtime"));
    } else if replay.target == "naive" {
        suite = suite.arg("--bin").arg(workspace.at("conformance/subjects/naive.py"));
    }
    suite.run()
}

fn generate(workspace: &Workspace) -> Result<(), Failure> {
    let folder = workspace.at("attacks");
    let manifest = corpus::manifest(&folder).map_err(unusable)?;
    for (name, text) in [("MANIFEST.json", manifest), ("schema.json", corpus::schema())] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(io(format!("write {}", path.display())))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn spec() -> Result<Spec, Failure> {
    Spec::load().map_err(|error| Failure::usage(error.to_string()))
}

fn unusable(error: corpus::CorpusError) -> Failure {
    Failure::usage(error.to_string())
}
