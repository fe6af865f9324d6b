//! Tools that cargo builds. It must never know what one is for.

use crate::failure::Failure;
use crate::process::{Program, find};
use crate::workspace::Workspace;

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
