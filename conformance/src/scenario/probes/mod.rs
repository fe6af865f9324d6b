//! The boundary probes: each is prepared, run once without a sandbox (the control) and once
//! inside, and judged by observers outside. It must never believe what a probe says it did.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawproof_probe::{Expect, Need, Probe, reversed, step};
use tokio::sync::OnceCell;

use crate::driver::launcher::Launcher;
use crate::driver::{Confine, DriverError, Ran, RunLimits};
use crate::target::manifest::DriverKind;
use crate::target::process::contains;
use crate::target::world::{World, random_hex};
use crate::verdict::Leg;

use super::{Finding, Lab, Options, Target, Trouble, Unit};

mod environment;
mod files;
mod ipc;
mod kernel;
mod needs;
mod network;
mod outside;
mod processes;
mod resources;
mod scene;
mod terminal;

use scene::{After, Held, Scene, Sight, Site, Sweeper, hold_file};

/// The name of the probe's program, inside and outside.
const PROGRAM: &str = "clawproof-probe";

/// The level that a target was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Workspace-only writes, network.
    Relaxed,
    /// Workspace-only writes, no network, isolated namespaces.
    Strict,
}

impl Level {
    /// What this level promises about a probe.
    #[must_use]
    pub fn expects(self, probe: &Probe) -> Expect {
        match self {
            Self::Relaxed => probe.relaxed,
            Self::Strict => probe.strict,
        }
    }
}

/// Every probe of this operating system.
pub fn all() -> impl Iterator<Item = &'static Probe> {
    clawproof_probe::all()
}

/// The probes as units of a run: case `probe:<id>`, requirement `sandbox.<id>`.
#[must_use]
pub fn units(lab: &Lab) -> Vec<Unit> {
    let pool = Pool::new(lab);
    let unit = |probe: &'static Probe| {
        let pool = pool.clone();
        Unit {
            id: format!("probe:{}", probe.id),
            requirements: requirements(probe),
            surface: "sandbox.process".to_owned(),
            alone: false,
            run: Arc::new(move || {
                let pool = pool.clone();
                Box::pin(async move { case(&pool, probe).await })
            }),
        }
    };
    all().map(unit).collect()
}

/// What a probe speaks about: its own row, and for what may survive a run also that nothing does.
fn requirements(probe: &Probe) -> Vec<String> {
    const SURVIVORS: &[&str] = &[
        "proc.orphan-exit",
        "proc.orphan-launcher",
        "proc.orphan-monitor",
        "proc.pipe-held",
        "proc.timeout-setsid",
    ];
    let mut requirements = vec![format!("sandbox.{}", probe.id)];
    if SURVIVORS.contains(&probe.id) {
        requirements.push("sandbox.reap".to_owned());
    }
    requirements
}

/// The text of `clawproof probe --list`: what each probe does, why, and how it is decided.
#[must_use]
pub fn list() -> String {
    let mut text = String::new();
    let mut count = 0;
    for probe in all() {
        count += 1;
        text.push_str(&format!(
            "{}\n    does      {}\n    because   {}\n    decided   {}\n    expected  relaxed: {}, strict: {}\n",
            probe.id,
            probe.what,
            probe.why,
            probe.observer,
            probe.relaxed.word(),
            probe.strict.word(),
        ));
        if !probe.needs.is_empty() {
            let needs: Vec<&str> = probe.needs.iter().map(|need| needs::word(*need)).collect();
            text.push_str(&format!("    needs     {}\n", needs.join("; ")));
        }
        if !probe.references.is_empty() {
            text.push_str(&format!("    see       {}\n", probe.references.join("; ")));
        }
    }
    text.push_str(&format!("{count} probes on this operating system\n"));
    text
}

/// Where the probe binary stands: `CLAWPROOF_PROBE`, else beside the running program.
///
/// # Errors
/// It is in neither place.
pub fn binary() -> Result<PathBuf, Trouble> {
    if let Some(path) = std::env::var_os("CLAWPROOF_PROBE") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    // Test programs stand one folder deeper than the binaries.
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(PROGRAM)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Trouble::Harness(format!("{PROGRAM} is not beside {}: build it first", own.display()))
    })
}

/// The agents that probes run in, started as they are needed. Each serves one probe at a time, in
/// an emptied workspace; one that does not answer afterwards is not used again.
#[derive(Clone, Debug)]
pub struct Pool {
    lab: Lab,
    idle: Arc<Mutex<Vec<Target>>>,
    /// Why the launcher runs nothing at all, looked at once.
    useless: Arc<OnceCell<Option<String>>>,
}

impl Pool {
    /// A pool for a laboratory's target; nothing is started yet.
    #[must_use]
    pub fn new(lab: &Lab) -> Self {
        Self { lab: lab.clone(), idle: Arc::default(), useless: Arc::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Target>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self) -> Result<Target, Trouble> {
        let found = self.idle().pop();
        match found {
            Some(target) => Ok(target),
            None => self.lab.instance(Options::default()).await,
        }
    }

    async fn give_back(&self, target: Target) {
        if target.alive().await && target.world().clear_workspace().is_ok() {
            self.idle().push(target);
        }
    }
}

/// Runs one probe against a target. Where a sensor saw nothing (a process that was gone before it
/// was looked at, on a busy host), it is looked once more; what was seen is never asked again.
///
/// # Errors
/// See [`Trouble`].
pub async fn case(pool: &Pool, probe: &'static Probe) -> Result<Finding, Trouble> {
    let first = once(pool, probe).await?;
    let legs = first.legs();
    let seen = [legs.reached, legs.twin, legs.no_effect, legs.control];
    if seen.contains(&Leg::Fell) || !seen.contains(&Leg::Missing) {
        return Ok(first);
    }
    let mut second = once(pool, probe).await?;
    second.note("looked a second time: the first time a sensor saw nothing");
    Ok(second)
}

/// Runs a probe once: a launcher in a world of its own, or a running agent through its `exec`
/// tool.
async fn once(pool: &Pool, probe: &'static Probe) -> Result<Finding, Trouble> {
    let lab = &pool.lab;
    let manifest = lab.manifest();
    let program = binary()?;
    match manifest.driver {
        DriverKind::Launcher => {
            let world = World::new()?;
            let (path, knockout) = (lab.binary(), lab.knockout());
            let launcher = Launcher::of(manifest, path, knockout, &world, &program)?;
            let useless = pool.useless.get_or_try_init(|| useless(&launcher)).await?;
            if let Some(words) = useless {
                return Err(Trouble::Target(words.clone()));
            }
            let asked = manifest.launcher.as_ref().and_then(|launcher| launcher.level.as_deref());
            let level = if asked == Some("relaxed") { Level::Relaxed } else { Level::Strict };
            run(probe, &Subject::launcher(&launcher, &world, level), &program).await
        }
        DriverKind::Rpc => {
            if let Some(reason) = needs::driver(probe) {
                return Err(Trouble::NotApplicable(reason));
            }
            let target = pool.take().await?;
            let subject = Subject {
                confine: &target,
                launcher: None,
                world: target.world(),
                level: Level::Strict,
            };
            let found = run(probe, &subject, &program).await;
            pool.give_back(target).await;
            found
        }
    }
}

/// Why a launcher does not even run `/usr/bin/true`, in its own words; probes of it would say
/// nothing but that.
async fn useless(launcher: &Launcher<'_>) -> Result<Option<String>, Trouble> {
    let ran = launcher.run(&["/usr/bin/true".to_owned()], RunLimits::default()).await?;
    if ran.code == Some(0) {
        return Ok(None);
    }
    Ok(Some(format!("the launcher does not even run /usr/bin/true here ({})", words(&ran, ""))))
}

/// What a probe is run against.
pub struct Subject<'a> {
    confine: &'a dyn Confine,
    launcher: Option<&'a Launcher<'a>>,
    world: &'a World,
    level: Level,
}

impl<'a> Subject<'a> {
    /// A launcher in its world.
    #[must_use]
    pub fn launcher(launcher: &'a Launcher<'a>, world: &'a World, level: Level) -> Self {
        Self { confine: launcher, launcher: Some(launcher), world, level }
    }
}

/// Runs one probe: the control, then the subject. `program` is the probe binary.
///
/// # Errors
/// `NotApplicable` where the host or the driver lacks a precondition; see [`Trouble`].
pub async fn run(
    probe: &'static Probe,
    subject: &Subject<'_>,
    program: &Path,
) -> Result<Finding, Trouble> {
    if subject.launcher.is_none()
        && let Some(reason) = needs::driver(probe)
    {
        return Err(Trouble::NotApplicable(reason));
    }
    if subject.launcher.is_some() && probe.needs.contains(&Need::Runtime) {
        let reason = "a launcher passes its output through; the bound is its caller's";
        return Err(Trouble::NotApplicable(reason.to_owned()));
    }
    if let Some(reason) = needs::host(probe) {
        return Err(Trouble::NotApplicable(reason));
    }
    let _turn = needs::turn(probe).await?;
    let control = {
        let world = World::new()?;
        let bare = Launcher::bare(&world, program)?;
        side(probe, &Subject::launcher(&bare, &world, subject.level), program).await?
    };
    let inside = side(probe, subject, program).await?;
    judge(subject.level.expects(probe), &control, &inside)
}

/// What one run came to.
struct Side {
    /// Whether the probe was seen to have run.
    started: bool,
    /// Whether it could try its action; only a "no" is believed.
    attempted: bool,
    /// Whether its allowed counterpart worked, seen from outside.
    twin: bool,
    sight: Sight,
    /// Its own words and the launcher's, for people.
    words: String,
}

fn judge(expect: Expect, control: &Side, inside: &Side) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    match &control.sight {
        Sight::Breached(text) => {
            finding.control(true, format!("without a sandbox: {text}"));
        }
        Sight::Held(text) | Sight::Partial(text) | Sight::Blind(text) => {
            finding.control(
                false,
                format!("this host cannot show it: without a sandbox {text} ({})", control.words),
            );
        }
    }
    if !inside.started {
        finding.reached(false, format!("the probe did not run inside ({})", inside.words));
    } else if !inside.attempted {
        finding.reached(false, format!("the probe could not try inside ({})", inside.words));
    } else {
        finding.reached(true, "the probe ran inside");
    }
    let words = "a process inside started, read and wrote in the workspace";
    let failed = format!("no ordinary work inside the workspace ({})", inside.words);
    finding.twin(inside.twin, if inside.twin { words } else { failed.as_str() });
    match (&inside.sight, expect) {
        (Sight::Breached(text), Expect::Residual) => {
            return Err(Trouble::NotApplicable(format!(
                "RESIDUAL, held by no such sandbox: {text}"
            )));
        }
        (Sight::Breached(text) | Sight::Partial(text), Expect::Allowed) => {
            finding.no_effect(true, format!("allowed at this level: {text}"));
        }
        (Sight::Partial(text), Expect::HoldOrDegraded) => {
            finding.no_effect(true, format!("DEGRADED: {text}"));
        }
        (Sight::Partial(text), _) => {
            finding.no_effect(false, format!("DEGRADED, where the catalogue asks to hold: {text}"));
        }
        (Sight::Breached(text), _) => {
            finding.no_effect(false, format!("BREACHED: {text}"));
        }
        (Sight::Held(text), _) => {
            finding.no_effect(true, format!("HELD: {text}"));
        }
        (Sight::Blind(text), _) => {
            finding.note(format!("not seen: {text}"));
        }
    }
    finding.note(format!("inside, in its own words: {}", inside.words));
    Ok(finding)
}

/// How long the observers wait for the probe to stand in position, and the run to end.
const RUN_LIMIT: Duration = Duration::from_secs(20);

/// One run, with or without a sandbox.
async fn side(
    probe: &'static Probe,
    subject: &Subject<'_>,
    program: &Path,
) -> Result<Side, Trouble> {
    let world = subject.world;
    let workspace = subject.confine.workspace().to_owned();
    let helper = world.install(program)?;
    let site = Site { world, workspace, token: random_hex(16), helper };
    let _sweeper = Sweeper(site.token.clone());
    let inside = site.workspace.join(PROGRAM);
    std::fs::copy(program, &inside)?;
    world.give(&inside)?;
    let benign = random_hex(16);
    let twin_in = step::twin_in(&site.workspace, &site.token);
    world.write(&twin_in, benign.as_bytes(), 0o644)?;
    let mut scene = stage(probe.id, &site).await?;
    let argv = vec![
        inside.to_string_lossy().into_owned(),
        probe.id.to_owned(),
        serde_json::to_string(&scene.params)
            .map_err(|error| Trouble::Harness(error.to_string()))?,
    ];
    let (ran, pipe_held, held) = play(subject, &site, &mut scene, &argv).await?;
    let mut sight = held;
    if scene.heartbeat {
        sight = Some(heartbeat(&site).await);
    }
    if let Some(after) = scene.after.take() {
        let (copy, seen) = blocking(move || {
            let seen = after(&After { ran: &ran, pipe_held });
            (ran, seen)
        })
        .await?;
        return Ok(summary(&site, &benign, &copy, seen));
    }
    let sight = sight.unwrap_or_else(|| {
        let text = "it was stopped before it stood in position".to_owned();
        if scene.must_stand { Sight::Blind(text) } else { Sight::Held(text) }
    });
    Ok(summary(&site, &benign, &ran, sight))
}

/// Runs the command line and, when the probe stands in position, lets the observer look.
async fn play(
    subject: &Subject<'_>,
    site: &Site<'_>,
    scene: &mut Scene,
    argv: &[String],
) -> Result<(Ran, bool, Option<Sight>), Trouble> {
    let limits = RunLimits { time: RUN_LIMIT, output: 70_000_000 };
    let during = scene.during.take();
    let interrupt = scene.interrupt;
    let mut breaker = None;
    let running = match subject.launcher {
        Some(launcher) => {
            let launched = launcher.start(argv, std::mem::take(&mut scene.ask))?;
            breaker = Some(launched.breaker());
            futures_util::future::Either::Left(async move {
                Ok::<_, DriverError>(launched.finish(limits).await)
            })
        }
        None => futures_util::future::Either::Right(async {
            Ok((subject.confine.run(argv, limits).await?, false))
        }),
    };
    let watching = async {
        let hold = hold_file(site);
        while !hold.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let sight = match during {
            Some(look) => {
                let token = site.token.clone();
                Some(
                    blocking(move || {
                        let marked = outside::marked(&token);
                        look(&Held { marked, token })
                    })
                    .await?,
                )
            }
            None => None,
        };
        if let (Some(breaker), Some(how)) = (breaker, interrupt) {
            breaker.interrupt(how).await;
        } else {
            let release = step::release(&site.workspace, &site.token);
            site.world.write(&release, b"", 0o644)?;
        }
        Ok::<_, Trouble>(sight)
    };
    tokio::pin!(running, watching);
    tokio::select! {
        ran = &mut running => {
            let (ran, pipe_held) = ran?;
            Ok((ran, pipe_held, None))
        }
        sight = &mut watching => {
            let (ran, pipe_held) = running.await?;
            Ok((ran, pipe_held, sight?))
        }
    }
}

/// Whether the file by which a process left behind shows that it lives still grows.
async fn heartbeat(site: &Site<'_>) -> Sight {
    let path = step::heartbeat(&site.workspace, &site.token);
    let size = || std::fs::symlink_metadata(&path).map(|data| data.len());
    if size().is_err() {
        return Sight::Held("no process was left behind".into());
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = size().unwrap_or(0);
    // A second is fifty beats: enough for a process that waits for a busy processor.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if size().unwrap_or(0) > before {
            return Sight::Breached("a process of the run lives on: its heartbeat grows".into());
        }
    }
    Sight::Held("the heartbeat stopped with the run".into())
}

fn summary(site: &Site<'_>, benign: &str, ran: &Ran, sight: Sight) -> Side {
    let mark = reversed(&site.token);
    let twin = std::fs::read_to_string(step::twin_out(&site.workspace, &site.token));
    let twin = twin.is_ok_and(|text| text == reversed(benign));
    let started = twin || contains(&ran.stdout, mark.as_bytes());
    let untried = br#""step":"ended","attempted":false"#;
    let attempted = !contains(&ran.stdout, untried);
    Side { started, attempted, twin, sight, words: words(ran, &mark) }
}

/// The probe's last line and the first of the error output, for people to read.
fn words(ran: &Ran, mark: &str) -> String {
    let out = String::from_utf8_lossy(ran.stdout.get(..).unwrap_or_default());
    let line = out.lines().rev().find(|line| line.contains(mark) && line.contains("ended"));
    let detail = line.and_then(|line| {
        let start = line.find("\"detail\":\"")? + 10;
        Some(line.get(start..)?.trim_end_matches(['"', '}']).to_owned())
    });
    let errors = String::from_utf8_lossy(&ran.stderr);
    let error = errors.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let error: String = error.chars().take(200).collect();
    match (detail, error.is_empty()) {
        (Some(detail), true) => detail,
        (Some(detail), false) => format!("{detail}; stderr: {error}"),
        (None, true) => match ran.code {
            Some(code) => format!("no last word, exit code {code}"),
            None => "no last word".to_owned(),
        },
        (None, false) => format!("no last word; stderr: {error}"),
    }
}

async fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    match id.split_once('.').map_or(id, |(boundary, _)| boundary) {
        "fs" => files::stage(id, site),
        "net" => network::stage(id, site).await,
        "proc" => processes::stage(id, site).await,
        "kern" => kernel::stage(id, site),
        "ipc" => ipc::stage(id, site).await,
        "res" => resources::stage(id, site),
        "env" => environment::stage(id, site),
        "term" => terminal::stage(id, site),
        _ => Err(unstaged(id)),
    }
}

fn unstaged(id: &str) -> Trouble {
    Trouble::Harness(format!("no stage is written for probe {id}"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Trouble::Harness(error.to_string()))
}
