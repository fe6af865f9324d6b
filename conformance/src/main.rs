//! The suite's command: `clawproof run | merge | report | compare | baseline | verify | key | adapter |
//! spec | probe | targets | schema`. It must never decide a verdict: it calls the library and says what it
//! said.

mod command;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clawproof::report::baseline::Baseline;
use clawproof::report::json::Report;
use clawproof::spec::Level;
use clawproof::target::manifest::Manifest;
use clawproof::target::shipped;
use clawproof::verdict::Exit;

use command::adapter::{self, CheckArgs};
use command::certify::{self, KeyArgs, VerifyArgs};
use command::reports::{self, BaselineArgs, CompareArgs, MergeArgs, ReportArgs};
use command::run::{self, RunArgs};

/// Shows, black-box, which defences of an agent runtime or sandbox hold.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 certified, 1 failed, 2 wrong call or manifest, \
    3 the suite failed, 4 inconclusive."
)]
struct Cli {
    #[command(subcommand)]
    command: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Attack a target and say what held.
    Run(Box<RunArgs>),
    /// Join the reports of all parts of a split run.
    Merge(Box<MergeArgs>),
    /// Write a report in other forms.
    Report(ReportArgs),
    /// Show several reports side by side.
    Compare(CompareArgs),
    /// Draft a baseline of what keeps a report from a certificate.
    Baseline(BaselineArgs),
    /// Check a certificate, offline.
    Verify(VerifyArgs),
    /// Make a key pair to sign certificates with.
    Key(KeyArgs),
    /// Work on an adapter, through which the suite reaches a target in any language.
    Adapter {
        #[command(subcommand)]
        action: AdapterAction,
    },
    /// List the requirements.
    Spec {
        /// Of this revision.
        #[arg(long, value_name = "REVISION", default_value = clawproof::spec::NEWEST)]
        requirements: String,
        /// The hash of each instead, as the file that freezes them has it.
        #[arg(long)]
        hashes: bool,
    },
    /// List the boundary probes.
    Probe {
        /// List them.
        #[arg(long, required = true)]
        list: bool,
    },
    /// List the targets whose manifests are shipped.
    Targets,
    /// Print a JSON Schema.
    Schema {
        /// Of what.
        #[arg(value_enum)]
        what: SchemaOf,
    },
}

#[derive(Subcommand)]
enum AdapterAction {
    /// Say frame by frame whether an adapter speaks the protocol.
    Check(CheckArgs),
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SchemaOf {
    /// The report that `run --json` writes.
    Report,
    /// A target's manifest.
    Manifest,
    /// A corpus record.
    Record,
    /// A file of known failures.
    Baseline,
}

fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Mode::Run(args) => run::attack(&args),
        Mode::Merge(args) => reports::merge(&args),
        Mode::Report(args) => reports::convert(&args),
        Mode::Compare(args) => reports::compare(&args),
        Mode::Baseline(args) => reports::baseline(&args),
        Mode::Verify(args) => certify::verify(&args),
        Mode::Key(args) => certify::make_key(&args),
        Mode::Adapter { action: AdapterAction::Check(args) } => adapter::check(&args),
        Mode::Spec { requirements, hashes } => list_spec(&requirements, hashes),
        Mode::Probe { .. } => list_probes(),
        Mode::Targets => list_targets(),
        Mode::Schema { what } => print_schema(what),
    };
    exit.unwrap_or_else(|(exit, words)| {
        eprintln!("clawproof: {words}");
        ExitCode::from(exit as u8)
    })
}

type Said = Result<ExitCode, (Exit, String)>;

fn usage(words: impl ToString) -> (Exit, String) {
    (Exit::Usage, words.to_string())
}

fn list_spec(revision: &str, hashes: bool) -> Said {
    let spec = command::spec(revision)?;
    if hashes {
        return Ok(print(spec.hashes().lines().map(str::to_owned)));
    }
    let rows = spec.requirements.iter().map(|row| {
        let level = if row.level == Level::Must { "MUST" } else { "SHOULD" };
        format!("{:34} {level:6} {}", row.id, row.sentence)
    });
    Ok(print(rows))
}

fn list_probes() -> Said {
    let text = clawproof::scenario::listing::list();
    Ok(print(text.lines().map(str::to_owned)))
}

fn list_targets() -> Said {
    let mut rows = Vec::new();
    for (name, text) in shipped::MANIFESTS {
        let manifest = Manifest::parse(text, Path::new(name)).map_err(usage)?;
        rows.push(format!("{name:20} {}", manifest.title));
    }
    Ok(print(rows.into_iter()))
}

fn print_schema(what: SchemaOf) -> Said {
    let schema = match what {
        SchemaOf::Report => Report::json_schema(),
        SchemaOf::Manifest => schemars::schema_for!(Manifest).to_value(),
        SchemaOf::Record => schemars::schema_for!(clawproof::corpus::Record).to_value(),
        SchemaOf::Baseline => schemars::schema_for!(Baseline).to_value(),
    };
    Ok(print(std::iter::once(format!("{schema:#}"))))
}

/// Prints lines; a reader that has gone away (`| head`) is no error.
fn print(lines: impl Iterator<Item = String>) -> ExitCode {
    let mut out = std::io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
