//! `clawproof run`: from arguments to a plan, and from its results to a report. It must never look
//! into a result.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawproof::corpus::Corpus;
use clawproof::oracle::matrix::{KillMatrix, digest};
use clawproof::report::json::{Made, Report, TargetFacts};
use clawproof::report::progress::{Bar, Lines};
use clawproof::run::{Plan, Progress, Shard, run};
use clawproof::scenario::Lab;
use clawproof::target::binary::Program;
use clawproof::target::manifest::{DriverKind, Manifest};
use clawproof::target::namespaces;
use clawproof::target::shipped;
use clawproof::target::template::nearest;
use clawproof::verdict::Exit;

use super::certify::{self, SignArgs};
use super::explore::{self, ExploreArgs};
use super::files::{Files, Shown, finish};
use super::wordlist::{self, ListArgs};
use crate::{Said, usage};

/// What `run` needs.
#[derive(clap::Args)]
pub(crate) struct RunArgs {
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
    /// The frozen set of requirements to certify.
    #[arg(long, value_name = "REVISION", default_value = clawproof::spec::NEWEST)]
    requirements: String,
    /// Play only this part of the cases, as `2/4`; `clawproof merge` joins the reports. All parts
    /// need the same --seed.
    #[arg(long, value_name = "K/N", requires = "seed", conflicts_with = "cases")]
    shard: Option<Shard>,
    /// End at the first case that fails.
    #[arg(long)]
    fail_fast: bool,
    /// Play every attack in another form too, not one of each class alone.
    #[arg(long)]
    every_form: bool,
    /// How many targets run side by side; by default two for each processor: much of the time they
    /// wait.
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
    /// Show the evidence of every case, as --case does.
    #[arg(long)]
    evidence: bool,
    /// Where this is root: run the target as root too. The sandbox profile is to hold then as
    /// well; refusing to run anything is the other right answer.
    #[arg(long)]
    as_root: bool,
    /// Where this is root: run everything in namespaces of its own, with a network in which there is
    /// nothing but loopback, so that no target reaches out.
    #[arg(long)]
    own_namespaces: bool,
    /// Show no progress.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    explore: ExploreArgs,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    sign: SignArgs,
}

/// Attacks a target and says what held.
pub(crate) fn attack(args: &RunArgs) -> Said {
    if args.own_namespaces && !namespaces::entered() {
        own_namespaces()?;
    }
    let _tidy = namespaces::tidy();
    if args.as_root {
        clawproof::target::world::keep_root();
        if !clawproof::target::world::targets_are_root() {
            return Err(usage("--as-root is for a suite that is root itself"));
        }
    }
    let key = certify::signing_key(&args.sign)?;
    let signs = key.is_some() || args.sign.predicate.is_some();
    if signs && args.as_root {
        return Err(usage("the run as root is beside the one that can be certified"));
    }
    if signs && args.matrix.is_some() {
        return Err(usage("a certificate stands on the shipped kill matrix: leave out --matrix"));
    }
    let (manifest, text) = manifest(&args.target)?;
    let program = Program::find(&manifest, args.bin.as_deref()).map_err(usage)?;
    let jobs = args.jobs.unwrap_or_else(|| 2 * processors());
    if let Some(file) = &args.list.list {
        let lab = Lab::new(Arc::new(manifest), program.path().to_owned(), args.knockout.clone());
        return wordlist::run(&args.list, file, &lab, jobs);
    }
    if let Some(count) = args.explore.explore {
        let lab = Lab::new(Arc::new(manifest), program.path().to_owned(), args.knockout.clone());
        let seed = args.seed.unwrap_or_else(random_seed);
        return explore::run(&args.explore, &lab, count, seed);
    }
    let spec = super::spec(&args.requirements)?;
    let baseline = args.files.baseline()?;
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
        jobs,
        slow: args.slow,
        shard: args.shard,
        fail_fast: args.fail_fast,
        every_form: args.every_form,
        manifest: Arc::new(manifest),
    };
    let results = block_on(&plan, args.quiet)?;
    let target = TargetFacts {
        name: plan.manifest.name.clone(),
        title: plan.manifest.title.clone(),
        program: program.digest().to_owned(),
        manifest: digest(text.as_bytes()),
    };
    let report = Report::new(&plan, results, target, made(args)?);
    let again = again(args, &plan);
    let evidence = args.evidence || !args.cases.is_empty();
    let shown = Shown { again: &again, manifest: &args.target, evidence };
    finish(report, baseline.as_ref(), &args.files, &args.sign, key.as_ref(), &shown)
}

/// Starts this program again in namespaces of its own; comes back only where that fails.
fn own_namespaces() -> Result<std::convert::Infallible, (Exit, String)> {
    #[cfg(target_os = "linux")]
    let probe = clawproof::scenario::probes::binary().map_err(usage)?;
    #[cfg(not(target_os = "linux"))]
    let probe = PathBuf::new();
    namespaces::enter(&probe).map_err(usage)
}

/// The digests of what this run is made with.
fn made(args: &RunArgs) -> Result<Made, (Exit, String)> {
    let matrix = match &args.matrix {
        Some(path) => std::fs::read(path).map_err(usage)?,
        None => clawproof::oracle::matrix::SHIPPED.as_bytes().to_vec(),
    };
    let suite = std::env::current_exe().ok().and_then(|path| std::fs::read(path).ok());
    let suite = suite.ok_or_else(|| (Exit::Harness, "cannot read this program".to_owned()))?;
    let requirements = clawproof::spec::text(&args.requirements).unwrap_or_default();
    Ok(Made {
        suite: digest(&suite),
        requirements: digest(requirements.as_bytes()),
        matrix: digest(&matrix),
    })
}

/// Runs until the end or an interruption; in both cases nothing is left behind.
fn block_on(plan: &Plan, quiet: bool) -> Result<clawproof::run::Results, (Exit, String)> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| (Exit::Harness, format!("no runtime: {error}")))?;
    let progress: Box<dyn Progress> = match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(Silent),
        (false, true) => Box::new(Seeded(plan.seed, Bar::default())),
        (false, false) => Box::new(Seeded(plan.seed, Lines::default())),
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

/// Says the seed when the run begins, so that an interrupted one can be repeated too.
struct Seeded<P>(u64, P);

impl<P: Progress> Progress for Seeded<P> {
    fn begin(&self, total: usize) {
        eprintln!("seed {}", self.0);
        self.1.begin(total);
    }

    fn ended(&self, case: &str, milliseconds: u64) {
        self.1.ended(case, milliseconds);
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

/// The command line that plays the run's cases again, up to `--case`.
fn again(args: &RunArgs, plan: &Plan) -> String {
    // As it was called, so that the line can be copied where the program is not on PATH.
    let own = std::env::args().next().unwrap_or_else(|| "clawproof".to_owned());
    let mut line = format!("{own} run --target {}", args.target);
    let mut add = |name: &str, value: String| line.push_str(&format!(" --{name} {value}"));
    if args.requirements != clawproof::spec::NEWEST {
        add("requirements", args.requirements.clone());
    }
    let paths = [("bin", &args.bin), ("corpus", &args.corpus), ("matrix", &args.matrix)];
    for (name, path) in paths {
        if let Some(path) = path {
            add(name, path.display().to_string());
        }
    }
    for profile in &args.profile {
        add("profile", profile.clone());
    }
    if let Some(id) = &args.knockout {
        add("knockout", id.clone());
    }
    add("seed", plan.seed.to_string());
    if args.own_namespaces {
        line.push_str(" --own-namespaces");
    }
    line
}

fn random_seed() -> u64 {
    u64::from_str_radix(&clawproof::target::world::random_hex(4), 16).unwrap_or(1)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}
