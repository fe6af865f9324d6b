//! The suite's command: `clawproof run | verify | key | spec | probe | targets | schema`.
//! It must never decide a verdict: it calls the library and says what it said.

mod command;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use clawproof::corpus::Corpus;
use clawproof::oracle::matrix::{KillMatrix, digest};
use clawproof::report::json::{Report, TargetFacts};
use clawproof::report::progress::{Bar, Lines};
use clawproof::report::terminal::{Style, render};
use clawproof::run::{Plan, Progress, run};
use clawproof::spec::{Level, Spec};
use clawproof::target::binary::Program;
use clawproof::target::manifest::{DriverKind, Manifest};
use clawproof::target::shipped;
use clawproof::target::template::nearest;
use clawproof::verdict::Exit;

use command::certify::{self, KeyArgs, SignArgs, VerifyArgs};

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
    /// Check a certificate, offline.
    Verify(VerifyArgs),
    /// Make a key pair to sign certificates with.
    Key(KeyArgs),
    /// List the requirements.
    Spec,
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

#[derive(Clone, Copy, clap::ValueEnum)]
enum SchemaOf {
    /// The report that `run --json` writes.
    Report,
    /// A target's manifest.
    Manifest,
    /// A corpus record.
    Record,
}

#[derive(clap::Args)]
struct RunArgs {
    /// The target: a manifest file, or the name of a shipped one.
    #[arg(long, value_name = "FILE|NAME")]
    target: String,
    /// The program under test, in place of the one that the manifest names.
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// A profile to certify, in place of those that the manifest claims; may be repeated.
    #[arg(long, value_name = "PROFILE")]
    profile: Vec<String>,
    /// Only this case, record or head of scenarios; may be repeated.
    #[arg(long = "case", value_name = "ID")]
    cases: Vec<String>,
    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many targets run side by side; by default two for each processor: much of the time they wait.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Also play the cases that wait for a minute to pass.
    #[arg(long)]
    slow: bool,
    /// The seed of the order; random by default.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The check that a target built for it is to leave out.
    #[arg(long, value_name = "ID")]
    knockout: Option<String>,
    /// The folder of attacks; by default `attacks` here or in a folder above.
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Another kill matrix than the shipped one.
    #[arg(long, value_name = "FILE")]
    matrix: Option<PathBuf>,
    /// Show the evidence of every case.
    #[arg(long)]
    evidence: bool,
    /// Where this is root: run the target as root too. The sandbox profile is to hold then as
    /// well; refusing to run anything is the other right answer.
    #[arg(long)]
    as_root: bool,
    /// Show no progress.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    sign: SignArgs,
}

fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Mode::Run(args) => attack(&args),
        Mode::Verify(args) => certify::verify(&args),
        Mode::Key(args) => certify::make_key(&args),
        Mode::Spec => list_spec(),
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

fn attack(args: &RunArgs) -> Said {
    if args.as_root {
        clawproof::target::world::keep_root();
        if !clawproof::target::world::targets_are_root() {
            return Err(usage("--as-root is for a suite that is root itself"));
        }
    }
    let key = certify::signing_key(&args.sign)?;
    if key.is_some() && args.matrix.is_some() {
        return Err(usage("a certificate stands on the shipped kill matrix: leave out --matrix"));
    }
    if key.is_some() && args.as_root {
        return Err(usage("the run as root is beside the one that can be certified"));
    }
    let (manifest, text) = manifest(&args.target)?;
    let program = Program::find(&manifest, args.bin.as_deref()).map_err(usage)?;
    let spec = Spec::load().map_err(|error| (Exit::Harness, error.to_string()))?;
    let matrix = match &args.matrix {
        Some(path) => KillMatrix::load(path).map_err(usage)?,
        None => KillMatrix::shipped().map_err(|error| (Exit::Harness, error.to_string()))?,
    };
    let profiles = if args.profile.is_empty() { &manifest.profiles } else { &args.profile };
    if profiles.is_empty() {
        return Err(usage("the manifest claims no profile: name one with --profile"));
    }
    let plan = Plan {
        binary: program.path().to_owned(),
        knockout: args.knockout.clone(),
        spec,
        corpus: corpus(args, &manifest)?,
        matrix,
        profiles: profiles.clone(),
        only: args.cases.clone(),
        seed: args.seed.unwrap_or_else(random_seed),
        jobs: args.jobs.unwrap_or_else(|| 2 * processors()),
        slow: args.slow,
        manifest: Arc::new(manifest),
    };
    let results = block_on(&plan, args.quiet)?;
    let target = TargetFacts {
        name: plan.manifest.name.clone(),
        title: plan.manifest.title.clone(),
        program: program.digest().to_owned(),
        manifest: digest(text.as_bytes()),
    };
    let report = Report::new(&plan, results, target);
    let json =
        serde_json::to_vec_pretty(&report).map_err(|error| (Exit::Harness, error.to_string()))?;
    if let Some(path) = &args.json {
        std::fs::write(path, &json)
            .map_err(|error| usage(format!("cannot write {}: {error}", path.display())))?;
    }
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let style = Style { colour, again: again(args, &plan), evidence: args.evidence };
    print(render(&report, &style).lines().map(str::to_owned));
    if let Some(key) = &key {
        certify::certify(&args.sign, key, &report, &json)?;
    }
    Ok(ExitCode::from(report.summary.exit))
}

/// Runs until the end or an interruption; in both cases nothing is left behind.
fn block_on(plan: &Plan, quiet: bool) -> Result<clawproof::run::Results, (Exit, String)> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| (Exit::Harness, format!("no runtime: {error}")))?;
    let progress: Box<dyn Progress> = match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(Silent),
        (false, true) => Box::new(Bar::default()),
        (false, false) => Box::new(Lines::default()),
    };
    runtime.block_on(async {
        // The run is dropped when the other branch wins: its targets and folders go with it.
        tokio::select! {
            results = run(plan, &*progress) => {
                results.map_err(|error| (error.exit(), error.to_string()))
            }
            () = interrupted() => Err((Exit::Harness, "interrupted".to_owned())),
        }
    })
}

#[cfg(unix)]
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let waits = signals.into_iter().map(|kind| {
        Box::pin(async move {
            match signal(kind) {
                Ok(mut stream) => {
                    stream.recv().await;
                }
                Err(_) => std::future::pending().await,
            }
        })
    });
    futures_util::future::select_all(waits).await;
}

#[cfg(not(unix))]
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

struct Silent;

impl Progress for Silent {
    fn begin(&self, _total: usize) {}
    fn ended(&self, _case: &str, _milliseconds: u64) {}
}

fn manifest(target: &str) -> Result<(Manifest, String), (Exit, String)> {
    let path = Path::new(target);
    if let (false, Some(text)) = (path.is_file(), shipped::find(target)) {
        return Ok((Manifest::parse(text, path).map_err(usage)?, text.to_owned()));
    }
    if !path.exists() && !target.contains(['/', '.']) {
        let names = shipped::MANIFESTS.iter().map(|(name, _)| *name);
        let near = nearest(target, names.clone()).map(|near| format!("; did you mean `{near}`?"));
        let list = format!("; there are {}", names.collect::<Vec<_>>().join(", "));
        return Err(usage(format!("no target `{target}`{}", near.unwrap_or(list))));
    }
    let manifest = Manifest::load(path).map_err(usage)?;
    let text = std::fs::read_to_string(path).map_err(usage)?;
    Ok((manifest, text))
}

fn corpus(args: &RunArgs, manifest: &Manifest) -> Result<Corpus, (Exit, String)> {
    if let Some(folder) = &args.corpus {
        return Corpus::load(folder).map_err(usage);
    }
    if manifest.driver == DriverKind::Launcher {
        return Ok(Corpus { records: Vec::new() });
    }
    let here = std::env::current_dir().ok();
    let own = std::env::current_exe().ok();
    let starts = [here, own.and_then(|path| path.parent().map(Path::to_owned))];
    let found = starts
        .iter()
        .flatten()
        .flat_map(|start| start.ancestors())
        .map(|folder| folder.join("attacks"))
        .find(|folder| folder.join("PT").is_dir());
    let folder = found.ok_or_else(|| {
        usage("no folder `attacks` here or above: name the corpus with --corpus DIR")
    })?;
    Corpus::load(&folder).map_err(usage)
}

fn again(args: &RunArgs, plan: &Plan) -> String {
    let mut line = format!("clawproof run --target {}", args.target);
    if let Some(path) = &args.bin {
        line.push_str(&format!(" --bin {}", path.display()));
    }
    if let Some(id) = &args.knockout {
        line.push_str(&format!(" --knockout {id}"));
    }
    format!("{line} --seed {}", plan.seed)
}

fn random_seed() -> u64 {
    u64::from_str_radix(&clawproof::target::world::random_hex(4), 16).unwrap_or(1)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

fn list_spec() -> Said {
    let spec = Spec::load().map_err(|error| (Exit::Harness, error.to_string()))?;
    let rows = spec.requirements.iter().map(|row| {
        let level = if row.level == Level::Must { "MUST" } else { "SHOULD" };
        format!("{:34} {level:6} {}", row.id, row.sentence)
    });
    Ok(print(rows))
}

fn list_probes() -> Said {
    Ok(print(clawproof::scenario::probes::list().lines().map(str::to_owned)))
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
