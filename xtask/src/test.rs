//! `test`: every check of the repository but the attack itself, in the order of what fails
//! fastest. Knows which checks there are; each runs whatever the ones before it said.

use std::path::Path;

use clap::Args;

use crate::failure::{Failure, io};
use crate::process::find;
use crate::summary::{Ended, Summary};
use crate::workspace::Workspace;
use crate::{attacks, bubblewrap, deny, knockouts, sdk, tidy};

/// A snapshot that differs or is missing fails and is never written here; who means the change runs
/// the test with `INSTA_UPDATE=always` and looks at the difference.
const SNAPSHOTS: &str = "no";

#[derive(Args, Debug, Default)]
pub(crate) struct Options {
    #[command(flatten)]
    deny: deny::Options,
}

impl Options {
    /// The same checks with these options of `deny`.
    pub(crate) fn with(deny: deny::Options) -> Self {
        Self { deny }
    }
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let mut counted = None;
    let mut summary = Summary::default();
    summary.step("fmt", || {
        workspace.cargo().args(["fmt", "--all", "--check"]).run()?;
        Ok(Ended::Passed(String::new()))
    });
    summary.step("tidy", || tidy::check(workspace));
    summary.step("clippy", || clippy(workspace, &["--workspace"]));
    summary.step("clippy knockout", || {
        let features = "clawproof-runtime/knockout";
        clippy(workspace, &["--package", "clawproof-runtime", "--features", features])
    });
    summary.step("bubblewrap", || {
        Ok(match bubblewrap::ensure(workspace)? {
            Some(at) => Ended::Passed(at.display().to_string()),
            None => Ended::NotChecked("not needed on this system".into()),
        })
    });
    summary.step("browser", || Ok(browser(workspace)));
    summary.step("tests", || tests(workspace, &mut counted));
    summary.step("doc tests", || {
        workspace.cargo().args(["test", "--workspace", "--doc", "--locked", "--quiet"]).run()?;
        Ok(Ended::Passed(String::new()))
    });
    summary.step("docs", || {
        workspace
            .cargo()
            .env("RUSTDOCFLAGS", "-D warnings")
            .args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .run()?;
        Ok(Ended::Passed(String::new()))
    });
    summary.step("sdk", || sdk::compiled(workspace, false));
    summary.step("attacks", || attacks::lint(workspace));
    summary.step("matrices", || knockouts::committed(workspace));
    deny::steps(&mut summary, workspace, &options.deny);
    let finished = summary.finish();
    if let Some((passed, failed)) = counted {
        println!("{passed} passed, {failed} failed");
    }
    finished
}

fn clippy(workspace: &Workspace, what: &[&str]) -> Result<Ended, Failure> {
    workspace
        .cargo()
        .args(["clippy", "--locked", "--quiet", "--all-targets"])
        .args(what)
        .args(["--", "-D", "warnings"])
        .run()?;
    Ok(Ended::Passed(String::new()))
}

/// The tests of the HTML pages need a browser, and pass without one: what they showed is said here.
fn browser(workspace: &Workspace) -> Ended {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    match names.iter().find_map(|name| find(name, &[&workspace.tool_bin()])) {
        Some(at) => Ended::Passed(at.display().to_string()),
        None => Ended::NotChecked(
            "there is no chromium here: the HTML pages are not looked at in a browser".into(),
        ),
    }
}

/// nextest where it stands; its report in JUnit's form gives the counts.
fn tests(workspace: &Workspace, counted: &mut Option<(u64, u64)>) -> Result<Ended, Failure> {
    let path = workspace.path();
    if find("cargo-nextest", &[&workspace.tool_bin()]).is_none() {
        workspace
            .cargo()
            .env("PATH", path)
            .env("INSTA_UPDATE", SNAPSHOTS)
            .args(["test", "--workspace", "--all-targets", "--locked", "--no-fail-fast"])
            .run()?;
        return Ok(Ended::Passed("by `cargo test`: nextest is not here".into()));
    }
    let report = workspace.target().join("nextest/default/junit.xml");
    let _ = std::fs::remove_file(&report);
    let ran = workspace
        .cargo()
        .env("PATH", path)
        .env("INSTA_UPDATE", SNAPSHOTS)
        .args(["nextest", "run", "--workspace", "--locked", "--no-fail-fast"])
        .run();
    *counted = Some(read_counts(&report)?);
    ran?;
    let (passed, _) = counted.unwrap_or_default();
    Ok(Ended::Passed(format!("{passed} tests")))
}

fn read_counts(report: &Path) -> Result<(u64, u64), Failure> {
    let text = std::fs::read_to_string(report).map_err(io("read the report of nextest"))?;
    counts(&text).ok_or_else(|| Failure::machine("the report of nextest has no counts"))
}

/// Passed and failed, from the attributes of JUnit's outermost element.
fn counts(report: &str) -> Option<(u64, u64)> {
    let (_, rest) = report.split_once("<testsuites ")?;
    let (head, _) = rest.split_once('>')?;
    let number = |name: &str| {
        let (_, value) = head.split_once(&format!("{name}=\""))?;
        value.split_once('"')?.0.parse::<u64>().ok()
    };
    let failed = number("failures")? + number("errors")?;
    Some((number("tests")?.checked_sub(failed)?, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_read_from_the_outermost_element() {
        let report = r#"<?xml version="1.0"?>
<testsuites name="nextest-run" tests="12" failures="2" errors="1" uuid="x">
    <testsuite name="a" tests="5" failures="0" errors="0">"#;
        assert_eq!(counts(report), Some((9, 3)));
        assert_eq!(counts("<testsuites name=\"x\">"), None);
    }
}
