//! The boundary probes of macOS and Windows: each is prepared, run once without a sandbox (the
//! control) and once inside, and judged by observers outside. It must never believe what a probe
//! says it did.

#[cfg(windows)]
mod console;
#[cfg(windows)]
mod desk;
mod environment;
mod launch;
#[cfg(target_os = "macos")]
mod macos;
mod scene;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "macos")]
use macos::stage;
#[cfg(windows)]
use windows::stage;

use std::path::PathBuf;
use std::sync::Arc;

use clawproof_probe::{Expect, Need, Probe};

use crate::driver::{Ran, RunLimits};
use crate::target::manifest::DriverKind;
use crate::target::world::{World, random_hex};

use super::sight::heartbeat;
use super::{Finding, Lab, Options, Trouble, Unit};
use launch::{Line, run_line};
use scene::{Sight, Site};

/// The name of the probe's program, inside and outside.
const PROGRAM: &str = "clawproof-probe";

/// The probes as units of a run: case `probe:<id>`, requirement `sandbox.<id>`.
#[must_use]
pub fn units(lab: &Lab) -> Vec<Unit> {
    let unit = |probe: &'static Probe| {
        let lab = lab.clone();
        Unit {
            id: format!("probe:{}", probe.id),
            requirements: vec![format!("sandbox.{}", probe.id)],
            surface: "sandbox.process".to_owned(),
            // One clipboard, one registry, one scheduler: they are the machine's, not the run's.
            alone: true,
            run: Arc::new(move || {
                let lab = lab.clone();
                Box::pin(async move { case(&lab, probe).await })
            }),
        }
    };
    clawproof_probe::all().map(unit).collect()
}

/// Runs one probe against the laboratory's target.
///
/// # Errors
/// See [`Trouble`].
pub async fn case(lab: &Lab, probe: &'static Probe) -> Result<Finding, Trouble> {
    if let Some(reason) = missing(probe, lab.manifest().driver) {
        return Err(Trouble::NotApplicable(reason));
    }
    let control = control(probe).await?;
    let program = binary()?;
    let inside = match lab.manifest().driver {
        DriverKind::Launcher => {
            let world = World::new()?;
            let site = Site::new(&world, &program, probe.id)?;
            let line = Line::of(lab, &site)?;
            side(probe, &site, Through::Line(&line)).await?
        }
        _ => {
            let target = lab.instance(Options::default()).await?;
            let site = Site::new(target.world(), &program, "")?;
            side(probe, &site, Through::Agent(&target)).await?
        }
    };
    let relaxed = lab.manifest().launcher.as_ref().and_then(|it| it.level.as_deref());
    let expect = if relaxed == Some("relaxed") { probe.relaxed } else { probe.strict };
    judge(expect, &control, &inside).map_err(Trouble::NotApplicable)
}

/// A probe without a sandbox: what an observer sees of it on this machine.
///
/// # Errors
/// The stage could not be set.
pub async fn control(probe: &'static Probe) -> Result<Side, Trouble> {
    let world = World::new()?;
    let site = Site::new(&world, &binary()?, probe.id)?;
    side(probe, &site, Through::Line(&Line::bare())).await
}

/// What one run came to.
#[derive(Debug)]
pub struct Side {
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

impl Side {
    /// Whether the effect was seen.
    #[must_use]
    pub fn breached(&self) -> bool {
        matches!(self.sight, Sight::Breached(_))
    }

    /// Whether a process started, read and wrote in the workspace.
    #[must_use]
    pub fn worked(&self) -> bool {
        self.twin
    }

    /// What was seen, in one sentence.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{:?} ({})", self.sight, self.words)
    }
}

/// How a command line gets into the sandbox.
enum Through<'a> {
    Line(&'a Line),
    Agent(&'a super::Target),
}

async fn side(
    probe: &'static Probe,
    site: &Site<'_>,
    through: Through<'_>,
) -> Result<Side, Trouble> {
    let benign = random_hex(16);
    let twin_in = clawproof_probe::step::twin_in(&site.workspace, &site.token);
    site.world.write(&twin_in, benign.as_bytes(), 0o644)?;
    let mut scene = stage(probe.id, site).await?;
    let argv = vec![
        site.inside.to_string_lossy().into_owned(),
        probe.id.to_owned(),
        serde_json::to_string(&scene.params)
            .map_err(|error| Trouble::Harness(error.to_string()))?,
    ];
    let (ran, seen) = match through {
        Through::Line(line) => run_line(line, &argv, site, &mut scene).await?,
        Through::Agent(target) => {
            use crate::driver::Confine as _;
            let limits = RunLimits { time: launch::LIMIT, output: 4_000_000 };
            let running = target.run(&argv, limits);
            launch::watched(running, site, &mut scene, None).await?
        }
    };
    let sight = if scene.heartbeat {
        heartbeat(&site.workspace, &site.token).await
    } else if let Some(after) = scene.after.take() {
        tokio::task::block_in_place(|| after(&ran))
    } else {
        seen.unwrap_or_else(|| Sight::Held("it was stopped before it stood in position".into()))
    };
    Ok(summary(site, &benign, &ran, sight))
}

fn summary(site: &Site<'_>, benign: &str, ran: &Ran, sight: Sight) -> Side {
    let mark = clawproof_probe::reversed(&site.token);
    let twin = clawproof_probe::step::twin_out(&site.workspace, &site.token);
    let twin =
        std::fs::read_to_string(twin).is_ok_and(|text| text == clawproof_probe::reversed(benign));
    let said = String::from_utf8_lossy(&ran.stdout);
    let errors = String::from_utf8_lossy(&ran.stderr);
    let last = said.lines().rev().find(|line| line.contains(&mark)).unwrap_or("no last word");
    let error: String = errors.lines().take(2).collect::<Vec<_>>().join(" ");
    Side {
        started: twin || said.contains(&mark),
        attempted: !said.contains(r#""step":"ended","attempted":false"#),
        twin,
        sight,
        words: format!("{last} {} {:?}", error.chars().take(200).collect::<String>(), ran.code),
    }
}

/// Legs from two runs. An error is the residual that no such sandbox holds.
fn judge(expect: Expect, control: &Side, inside: &Side) -> Result<Finding, String> {
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
    let reached = match (inside.started, inside.attempted) {
        (false, _) => format!("the probe did not run inside ({})", inside.words),
        (true, false) => format!("the probe could not try inside ({})", inside.words),
        (true, true) => "the probe ran inside".to_owned(),
    };
    finding.reached(inside.started && inside.attempted, reached);
    let worked = "a process inside started, read and wrote in the workspace";
    let failed = format!("no ordinary work inside the workspace ({})", inside.words);
    finding.twin(inside.twin, if inside.twin { worked } else { failed.as_str() });
    match (&inside.sight, expect) {
        (Sight::Breached(text), Expect::Residual) => {
            return Err(format!("RESIDUAL, held by no such sandbox: {text}"));
        }
        (Sight::Breached(text) | Sight::Partial(text), Expect::Allowed) => {
            finding.no_effect(true, format!("allowed at this level: {text}"));
        }
        (Sight::Breached(text) | Sight::Partial(text), Expect::HoldOrDegraded) => {
            finding.no_effect(true, format!("DEGRADED: {text}"));
        }
        (Sight::Breached(text), Expect::Hold) | (Sight::Partial(text), _) => {
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

/// What this host or the driver cannot offer.
fn missing(probe: &Probe, driver: DriverKind) -> Option<String> {
    if probe.needs.contains(&Need::Launch) && !driver.is_launcher() {
        let reason = "the agent starts its own launcher; the suite cannot hand it anything";
        return Some(reason.to_owned());
    }
    if probe.needs.contains(&Need::Ipv6) && std::net::TcpListener::bind("[::1]:0").is_err() {
        return Some("this host does not have an IPv6 loopback".to_owned());
    }
    #[cfg(unix)]
    if probe.needs.contains(&Need::Root) && !rustix::process::geteuid().is_root() {
        return Some("the suite is not root, and nobody else can do it without a sandbox".into());
    }
    let perl = std::path::Path::new(clawproof_probe::PERL).is_file();
    (probe.needs.contains(&Need::Perl) && !perl).then(|| "this host does not have perl".to_owned())
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
    let name = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
    // Test programs stand one folder deeper than the binaries.
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(&name));
    found.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Trouble::Harness(format!("{name} is not beside {}: build it first", own.display()))
    })
}
