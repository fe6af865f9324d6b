//! `deny`: dependencies against `deny.toml`. Must never report advisories as checked when no
//! database was there to check them against.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cargo_tool::cargo_tool;
use crate::failure::{Failure, io};
use crate::process::Program;
use crate::summary::{Ended, Summary};
use crate::workspace::Workspace;

/// The release that the configuration was written for.
const VERSION: &str = "0.20.2";
/// Where cargo-deny fetches the advisories from; the capitals matter to git's rewriting.
const DATABASE: &str = "https://github.com/RustSec/advisory-db";

// Flattened into the options of other commands, which have the same name.
#[derive(Args, Debug, Default, Clone)]
#[group(skip)]
pub(crate) struct Options {
    /// A folder that holds the RustSec database, for machines that cannot fetch it.
    #[arg(long, value_name = "DIR")]
    pub(crate) advisory_db: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let mut summary = Summary::default();
    steps(&mut summary, workspace, options);
    summary.finish()
}

/// The two steps: what needs no database, and what does.
pub(crate) fn steps(summary: &mut Summary, workspace: &Workspace, options: &Options) {
    summary.step("deny", || {
        deny(workspace)?.args(["check", "bans", "licenses", "sources"]).run()?;
        Ok(Ended::Passed("bans, licences, sources".into()))
    });
    summary.step("advisories", || match &options.advisory_db {
        Some(folder) => from_a_folder(workspace, folder),
        None => from_the_network(workspace),
    });
}

/// Where cargo-deny stands; built when it is missing.
///
/// # Errors
/// It cannot be built.
pub(crate) fn tool(workspace: &Workspace) -> Result<PathBuf, Failure> {
    cargo_tool(workspace, "cargo-deny", VERSION)
}

fn deny(workspace: &Workspace) -> Result<Program, Failure> {
    let tool = tool(workspace)?;
    Ok(Program::new(tool).folder(workspace.root()).args(["--all-features", "--locked"]))
}

fn from_the_network(workspace: &Workspace) -> Result<Ended, Failure> {
    let fetched = deny(workspace)?.env("GIT_TERMINAL_PROMPT", "0").args(["fetch", "db"]).hear()?;
    if fetched.code != 0 {
        return Ok(Ended::NotChecked(
            "the database cannot be fetched (`--advisory-db DIR` names a \
             copy)"
                .into(),
        ));
    }
    deny(workspace)?.args(["check", "--disable-fetch", "advisories"]).run()?;
    Ok(Ended::Passed("advisories of today".into()))
}

/// cargo-deny wants a git repository behind the usual address: the folder is copied and committed
/// in the build folder, and git is told to look there.
fn from_a_folder(workspace: &Workspace, folder: &Path) -> Result<Ended, Failure> {
    if !folder.join("crates").is_dir() {
        return Err(Failure::usage(format!(
            "{} is no RustSec database: it has no folder `crates`",
            folder.display()
        )));
    }
    let copy = workspace.scratch("tools")?.join("advisory-db");
    if copy.exists() {
        std::fs::remove_dir_all(&copy).map_err(io("remove the last copy of the database"))?;
    }
    copy_tree(folder, &copy).map_err(io("copy the database"))?;
    let git = || Program::new("git").folder(&copy);
    let identity = ["-c", "user.name=xtask", "-c", "user.email=xtask@localhost"];
    quiet(git().args(["init", "--quiet", "--initial-branch", "main"]))?;
    quiet(git().args(["add", "--all", "--force"]))?;
    quiet(git().args(identity).args([
        "-c",
        "commit.gpgsign=false",
        "commit",
        "--quiet",
        "--no-verify",
        "--message",
        "the database as given",
    ]))?;
    deny(workspace)?
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", format!("url.file://{}.insteadOf", copy.display()))
        .env("GIT_CONFIG_VALUE_0", DATABASE)
        .args(["check", "advisories"])
        .run()?;
    Ok(Ended::Passed(format!("against the copy in {}", folder.display())))
}

fn quiet(program: Program) -> Result<(), Failure> {
    let shown = program.to_string();
    let heard = program.hear()?;
    if heard.code == 0 {
        Ok(())
    } else {
        Err(Failure::machine(format!("`{shown}` failed: {}", heard.last_line())))
    }
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if entry.file_name() != ".git" {
                copy_tree(&entry.path(), &to.join(entry.file_name()))?;
            }
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_advisories_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::find().unwrap();
        let failure = from_a_folder(&workspace, folder.path()).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.sentence().unwrap().ends_with("it has no folder `crates`"));
    }
}
