//! What a run ends in besides words on the terminal: the report in all its forms, the baseline's
//! judgement, the certificate, the exit code. It must never write a form that says more than another.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clawproof::oracle::matrix::KillMatrix;
use clawproof::report::baseline::Baseline;
use clawproof::report::certificate::envelope::SigningKey;
use clawproof::report::json::Report;
use clawproof::report::terminal::{Style, render};
use clawproof::report::{badge, html, junit, sarif};
use clawproof::verdict::Exit;

use super::certify::{self, SignArgs};
use super::disk::save;
use crate::{Said, usage};

/// The files that a report is written to.
#[derive(clap::Args, Default)]
pub(crate) struct Files {
    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write it as one HTML page that needs no network.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write it as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write it as SARIF 2.1.0.
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// Write the verdict as an SVG badge.
    #[arg(long, value_name = "FILE")]
    badge: Option<PathBuf>,
    /// Write the verdict as the JSON of shields' endpoint badge.
    #[arg(long, value_name = "FILE")]
    shields: Option<PathBuf>,
    /// The known failures: with them, and no other, the exit code is 0. They never help a
    /// certificate.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// How the report is shown.
pub(crate) struct Shown<'a> {
    /// The command line up to `--case`.
    pub(crate) again: &'a str,
    /// The manifest, as code scanning is to name it.
    pub(crate) manifest: &'a str,
    /// Evidence of every case.
    pub(crate) evidence: bool,
}

impl Files {
    /// Reads the known failures before a run, so that a wrong file is said at once.
    pub(crate) fn baseline(&self) -> Result<Option<Baseline>, (Exit, String)> {
        let load = |path: &PathBuf| Baseline::load(path, today()).map_err(usage);
        self.baseline.as_ref().map(load).transpose()
    }

    /// Writes every form that was asked for but JSON.
    pub(crate) fn write(
        &self,
        reports: &[Report],
        again: &str,
        manifest: &str,
    ) -> Result<(), (Exit, String)> {
        let harness = |words: String| (Exit::Harness, words);
        if let Some(path) = &self.html {
            let matrix =
                KillMatrix::shipped().map_err(|error| (Exit::Harness, error.to_string()))?;
            save(path, html::render(reports, &matrix, again).map_err(harness)?.as_bytes())?;
        }
        let [report] = reports else {
            let single = [&self.junit, &self.sarif, &self.badge, &self.shields];
            return match single.iter().any(|path| path.is_some()) {
                true => Err(usage("only --html and --json take several reports")),
                false => Ok(()),
            };
        };
        if let Some(path) = &self.junit {
            save(path, junit::render(report).map_err(harness)?.as_bytes())?;
        }
        if let Some(path) = &self.sarif {
            save(path, &pretty(&sarif::render(report, manifest))?)?;
        }
        if let Some(path) = &self.badge {
            save(path, badge::svg(report).map_err(harness)?.as_bytes())?;
        }
        if let Some(path) = &self.shields {
            save(path, &pretty(&badge::endpoint(report))?)?;
        }
        Ok(())
    }
}

/// Ends a run or a merge: judges it by the baseline, writes and prints the report, and signs it if
/// it earned that.
pub(crate) fn finish(
    mut report: Report,
    baseline: Option<&Baseline>,
    files: &Files,
    sign: &SignArgs,
    key: Option<&SigningKey>,
    shown: &Shown<'_>,
) -> Said {
    report.baseline = baseline.map(|baseline| baseline.judge(&report, today()));
    let json = pretty(&report)?;
    if let Some(path) = &files.json {
        save(path, &json)?;
    }
    files.write(std::slice::from_ref(&report), shown.again, shown.manifest)?;
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let style = Style { colour, again: shown.again.to_owned(), evidence: shown.evidence };
    crate::print(render(&report, &style).lines().map(str::to_owned));
    certify::certify(sign, key, &report, &json)?;
    let exit = report.baseline.as_ref().map_or(report.summary.exit, |judged| judged.exit);
    Ok(ExitCode::from(exit))
}

fn today() -> jiff::civil::Date {
    jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).date()
}

fn pretty(value: &impl serde::Serialize) -> Result<Vec<u8>, (Exit, String)> {
    serde_json::to_vec_pretty(value).map_err(|error| (Exit::Harness, error.to_string()))
}
