//! `clawproof merge`, `report`, `compare` and `baseline`: what can be done with reports once they are
//! written. It must never start a target.

use std::path::PathBuf;
use std::process::ExitCode;

use clawproof::oracle::matrix::digest;
use clawproof::report::baseline::Baseline;
use clawproof::report::contrast::Again;
use clawproof::report::json::{Report, SCHEMA};
use clawproof::report::{compare, merge};
use clawproof::verdict::Exit;

use super::certify::{self, SignArgs};
use super::disk::save;
use super::files::{Files, Shown, finish};
use crate::{Said, usage};

/// What `merge` needs.
#[derive(clap::Args)]
pub(crate) struct MergeArgs {
    /// The JSON reports of all parts, in any order.
    #[arg(value_name = "REPORT", required = true)]
    reports: Vec<PathBuf>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    sign: SignArgs,
}

/// What `report` needs.
#[derive(clap::Args)]
pub(crate) struct ReportArgs {
    /// The JSON report; for --html also several of one target on different systems.
    #[arg(value_name = "REPORT", required = true)]
    reports: Vec<PathBuf>,
    /// The manifest, as SARIF is to name it; by default the target's name.
    #[arg(long, value_name = "FILE")]
    manifest: Option<String>,
    #[command(flatten)]
    files: Files,
}

/// What `compare` needs.
#[derive(clap::Args)]
pub(crate) struct CompareArgs {
    /// The JSON reports to show side by side.
    #[arg(value_name = "REPORT", required = true, num_args = 2..)]
    reports: Vec<PathBuf>,
    /// Also show what is the same everywhere.
    #[arg(long)]
    all: bool,
    /// Of runs of one target: say where they came to other verdicts, and end with 1 if they did.
    #[arg(long, conflicts_with_all = ["all", "html"])]
    verdicts: bool,
    /// Also write the comparison as one HTML page that needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also write the comparison as JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "verdicts")]
    json: Option<PathBuf>,
    /// The command line that plays a case again, with `{target}`, `{seed}` and `{case}` in it.
    #[arg(long, value_name = "LINE", default_value = Again::default().0)]
    again: String,
}

/// What `baseline` needs.
#[derive(clap::Args)]
pub(crate) struct BaselineArgs {
    /// The JSON report.
    #[arg(value_name = "REPORT")]
    report: PathBuf,
}

fn load(paths: &[PathBuf]) -> Result<Vec<Report>, (Exit, String)> {
    paths
        .iter()
        .map(|path| {
            let name = path.display();
            let text = std::fs::read(path)
                .map_err(|error| usage(format!("cannot read {name}: {error}")))?;
            let report: Report = serde_json::from_slice(&text)
                .map_err(|error| usage(format!("{name} is no report of this suite: {error}")))?;
            if report.schema != SCHEMA {
                return Err(usage(format!("{name} is of schema {}, not {SCHEMA}", report.schema)));
            }
            Ok(report)
        })
        .collect()
}

/// Joins the parts of a run; the exit code is the whole run's.
pub(crate) fn merge(args: &MergeArgs) -> Said {
    let key = certify::signing_key(&args.sign)?;
    let parts = load(&args.reports)?;
    let revision = parts.first().map_or("", |part| part.revision.as_str());
    let spec = super::spec(revision)?;
    let text = clawproof::spec::text(revision).unwrap_or_default();
    let ours = digest(text.as_bytes());
    if parts.iter().any(|part| part.made.requirements != ours) {
        return Err(usage("these reports are of other requirements than this suite's"));
    }
    let matrix = digest(clawproof::oracle::matrix::SHIPPED.as_bytes());
    let signs = key.is_some() || args.sign.predicate.is_some();
    if signs && parts.iter().any(|part| part.made.matrix != matrix) {
        return Err(usage(
            "a certificate stands on the shipped kill matrix: these runs had another",
        ));
    }
    let report = merge::merge(&parts, &spec).map_err(usage)?;
    let baseline = args.files.baseline()?;
    let again = again(&report);
    let manifest = format!("{}.toml", report.target.name);
    let shown = Shown { again: &again, manifest: &manifest, evidence: false };
    finish(report, baseline.as_ref(), &args.files, &args.sign, key.as_ref(), &shown)
}

/// Writes a report in other forms.
pub(crate) fn convert(args: &ReportArgs) -> Said {
    let reports = load(&args.reports)?;
    if args.files.json.is_some() {
        return Err(usage("a report is JSON already; parts of a run are joined by `merge`"));
    }
    if args.files.baseline()?.is_some() {
        return Err(usage("a baseline belongs to `run` or `merge`, whose exit code it decides"));
    }
    let again = reports.first().map(again).unwrap_or_default();
    let name = reports.first().map_or("", |report| report.target.name.as_str());
    let manifest = args.manifest.clone().unwrap_or_else(|| format!("{name}.toml"));
    args.files.write(&reports, &again, &manifest)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows reports side by side.
pub(crate) fn compare(args: &CompareArgs) -> Said {
    let reports = load(&args.reports)?;
    if args.verdicts {
        let found = compare::differences(&reports).map_err(usage)?;
        if found.is_empty() {
            let count = reports.first().map_or(0, |report| report.cases.len());
            println!("the same verdicts in {} runs of {count} cases", reports.len());
            return Ok(ExitCode::SUCCESS);
        }
        crate::print(found.iter().cloned());
        return Err((Exit::Failed, format!("{} verdicts differ", found.len())));
    }
    let again = Again(&args.again);
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&compare::json(&reports, again));
        save(path, &json.map_err(|error| (Exit::Harness, error.to_string()))?)?;
    }
    if let Some(path) = &args.html {
        let page = compare::html(&reports, again).map_err(|words| (Exit::Harness, words))?;
        save(path, page.as_bytes())?;
    }
    Ok(crate::print(compare::terminal(&reports, args.all, again).lines().map(str::to_owned)))
}

/// Prints the entries that would make this report's failures known, for a person to fill in.
pub(crate) fn baseline(args: &BaselineArgs) -> Said {
    let reports = load(std::slice::from_ref(&args.report))?;
    let draft = reports.first().map(Baseline::draft).unwrap_or_default();
    let text = toml::to_string(&draft).map_err(|error| (Exit::Harness, error.to_string()))?;
    Ok(crate::print(text.lines().map(str::to_owned)))
}

fn again(report: &Report) -> String {
    format!("clawproof run --target {} --seed {}", report.target.name, report.seed)
}
