//! `attacks`: the corpora, through the suite's own library. Must never judge a record by itself.

use clap::Subcommand;

use crate::failure::Failure;
use crate::summary::Ended;
use crate::workspace::Workspace;

#[derive(Subcommand, Debug)]
pub(crate) enum Action {
    /// Check every record.
    Lint,
}

pub(crate) fn run(workspace: &Workspace, action: &Action) -> Result<(), Failure> {
    match action {
        Action::Lint => lint(workspace).map(|_| ()),
    }
}

/// Checks every record; also a step of `test`.
pub(crate) fn lint(workspace: &Workspace) -> Result<Ended, Failure> {
    let folder = workspace.at("attacks");
    if !folder.is_dir() {
        return Ok(Ended::NotChecked("there is no corpus yet".into()));
    }
    Err(Failure::machine("the corpus is there, but nothing in this build reads it"))
}
