//! `setup`: what the other commands need. Knows which tools there are, not what they are for.

use crate::failure::Failure;
use crate::process::find;
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
