//! `conformance`: builds the suite and the reference, and certifies one target. Knows how the
//! suite is called; must never soften its verdict: the exit code is the suite's own.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::bubblewrap;
use crate::failure::{Failure, io};
use crate::workspace::Workspace;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The target: the name of a manifest in conformance/targets, or the path of one.
    #[arg(long, default_value = "reference", value_name = "NAME|FILE")]
    target: String,
    /// The profile to certify; the target's own where none is named.
    #[arg(long)]
    profile: Option<String>,
    /// The program under test, where the manifest leaves it open (`${BIN}`): the reference
    /// runtime built here, unless another is named.
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Handed on to `clawproof run` (`--case ID`, `--jobs N`, `--seed N`, ...).
    #[arg(last = true)]
    suite: Vec<String>,
}

impl Options {
    /// The plain run against one of our own manifests.
    pub(crate) fn of(target: &str) -> Self {
        Self { target: target.to_owned(), profile: None, bin: None, suite: Vec::new() }
    }
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let manifest = manifest(&workspace.at("conformance/targets"), &options.target)?;
    bubblewrap::ensure(workspace)?;
    build(workspace)?;
    let folder = workspace.scratch("conformance")?;
    // What an earlier run left must not be taken for this one's.
    let (report, certificate) = (folder.join("report.json"), folder.join("certificate.json"));
    let page = folder.join("report.html");
    for stale in [&report, &page, &certificate] {
        if stale.exists() {
            std::fs::remove_file(stale).map_err(io("remove the last run's results"))?;
        }
    }
    let mut suite = workspace.program("release", "clawproof").arg("run");
    suite = suite.arg("--target").arg(&manifest).arg("--json").arg(&report);
    suite = suite.arg("--html").arg(&page);
    if let Some(bin) = &options.bin {
        suite = suite.arg("--bin").arg(bin);
    } else if let Some(program) = program_behind(workspace, &manifest) {
        suite = suite.arg("--bin").arg(program);
    }
    if let Some(profile) = &options.profile {
        suite = suite.arg("--profile").arg(profile);
    }
    // Who signs with a key of his own names it behind `--`.
    if !options.suite.iter().any(|argument| argument.starts_with("--signing-key")) {
        let key = local_key(workspace, &folder)?;
        suite = suite.arg("--certificate").arg(&certificate).arg("--signing-key").arg(&key);
        suite = suite.args(["--issuer", "cargo xtask conformance, with a key of this checkout"]);
    }
    let outcome = suite.args(&options.suite).run();
    if report.is_file() {
        eprintln!("report: {} and {}", report.display(), page.display());
    }
    if certificate.is_file() {
        let (file, key) = (certificate.display(), folder.join("signing-key.pub"));
        eprintln!("check it: target/release/clawproof verify {file} --key {}", key.display());
    }
    outcome
}

/// The program behind a manifest of ours, by its name, where the manifest leaves it open.
pub(crate) fn own_program(workspace: &Workspace, name: &str) -> Option<PathBuf> {
    match name {
        "reference" | "reference-launcher" => Some(workspace.built("release", "clawproof-runtime")),
        "naive" => Some(workspace.at("conformance/subjects/naive.py")),
        _ => None,
    }
}

/// The program behind a manifest. Whoever wrote one names his own with `--bin`: ours must never be
/// attacked in its place.
fn program_behind(workspace: &Workspace, manifest: &Path) -> Option<PathBuf> {
    let ours = manifest.parent() == Some(&workspace.at("conformance/targets"));
    let name = manifest.file_stem()?.to_str().filter(|_| ours)?;
    own_program(workspace, name)
}

/// The key pair of this checkout, made once. It shows that the files belong together, and nothing
/// about who ran the suite: for that, sign with a key that others know.
fn local_key(workspace: &Workspace, folder: &Path) -> Result<PathBuf, Failure> {
    let key = folder.join("signing-key");
    if !key.is_file() {
        workspace.program("release", "clawproof").arg("key").arg(&key).run()?;
    }
    Ok(key)
}

/// The three programs that a run needs, as they ship.
pub(crate) fn build(workspace: &Workspace) -> Result<(), Failure> {
    let mut cargo = workspace.cargo().args(["build", "--locked", "--release"]);
    for package in ["clawproof-runtime", "clawproof", "clawproof-probe"] {
        cargo = cargo.args(["--package", package]);
    }
    cargo.run()
}

fn manifest(folder: &Path, target: &str) -> Result<PathBuf, Failure> {
    let named = folder.join(format!("{target}.toml"));
    if named.is_file() {
        return Ok(named);
    }
    let given = PathBuf::from(target);
    if given.is_file() {
        return std::path::absolute(given).map_err(io("find the manifest"));
    }
    let mut known: Vec<_> = std::fs::read_dir(folder)
        .map_err(io("list conformance/targets"))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    known.sort();
    Err(Failure::usage(format!(
        "no target `{target}`: neither a file nor one of conformance/targets ({})",
        known.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_stands_for_no_manifest_of_others() {
        let workspace = Workspace::find().unwrap();
        let ours = workspace.at("conformance/targets");
        let program = |path: PathBuf| program_behind(&workspace, &path);
        assert!(program(ours.join("reference.toml")).unwrap().ends_with("clawproof-runtime"));
        assert!(program(ours.join("naive.toml")).unwrap().ends_with("naive.py"));
        assert_eq!(program(ours.join("codex.toml")), None);
        assert_eq!(program("/elsewhere/reference.toml".into()), None);
    }

    #[test]
    fn an_unknown_target_names_the_known_ones_and_is_wrong_use() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("reference.toml"), "").unwrap();
        let failure = manifest(folder.path(), "no-such-target").unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.sentence().unwrap().ends_with("(reference)"), "{failure:?}");
    }
}
