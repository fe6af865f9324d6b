//! `bench`: runs the benches and prints what they compare, as ratios. Knows the names of the
//! pairs; absolute times are never printed as a result, since they belong to one machine.

use std::path::Path;

use clap::Args;

use crate::failure::{Failure, io};
use crate::workspace::Workspace;
use crate::{bubblewrap, conformance};

/// What is compared with what: criterion group, ours, the peer, and the most that the ratio may be,
/// where something was promised.
const PAIRS: &[(&str, &str, &str, Option<f64>)] = &[
    ("boundary/chat", "boundary", "value and walk", None),
    ("boundary/chat", "boundary", "value, walk and NFKC", Some(0.05)),
    ("boundary/structured", "boundary", "value and walk", None),
    ("path/short", "resolve, open, close", "openat, close", Some(1.15)),
    ("path/short", "resolve, open, look, close", "openat, fstat, close", Some(1.15)),
    ("path/33 components", "resolve, open, close", "openat, close", Some(1.15)),
    ("path/33 components", "resolve, open, look, close", "openat, fstat, close", Some(1.15)),
    ("gateway", "gateway, small", "axum echo, small", Some(2.0)),
    ("secrets/first record", "open", "libargon2", Some(0.8)),
    ("sandbox/launch", "strict", "bare bwrap", Some(1.25)),
    ("sandbox/launch", "strict, built ahead", "bare bwrap", None),
    ("sandbox/launch", "strict, built ahead", "strict", Some(1.0 / 3.0)),
];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only the benches whose name holds this.
    filter: Option<String>,
    /// Only print the ratios of the last run.
    #[arg(long)]
    ratios: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    if !options.ratios {
        bubblewrap::ensure(workspace)?;
        conformance::build(workspace)?;
        let runtime = workspace.built("release", "clawproof-runtime");
        let mut cargo = workspace
            .cargo()
            .env("PATH", workspace.path())
            .env("CLAWPROOF_RUNTIME", runtime)
            .args(["bench", "--locked", "--package", "clawproof-benches"]);
        if let Some(filter) = &options.filter {
            cargo = cargo.arg("--").arg(filter);
        }
        cargo.run()?;
    }
    let mut any = false;
    for (group, ours, peer, goal) in PAIRS {
        let folder = workspace.target().join("criterion");
        let (Some(ours_ns), Some(peer_ns)) =
            (median(&folder, group, ours)?, median(&folder, group, peer)?)
        else {
            continue;
        };
        any = true;
        let ratio = ours_ns / peer_ns;
        let promise = match goal {
            Some(goal) if ratio <= *goal => format!(" (within the {goal} that is promised)"),
            Some(goal) => format!(" (OVER the {goal} that is promised)"),
            None => String::new(),
        };
        println!("{group}: {ours} / {peer} = {ratio:.3}{promise}");
    }
    if any {
        Ok(())
    } else {
        Err(Failure::check("no bench has left an estimate: nothing compared"))
    }
}

/// The median of one bench of the last run, in nanoseconds.
fn median(folder: &Path, group: &str, bench: &str) -> Result<Option<f64>, Failure> {
    // Criterion's own naming of folders: what cannot stand in a file name becomes `_`.
    let file = folder
        .join(group.replace('/', "_"))
        .join(bench.replace('/', "_"))
        .join("new/estimates.json");
    if !file.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&file).map_err(io("read criterion's estimates"))?;
    let estimates: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Failure::machine(format!("{} is no JSON: {error}", file.display())))?;
    Ok(estimates.pointer("/median/point_estimate").and_then(serde_json::Value::as_f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_read_where_criterion_puts_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a_b/our way/new");
        std::fs::create_dir_all(&place).unwrap();
        let text = r#"{"mean":{"point_estimate":1.0},"median":{"point_estimate":12.5}}"#;
        std::fs::write(place.join("estimates.json"), text).unwrap();
        assert_eq!(median(folder.path(), "a/b", "our way").unwrap(), Some(12.5));
        assert_eq!(median(folder.path(), "a/b", "other").unwrap(), None);
    }
}
