//! `attacks import`: a third-party word list as local cases, and its play against a target. Must
//! never put a line of it into the corpus: a raw list says nothing of what is right.

use std::path::{Path, PathBuf};

use clap::Args;
use clawproof::corpus::Surface;
use clawproof::wordlist::{Format, List, SURFACES, text};

use crate::conformance;
use crate::failure::{Failure, io};
use crate::process::Program;
use crate::workspace::Workspace;

/// Where imported lists stand; git ignores the folder.
const FOLDER: &str = "attacks/imported";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The list: raw lines, a JSON array of strings, or either in base64.
    file: PathBuf,
    /// The SPDX licence of the list, such as MIT; it stays with the lines.
    #[arg(long, value_name = "SPDX")]
    licence: String,
    /// How its lines are written; by default found out.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Where its lines are delivered.
    #[arg(long, default_value = "tool.path.read", value_parser = surface)]
    surface: Surface,
    /// Play it at once against this target: `naive`, `reference`, or another that the suite knows.
    #[arg(long, value_name = "NAME|FILE")]
    target: Option<String>,
}

fn surface(id: &str) -> Result<Surface, String> {
    let known = SURFACES.map(Surface::id).join(", ");
    SURFACES.into_iter().find(|it| it.id() == id).ok_or_else(|| format!("one of {known}"))
}

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let list = List::load(&options.file, options.format)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let licence = options.licence.trim();
    let named = !licence.is_empty() && licence.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if !named {
        return Err(Failure::usage(
            "--licence wants the SPDX id of the list's licence, such as MIT",
        ));
    }
    let folder = workspace.at(FOLDER);
    std::fs::create_dir_all(&folder).map_err(io(format!("make {}", folder.display())))?;
    let path = folder.join(format!("{}.json", list.name));
    let stored = text(&list, licence, options.surface)
        .map_err(|error| Failure::machine(error.to_string()))?;
    std::fs::write(&path, stored).map_err(io(format!("write {}", path.display())))?;
    println!(
        "{}: {} lines ({:?}), {} the same as another",
        path.display(),
        list.entries.len(),
        list.format,
        list.repeated
    );
    match &options.target {
        Some(target) => play(workspace, target, &path, &[]),
        None => {
            println!("play it: clawproof run --target TARGET --list {}", path.display());
            Ok(())
        }
    }
}

/// Plays one line of an imported list by its id, `X-<list>-<hash>`.
pub(super) fn replay(workspace: &Workspace, target: &str, id: &str) -> Result<(), Failure> {
    let name = id.strip_prefix("X-").and_then(|rest| rest.rsplit_once('-')).map(|(name, _)| name);
    let name = name.ok_or_else(|| Failure::usage("an imported line is X-<list>-<hash>"))?;
    let path = workspace.at(FOLDER).join(format!("{name}.json"));
    if !path.is_file() {
        let words = format!("no {}: import the list first", path.display());
        return Err(Failure::usage(words));
    }
    play(workspace, target, &path, &["--list-only", id])
}

/// Built for release: the speed of the programs is the list's.
fn play(workspace: &Workspace, target: &str, list: &Path, more: &[&str]) -> Result<(), Failure> {
    conformance::build(workspace)?;
    let mut suite: Program = workspace
        .program("release", "clawproof")
        .args(["run", "--target", target, "--list"])
        .arg(list)
        .args(more);
    if target == "reference" {
        crate::bubblewrap::ensure(workspace)?;
    }
    if let Some(program) = conformance::own_program(workspace, target) {
        suite = suite.arg("--bin").arg(program);
    }
    suite.run()
}
