//! The boundary probes: each is prepared, run once without a sandbox (the control) and once
//! inside, and judged by observers outside. It must never believe what a probe says it did.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawproof_probe::{Control, Expect, Need, Probe};
use tokio::sync::OnceCell;

use crate::driver::launcher::Launcher;
use crate::driver::{Confine, RunLimits};
use crate::target::manifest::DriverKind;
use crate::target::world::{World, targets_are_root};
use crate::verdict::Leg;

use super::{Finding, Lab, Options, Target, Trouble, Unit};

mod agent;
mod environment;
mod files;
mod ipc;
mod kernel;
mod machine;
mod mounts;
mod needs;
mod network;
mod outside;
mod play;
mod privileges;
mod processes;
mod racer;
mod resources;
mod scene;
mod separation;
mod sockets;
mod terminal;
mod traps;

use agent::{Agent, Outcome};
use play::{Side, side, words};
use scene::Sight;

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

/// The probes as units of a run: case `probe:<id>` and, where the target can be asked for level
/// Relaxed too, `probe:<id>.relaxed`; requirement `sandbox.<id>`.
#[must_use]
pub fn units(lab: &Lab) -> Vec<Unit> {
    let pool = Pool::new(lab);
    let levels: Vec<(Asked, &str)> = if pool.has_relaxed() {
        vec![(Asked::Usual, ""), (Asked::Relaxed, ".relaxed")]
    } else {
        vec![(Asked::Usual, "")]
    };
    let unit = |probe: &'static Probe, asked: Asked, suffix: &str| {
        let pool = pool.clone();
        Unit {
            id: format!("probe:{}{suffix}", probe.id),
            requirements: requirements(probe),
            surface: "sandbox.process".to_owned(),
            alone: false,
            run: Arc::new(move || {
                let pool = pool.clone();
                Box::pin(async move { case(&pool, probe, asked).await })
            }),
        }
    };
    levels
        .into_iter()
        .flat_map(|(asked, suffix)| all().map(move |probe| (probe, asked, suffix)))
        .map(|(probe, asked, suffix)| unit(probe, asked, suffix))
        .collect()
}

/// What some probes show besides their own row: that nothing outlives a run, and that the folder
/// for temporary files is not the host's.
const ALSO: &[(&str, &str)] = &[
    ("proc.orphan-exit", "sandbox.reap"),
    ("proc.orphan-launcher", "sandbox.reap"),
    ("proc.orphan-monitor", "sandbox.reap"),
    ("proc.pipe-held", "sandbox.reap"),
    ("proc.timeout-setsid", "sandbox.reap"),
    ("res.tmpfs", "sandbox.fs.tmp"),
];

/// What a probe speaks about.
fn requirements(probe: &Probe) -> Vec<String> {
    let also = ALSO.iter().filter(|(id, _)| *id == probe.id).map(|(_, other)| (*other).to_owned());
    std::iter::once(format!("sandbox.{}", probe.id)).chain(also).collect()
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
        if probe.control == Control::Root {
            text.push_str("    control   as root of namespaces that the suite makes for it\n");
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

/// How the target is asked to hold a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// As its manifest starts it: the level that a launcher's manifest names, else Strict.
    Usual,
    /// At level Relaxed, in the second way that its manifest knows.
    Relaxed,
}

/// The config patch by which an agent is asked for Relaxed.
const RELAXED: &str = "sandbox-relaxed";

/// The agents that probes run in, started as they are needed. Each serves one probe at a time, in
/// an emptied workspace; one that does not answer afterwards is not used again. And the controls,
/// each of which is run once and serves both levels.
#[derive(Clone, Debug)]
pub struct Pool {
    lab: Lab,
    idle: Arc<Mutex<Vec<(Asked, Target)>>>,
    /// Why the launcher runs nothing at all, looked at once for each level.
    useless: Arc<[OnceCell<Option<String>>; 2]>,
    controls: Arc<Mutex<BTreeMap<&'static str, KeptControl>>>,
    /// Whether a process inside is like any other of its user, looked at once for each level.
    alike: Arc<[OnceCell<Option<bool>>; 2]>,
}

/// A control that is run at its first use.
type KeptControl = Arc<OnceCell<Side>>;

impl Pool {
    /// A pool for a laboratory's target; nothing is started yet.
    #[must_use]
    pub fn new(lab: &Lab) -> Self {
        Self {
            lab: lab.clone(),
            idle: Arc::default(),
            useless: Arc::default(),
            controls: Arc::default(),
            alike: Arc::default(),
        }
    }

    /// Whether the manifest knows how to ask for level Relaxed beside what it usually asks for.
    #[must_use]
    pub fn has_relaxed(&self) -> bool {
        let manifest = self.lab.manifest();
        match manifest.driver {
            DriverKind::Launcher => {
                manifest.launcher.as_ref().is_some_and(|launcher| launcher.relaxed.is_some())
            }
            _ => manifest.config.as_ref().is_some_and(|it| it.patches.contains_key(RELAXED)),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Asked, Target)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, asked: Asked) -> Result<Target, Trouble> {
        let found = {
            let mut idle = self.idle();
            let at = idle.iter().position(|(level, _)| *level == asked);
            at.map(|at| idle.swap_remove(at).1)
        };
        let options = match asked {
            Asked::Usual => Options::default(),
            Asked::Relaxed => Options::default().patch(RELAXED),
        };
        match found {
            Some(target) => Ok(target),
            None => self.lab.instance(options).await,
        }
    }

    async fn give_back(&self, asked: Asked, target: Target) {
        if target.alive().await && target.world().clear_workspace().is_ok() {
            self.idle().push((asked, target));
        }
    }

    /// The run without a sandbox; again if it did not show the effect the last time.
    async fn control(&self, probe: &'static Probe, program: &Path) -> Result<Side, Trouble> {
        let cell = {
            let mut controls = self.controls.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(controls.entry(probe.id).or_default())
        };
        let first = cell.get_or_try_init(|| control(probe, program)).await?;
        match first.sight {
            Sight::Breached(_) => Ok(first.clone()),
            _ if first.absent => Ok(first.clone()),
            _ => control(probe, program).await,
        }
    }
}

/// Probes whose control stands in a file system that the suite opens for it, which no agent is handed.
const STAGED: &[&str] = &["fs.write-system", "fs.write-synthetic-root"];

/// The probe that only stands still, so that its process can be looked at.
const STANDS: &str = "kern.caps";

impl Pool {
    /// Whether a process inside is like any other process of its user; looked at once for each level.
    async fn alike(
        &self,
        asked: Asked,
        subject: &Subject<'_>,
        program: &Path,
    ) -> Result<Option<bool>, Trouble> {
        let [usual, looser] = self.alike.as_ref();
        let cell = if asked == Asked::Relaxed { looser } else { usual };
        let look = async || match all().find(|probe| probe.id == STANDS) {
            // As root every process may do it, so there is nothing to tell apart.
            Some(probe) if !targets_are_root() => {
                Ok::<_, Trouble>(side(probe, subject, program, false).await?.alike)
            }
            _ => Ok(None),
        };
        cell.get_or_try_init(look).await.copied()
    }
}

/// Runs a probe's action without a sandbox.
async fn control(probe: &'static Probe, program: &Path) -> Result<Side, Trouble> {
    let world = World::new()?;
    let bare = Launcher::bare(&world, program)?;
    side(probe, &Subject::launcher(&bare, &world, Level::Strict), program, true).await
}

/// Runs one probe against a target. Where a sensor saw nothing (a process that was gone before it
/// was looked at, on a busy host), it is looked once more; what was seen is never asked again.
///
/// # Errors
/// See [`Trouble`].
pub async fn case(pool: &Pool, probe: &'static Probe, asked: Asked) -> Result<Finding, Trouble> {
    let first = once(pool, probe, asked).await?;
    let legs = first.legs();
    let seen = [legs.reached, legs.twin, legs.no_effect, legs.control];
    if seen.contains(&Leg::Fell) || !seen.contains(&Leg::Missing) {
        return Ok(first);
    }
    let mut second = once(pool, probe, asked).await?;
    second.note("looked a second time: the first time a sensor saw nothing");
    Ok(second)
}

/// Runs a probe once: a launcher in a world of its own, or a running agent through its `exec`
/// tool.
async fn once(pool: &Pool, probe: &'static Probe, asked: Asked) -> Result<Finding, Trouble> {
    let lab = &pool.lab;
    let manifest = lab.manifest();
    let program = binary()?;
    let relaxed = asked == Asked::Relaxed;
    match manifest.driver {
        DriverKind::Launcher => {
            let drops = manifest.launcher.as_ref().is_some_and(|launcher| launcher.drops);
            let world = if drops { World::dropping()? } else { World::new()? };
            let (path, knockout) = (lab.binary(), lab.knockout());
            let launcher = Launcher::of(manifest, relaxed, path, knockout, &world, &program)?;
            let [usual, looser] = pool.useless.as_ref();
            let cell = if relaxed { looser } else { usual };
            let useless = cell.get_or_try_init(|| useless(&launcher)).await?;
            if let (Some(words), false) = (useless, targets_are_root()) {
                return Err(Trouble::Target(words.clone()));
            }
            let said = manifest.launcher.as_ref().and_then(|launcher| launcher.level.as_deref());
            let level =
                if relaxed || said == Some("relaxed") { Level::Relaxed } else { Level::Strict };
            let subject = Subject::launcher(&launcher, &world, level);
            run(pool, probe, asked, &subject, &program).await
        }
        _ => {
            if let Some(reason) = needs::driver(probe) {
                return Err(Trouble::NotApplicable(reason));
            }
            let target = pool.take(asked).await?;
            let agent = Agent::new(&target);
            let subject = Subject {
                confine: &agent,
                launcher: None,
                agent: Some(&agent),
                world: target.world(),
                level: if relaxed { Level::Relaxed } else { Level::Strict },
                runtime: Some(target.instance().pid().await),
            };
            let found = run(pool, probe, asked, &subject, &program).await;
            pool.give_back(asked, target).await;
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
    agent: Option<&'a Agent<'a>>,
    world: &'a World,
    level: Level,
    /// The process of a running agent.
    runtime: Option<u32>,
}

impl<'a> Subject<'a> {
    /// A launcher in its world.
    #[must_use]
    pub fn launcher(launcher: &'a Launcher<'a>, world: &'a World, level: Level) -> Self {
        let confine = launcher;
        let launcher = Some(launcher);
        Self { confine, launcher, agent: None, world, level, runtime: None }
    }
}

/// Runs one probe: the control, then the subject. `program` is the probe binary.
///
/// # Errors
/// `NotApplicable` where the host or the driver lacks a precondition; see [`Trouble`].
async fn run(
    pool: &Pool,
    probe: &'static Probe,
    asked: Asked,
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
    let control = pool.control(probe, program).await?;
    let (inside, outcome) = match (side(probe, subject, program, false).await, subject.agent) {
        (Ok(inside), Some(agent)) => {
            let outcome = agent.outcome(Some(&inside));
            (inside, outcome)
        }
        (Ok(inside), None) => {
            let outcome = agent::of_launcher(&inside);
            (inside, outcome)
        }
        (Err(Trouble::Target(_)), Some(agent)) => {
            return Err(match agent.outcome(None) {
                outcome @ Outcome::NotOffered(_) => Trouble::Unsupported(outcome.to_string()),
                // Nothing was tried, so nothing is known of a boundary.
                outcome @ Outcome::NotAsked(_) => Trouble::Inconclusive(outcome.to_string()),
                outcome => Trouble::Target(outcome.to_string()),
            });
        }
        (Err(trouble), _) => return Err(trouble),
    };
    if let Outcome::NotOffered(_) = outcome {
        return Err(Trouble::Unsupported(outcome.to_string()));
    }
    let privileged = probe.control == Control::Root || STAGED.contains(&probe.id);
    if let (true, Sight::Held(text)) = (privileged, &inside.sight)
        && pool.alike(asked, subject, program).await? == Some(true)
    {
        return Err(Trouble::NotApplicable(format!(
            "{outcome}, but nothing separates what runs inside from any process of the user that it \
             runs as, who may not do this anyway: {text}"
        )));
    }
    let mut finding = judge(subject.level.expects(probe), &control, &inside)?;
    finding.note(format!("outcome: {outcome}"));
    Ok(finding)
}

fn judge(expect: Expect, control: &Side, inside: &Side) -> Result<Finding, Trouble> {
    if control.absent && !matches!(control.sight, Sight::Breached(_)) {
        let reason = format!("this host has no such thing: without a sandbox {}", control.words);
        return Err(Trouble::NotApplicable(reason));
    }
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
    if !inside.started && targets_are_root() && matches!(inside.sight, Sight::Held(_)) {
        let refused = format!("REFUSED as root, as it may ({})", inside.words);
        finding.reached(true, refused.as_str());
        finding.twin(true, "where nothing runs as root, nothing needs to work");
        finding.no_effect(true, refused);
        return Ok(finding);
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
    if inside.staged && !inside.started {
        // It runs elsewhere, so that it is this stage where it does not: no merit, no failure.
        finding.note(
            "the launcher does not start in the namespaces that the suite made for this probe",
        );
    } else {
        finding.twin(inside.twin, if inside.twin { words } else { failed.as_str() });
    }
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
