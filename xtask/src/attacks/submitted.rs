//! `attacks submitted`: plays the records that a change adds or edits, as the check of a pull request
//! does. The reference must withstand each, and somebody must fall to it: the naive runtime, or a
//! build of the reference without the defence. It must never pass a record that nobody falls to,
//! unless this host cannot show it or the record says why nobody can.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Args;
use clawproof::corpus::{Capability, Case, Corpus, Kind, Record};

use crate::failure::Failure;
use crate::process::Program;
use crate::workspace::Workspace;

use super::naive::{self, FRAGILE};
use super::played::Report;

/// The suite's exit code of a run that shows nothing.
const SHOWS_NOTHING: u8 = 4;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The revision that the change begins at, such as origin/main.
    #[arg(long, value_name = "REV")]
    base: String,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// The reference withstands, and this subject falls.
    Shown(String),
    /// The reference withstands; why nobody falls to it here.
    Unshown(String),
    /// What is wrong.
    Wrong(String),
}

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let ids = changed(workspace, &options.base)?;
    if ids.is_empty() {
        println!("no record was added or changed since {}", options.base);
        return Ok(());
    }
    let corpus = Corpus::load(&workspace.at("attacks")).map_err(super::unusable)?;
    let records: Vec<_> = corpus.records.iter().filter(|it| ids.contains(&it.id)).collect();
    crate::bubblewrap::ensure(workspace)?;
    naive::build(workspace)?;
    build(workspace, &[])?;
    let mut seen = Vec::new();
    for record in records {
        let (own, _) = play(workspace, record, reference(workspace, None))?;
        let mut fell = None;
        for (name, mode) in [("naive", None), ("naive:fragile", Some(FRAGILE))] {
            let naive = naive::subject(workspace, mode);
            if fell.is_none() && play(workspace, record, naive)?.1 {
                fell = Some(name.to_owned());
            }
        }
        seen.push((record, own, fell));
    }
    // The other build takes the place of the first, so it comes last, and only where it is wanted.
    if seen.iter().any(|(_, _, fell)| fell.is_none()) {
        build(workspace, &["--features", "knockout"])?;
    }
    let mut wrong = 0;
    for (record, own, mut fell) in seen {
        for requirement in &record.requirement {
            let without = || reference(workspace, Some(requirement));
            if fell.is_none() && play(workspace, record, without())?.1 {
                fell = Some(format!("the reference without {requirement}"));
            }
        }
        let standing = judge(record, own, fell);
        wrong += usize::from(matches!(standing, Standing::Wrong(_)));
        tell(record, &standing);
    }
    match wrong {
        0 => Ok(()),
        count => Err(Failure::check(format!("{count} records are not as they must be"))),
    }
}

/// The ids of the records that differ from a revision.
fn changed(workspace: &Workspace, base: &str) -> Result<Vec<String>, Failure> {
    // A revision is never taken for an option.
    if base.starts_with('-') {
        return Err(Failure::usage("--base wants a revision"));
    }
    let heard = Program::new("git")
        .folder(workspace.root())
        .args(["diff", "--name-only", "--diff-filter=AM", base, "--", "attacks/"])
        .hear()?;
    if heard.code != 0 {
        return Err(Failure::usage(format!("--base {base}: {}", heard.last_line())));
    }
    Ok(heard.out.lines().filter_map(record_of).collect())
}

/// The id of the record that a path of the corpus holds: `attacks/PT/PT-001.json`.
fn record_of(path: &str) -> Option<String> {
    let path = Path::new(path.strip_prefix("attacks/")?);
    let family = path.parent()?.to_str()?;
    let id = path.file_name()?.to_str()?.strip_suffix(".json")?;
    let own = !family.is_empty() && id.strip_prefix(family).is_some_and(|it| it.starts_with('-'));
    own.then(|| id.to_owned())
}

fn build(workspace: &Workspace, more: &[&str]) -> Result<(), Failure> {
    let cargo = workspace.cargo().args(["build", "--locked", "--package", "clawproof-runtime"]);
    cargo.args(more).run()
}

fn reference(workspace: &Workspace, without: Option<&str>) -> Program {
    let suite = workspace
        .program("debug", "clawproof")
        .args(["run", "--target", "reference", "--bin"])
        .arg(workspace.built("debug", "clawproof-runtime"))
        .arg("--corpus")
        .arg(workspace.at("attacks"));
    match without {
        Some(word) => suite.args(["--knockout", word]),
        None => suite,
    }
}

/// Plays a record: the suite's exit code, and whether an attack of it had its effect while its twin
/// worked.
fn play(workspace: &Workspace, record: &Record, suite: Program) -> Result<(u8, bool), Failure> {
    let file = workspace.scratch("submitted")?.join("report.json");
    let (code, report) = Report::aloud(suite.args(["--case", &record.id]), &file)?;
    let attacks: BTreeSet<&str> = attacks(record).map(|case| case.id.as_str()).collect();
    Ok((code, report.cases.iter().any(|case| case.fell(&attacks))))
}

fn attacks(record: &Record) -> impl Iterator<Item = &Case> {
    record.cases.iter().filter(|case| case.kind == Kind::Attack)
}

/// What the reference's exit code and whoever fell say of a record.
fn judge(record: &Record, own: u8, fell: Option<String>) -> Standing {
    if own != 0 && own != SHOWS_NOTHING {
        return Standing::Wrong(format!("the reference does not withstand it: exit {own}"));
    }
    if let Some(subject) = fell {
        return Standing::Shown(subject);
    }
    let mut attacks = attacks(record).peekable();
    if attacks.peek().is_none() {
        return Standing::Unshown("it holds benign input alone".to_owned());
    }
    if let Some(reason) = &record.unproven {
        return Standing::Unshown(reason.clone());
    }
    if attacks.all(|case| case.requires.iter().any(|need| !common(*need))) {
        return Standing::Unshown("this host lacks what its attacks require".to_owned());
    }
    Standing::Wrong(
        "nobody falls to it while its twin works: see step 3 of CONTRIBUTING".to_owned(),
    )
}

/// Whether the hosts on which records are checked have it.
fn common(need: Capability) -> bool {
    use Capability::{Fifo, Hardlink, Linux, Procfs, Symlink};
    matches!(need, Linux | Symlink | Hardlink | Fifo | Procfs)
}

fn tell(record: &Record, standing: &Standing) {
    let (word, text) = match standing {
        Standing::Shown(subject) => ("shown", format!("falls: {subject}")),
        Standing::Unshown(reason) => ("not shown", reason.clone()),
        Standing::Wrong(reason) => ("WRONG", reason.clone()),
    };
    println!("{:<8} {word:<10} {text}", record.id);
    // The platform shows these beside the file.
    if std::env::var_os("GITHUB_ACTIONS").is_some() && word != "shown" {
        let kind = if word == "WRONG" { "error" } else { "warning" };
        let family = record.id.split('-').next().unwrap_or_default();
        println!("::{kind} file=attacks/{family}/{}.json::{}", record.id, text.replace('\n', " "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(unproven: Option<&str>, requires: &[&str]) -> Record {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../attacks/PT/PT-001.json");
        let text = std::fs::read_to_string(path).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        if let Some(reason) = unproven {
            json["unproven"] = reason.into();
        }
        for case in json["cases"].as_array_mut().unwrap() {
            case["requires"] = requires.into();
        }
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_path_of_the_corpus_names_its_record_and_no_other_file_does() {
        assert_eq!(record_of("attacks/PT/PT-001.json").as_deref(), Some("PT-001"));
        for path in ["attacks/MANIFEST.json", "attacks/PT/CI-001.json", "docs/PT/PT-001.json"] {
            assert_eq!(record_of(path), None, "{path}");
        }
    }

    #[test]
    fn the_reference_must_withstand_and_somebody_must_fall() {
        let plain = record(None, &[]);
        let fell = || Some("naive".to_owned());
        for own in [0, 4] {
            assert_eq!(judge(&plain, own, fell()), Standing::Shown("naive".to_owned()));
            assert!(matches!(judge(&plain, own, None), Standing::Wrong(_)));
        }
        for own in [1, 2, 3] {
            assert!(matches!(judge(&plain, own, fell()), Standing::Wrong(_)));
        }
    }

    #[test]
    fn what_cannot_be_shown_here_says_why() {
        for record in [record(Some("no such subject"), &[]), record(None, &["casefold", "symlink"])]
        {
            assert!(matches!(judge(&record, 4, None), Standing::Unshown(_)));
        }
        let found = judge(&record(None, &["symlink"]), 4, None);
        assert!(matches!(found, Standing::Wrong(_)), "symlinks are everywhere");
    }
}
