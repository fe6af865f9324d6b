//! One run of a probe, with or without a sandbox: its stage is set, it is started, looked at while
//! it stands in position, and summed up. It must never know what is expected.

use std::path::Path;
use std::time::Duration;

use clawproof_probe::{Control, Own, Probe, reversed, step};

use crate::driver::launcher::Interrupt;
use crate::driver::{DriverError, Ran, RunLimits};
use crate::target::process::contains;
use crate::target::world::{random_hex, targets_are_root};

use super::scene::{After, Held, Scene, Sight, Site, Sweeper, hold_file, unstaged};
use super::{PROGRAM, Subject, Trouble, environment, files, ipc, kernel, machine, mounts, network};
use super::{outside, privileges, processes, resources, separation, sockets, terminal, traps};
use crate::scenario::sight::heartbeat;

/// What one run came to.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// Whether the probe was seen to have run.
    pub(super) started: bool,
    /// Whether it could try its action; only a "no" is believed.
    pub(super) attempted: bool,
    /// Whether its allowed counterpart worked, seen from outside.
    pub(super) twin: bool,
    /// Whether it said that the kernel does not have such a thing; believed of a control alone.
    pub(super) absent: bool,
    /// Whether the time limit ended it.
    pub(super) timed_out: bool,
    /// Whether the suite let it start in namespaces of the suite's own making.
    pub(super) staged: bool,
    /// Whether its process was like any other of its user; see [`separation::alike`].
    pub(super) alike: Option<bool>,
    pub(super) sight: Sight,
    /// Its own words and the launcher's, for people.
    pub(super) words: String,
}

/// How long the observers wait for the probe to stand in position, and the run to end.
const RUN_LIMIT: Duration = Duration::from_secs(20);

/// One run, with or without a sandbox.
pub(super) async fn side(
    probe: &'static Probe,
    subject: &Subject<'_>,
    program: &Path,
    control: bool,
) -> Result<Side, Trouble> {
    let world = subject.world;
    let workspace = subject.confine.workspace().to_owned();
    let helper = world.install(program)?;
    let prefix = subject.launcher.map(|launcher| launcher.prefix().to_vec());
    let runtime = if control { None } else { subject.runtime };
    let token = random_hex(16);
    let site = Site { world, workspace, token, helper, prefix, control, runtime };
    let _sweeper = Sweeper(site.token.clone());
    let inside = site.workspace.join(PROGRAM);
    std::fs::copy(program, &inside)?;
    world.give(&inside)?;
    let benign = random_hex(16);
    let twin_in = step::twin_in(&site.workspace, &site.token);
    world.write(&twin_in, benign.as_bytes(), 0o644)?;
    let mut scene = stage(probe.id, &site).await?;
    stand_as(&mut scene, probe, control, world.uid());
    let staged = subject.launcher.is_some() && scene.ask.launch.own.is_some();
    let mut params = serde_json::to_string(&scene.params)
        .map_err(|error| Trouble::Harness(error.to_string()))?;
    if subject.launcher.is_none() {
        // An agent may look through its command lines for paths; it is its sandbox that is
        // asked.
        let file = site.workspace.join(format!("params-{}.json", site.token));
        world.write(&file, params.as_bytes(), 0o644)?;
        params = format!("@{}", file.display());
    }
    let argv = vec![inside.to_string_lossy().into_owned(), probe.id.to_owned(), params];
    let (mut ran, pipe_held, watched) = play(subject, &site, &mut scene, &argv).await?;
    while scene.racer.is_some() && !contains(&ran.stdout, reversed(&site.token).as_bytes()) {
        // Refused, as is right where a name was exchanged under it: once more, the last time in
        // peace, so that it is seen that it would have run.
        scene.tries += 1;
        if scene.tries >= 4
            && let Some(racer) = scene.racer.take()
        {
            racer.stop().await;
        }
        let (again, _, _) = play(subject, &site, &mut scene, &argv).await?;
        ran.stdout.extend(again.stdout);
        ran.stderr.extend(again.stderr);
    }
    let Watched { mut sight, alike } = watched;
    if scene.heartbeat {
        sight = Some(heartbeat(&site.workspace, &site.token).await);
    }
    if let Some(after) = scene.after.take() {
        let told = step::told(&site.workspace, &site.token);
        let (copy, seen) = blocking(move || {
            let told = outside::plain_file(&told, 4_000_000);
            let seen = after(&After { ran: &ran, told: &told, pipe_held });
            (ran, seen)
        })
        .await?;
        return Ok(Side { alike, staged, ..summary(&site, &benign, &copy, seen) });
    }
    let sight = sight.unwrap_or_else(|| {
        let text = "it was stopped before it stood in position".to_owned();
        if scene.must_stand { Sight::Blind(text) } else { Sight::Held(text) }
    });
    Ok(Side { alike, staged, ..summary(&site, &benign, &ran, sight) })
}

/// What was seen while the probe stood in position.
#[derive(Default)]
struct Watched {
    sight: Option<Sight>,
    alike: Option<bool>,
}

/// As whom the run is started: a control may need to be root, in namespaces of its own so that the
/// host is not at stake; a target that is run as root stands in such namespaces too. Namespaces for
/// an ordinary user (`uid`) are made by root where the suite is root: in a user namespace a
/// set-user-id launcher would find that it is not root, and that would be the suite's fault.
fn stand_as(scene: &mut Scene, probe: &Probe, control: bool, uid: Option<u32>) {
    let root = control && probe.control == Control::Root;
    if root || targets_are_root() {
        let own = scene.ask.launch.own.get_or_insert_with(Own::default);
        own.root = true;
        scene.ask.as_suite = true;
    } else if scene.ask.launch.own.as_ref().is_some_and(|own| !own.root) && uid.is_some() {
        scene.ask.launch.uid = uid;
        scene.ask.as_suite = true;
    }
}

/// Runs the command line and, when the probe stands in position, lets the observer look.
async fn play(
    subject: &Subject<'_>,
    site: &Site<'_>,
    scene: &mut Scene,
    argv: &[String],
) -> Result<(Ran, bool, Watched), Trouble> {
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
    let early = interrupt == Some(Interrupt::Thread);
    let watching = async {
        let hold = hold_file(site);
        while !hold.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if let (true, Some(breaker)) = (early, &breaker) {
            breaker.clone().interrupt(Interrupt::Thread, None).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        let token = site.token.clone();
        let (watched, probe) = blocking(move || {
            let held = Held { marked: outside::marked(&token), token };
            let alike = held.probe().and_then(separation::alike);
            (Watched { sight: during.map(|look| look(&held)), alike }, held.probe())
        })
        .await?;
        if let (Some(breaker), Some(how), false) = (breaker, interrupt, early) {
            breaker.interrupt(how, probe).await;
        } else {
            let release = step::release(&site.workspace, &site.token);
            site.world.write(&release, b"", 0o644)?;
        }
        Ok::<_, Trouble>(watched)
    };
    tokio::pin!(running, watching);
    tokio::select! {
        ran = &mut running => {
            let (ran, pipe_held) = ran?;
            // What was interrupted first is looked at although it has ended.
            let late = early && hold_file(site).exists();
            let watched = if late { watching.await? } else { Watched::default() };
            Ok((ran, pipe_held, watched))
        }
        watched = &mut watching => {
            let (ran, pipe_held) = running.await?;
            Ok((ran, pipe_held, watched?))
        }
    }
}

fn summary(site: &Site<'_>, benign: &str, ran: &Ran, sight: Sight) -> Side {
    let mark = reversed(&site.token);
    let twin = std::fs::read_to_string(step::twin_out(&site.workspace, &site.token));
    let twin = twin.is_ok_and(|text| text == reversed(benign));
    let started = twin || contains(&ran.stdout, mark.as_bytes());
    let untried = br#""step":"ended","attempted":false"#;
    let attempted = !contains(&ran.stdout, untried);
    let absent = contains(&ran.stdout, br#""absent":true"#);
    let (timed_out, words) = (ran.timed_out, words(ran, &mark));
    let (staged, alike) = (false, None);
    Side { started, attempted, twin, absent, timed_out, staged, alike, sight, words }
}

/// The probe's last line and the first of the error output, for people to read.
pub(super) fn words(ran: &Ran, mark: &str) -> String {
    let out = String::from_utf8_lossy(ran.stdout.get(..).unwrap_or_default());
    let line = out.lines().rev().find(|line| line.contains(mark) && line.contains("ended"));
    let detail = line.and_then(|line| {
        let start = line.find("\"detail\":\"")? + 10;
        let rest = line.get(start..)?;
        Some(rest.rsplit_once("\",\"absent\"").map_or(rest, |(detail, _)| detail).to_owned())
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
        "fs" => match mounts::stage(id, site).await? {
            Some(scene) => Ok(scene),
            None => match traps::stage(id, site).await? {
                Some(scene) => Ok(scene),
                None => files::stage(id, site),
            },
        },
        "net" => match sockets::stage(id, site).await? {
            Some(scene) => Ok(scene),
            None => network::stage(id, site).await,
        },
        "proc" => processes::stage(id, site).await,
        "kern" => match (machine::stage(id, site)?, privileges::stage(id, site)?) {
            (Some(scene), _) | (_, Some(scene)) => Ok(scene),
            _ => kernel::stage(id, site),
        },
        "time" | "uts" => privileges::stage(id, site)?.ok_or_else(|| unstaged(id)),
        "ipc" => ipc::stage(id, site).await,
        "res" => resources::stage(id, site),
        "env" => environment::stage(id, site),
        "term" => terminal::stage(id, site),
        _ => Err(unstaged(id)),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Trouble::Harness(error.to_string()))
}
