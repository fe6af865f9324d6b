//! `setup`: what the other commands need. Knows which tools there are, not what they are for.

use crate::failure::Failure;
use crate::process::{Program, find};
use crate::summary::{Ended, Summary};
use crate::workspace::Workspace;
use crate::{bubblewrap, deny};

pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let mut summary = Summary::default();
    summary.step("bubblewrap", || {
        Ok(match bubblewrap::ensure(workspace)? {
            Some(at) => Ended::Passed(at.display().to_string()),
            None => Ended::NotChecked("not needed on this system".into()),
        })
    });
    summary.step("cargo-deny", || Ok(Ended::Passed(deny::tool(workspace)?.display().to_string())));
    summary.step("cargo-nextest", || {
        Ok(find("cargo-nextest", &[&workspace.tool_bin()]).map_or_else(
            || Ended::NotChecked("not there; `cargo test` is used in its place".into()),
            |at| Ended::Passed(at.display().to_string()),
        ))
    });
    summary.finish()
}

/// A cargo tool: from PATH, from the build folder, else built into the build folder by
/// `cargo install`, which takes minutes once.
///
/// # Errors
/// It is not there and cannot be built.
pub(crate) fn cargo_tool(
    workspace: &Workspace,
    name: &str,
    version: &str,
) -> Result<std::path::PathBuf, Failure> {
    let bin = workspace.tool_bin();
    if let Some(found) = find(name, &[&bin]) {
        return Ok(found);
    }
    eprintln!("{name} is missing: building {version} into {} (minutes, once)", bin.display());
    Program::cargo()
        .folder(workspace.root())
        .args(["install", "--locked", "--quiet", "--root"])
        .arg(workspace.tools())
        .arg(format!("{name}@{version}"))
        .run()?;
    find(name, &[&bin])
        .ok_or_else(|| Failure::machine(format!("`cargo install {name}` left no {name} behind")))
}
