//! Stages of the process probes: canary processes of the host, and looking for what stays behind.
//! It must never know a target or an expectation.

use clawproof_probe::Own;

use super::Trouble;
use super::outside;
use super::scene::{After, Scene, Sight, Site, unstaged};
use crate::driver::launcher::Interrupt;
use crate::stage::neighbours::Neighbour;

const SIGURG: u32 = 23;
const SIGWINCH: u32 = 28;

/// The stage of a `proc.` probe.
pub(super) async fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let scene = Scene::new(site);
    let secret = site.secret();
    Ok(match id {
        "proc.pid1-environ" => {
            let variable = ("SERVICE_API_KEY".to_owned(), secret.clone());
            scene
                .ask(|ask| {
                    ask.env.push(variable);
                    ask.launch.stay = true;
                })
                .leak(secret, "the launcher's environment")
        }
        "proc.pid1-cmdline" => arguments(scene, site, secret),
        "proc.setns" => namespaces(scene, site),
        "proc.orphan-monitor" => broken_off(scene, Interrupt::Monitor),
        "proc.pdeathsig-thread" => tied(scene, site),
        "proc.orphan-exit" => Scene { heartbeat: true, ..scene },
        "proc.orphan-launcher" => broken_off(scene, Interrupt::Kill),
        "proc.timeout-setsid" => broken_off(scene, Interrupt::TimeOut),
        "proc.pipe-held" => scene.after(|after| {
            Sight::of(
                after.pipe_held,
                "the output was still open two seconds after the launcher's end",
                "the output ended with the launcher",
            )
        }),
        _ => with_neighbour(id, scene, site, secret).await?,
    })
}

fn broken_off(scene: Scene, how: Interrupt) -> Scene {
    Scene { heartbeat: true, interrupt: Some(how), must_stand: true, ..scene }
}

/// A word that stands only in the arguments of the process that starts the launcher; or the first
/// of the launcher's own, one after the other.
fn arguments(scene: Scene, site: &Site<'_>, secret: String) -> Scene {
    let own: Vec<String> = site.prefix.iter().flatten().skip(1).take(3).cloned().collect();
    let own = (own.len() > 1).then(|| own.join("\n"));
    let note = secret.clone();
    scene
        .ask(|ask| {
            ask.launch.stay = true;
            ask.launch.note = note;
        })
        .after(move |after| {
            Sight::of(
                after.says(&secret) || own.is_some_and(|own| after.says(&own)),
                "the launcher's arguments came out of the sandbox",
                "the launcher's arguments did not come out",
            )
        })
}

/// The control stands in a mount namespace below that of its launcher, as root of both.
fn namespaces(scene: Scene, site: &Site<'_>) -> Scene {
    let control = site.control;
    scene
        .ask(|ask| {
            if control {
                ask.launch.stay = true;
                ask.launch.own = Some(Own { root: true, below: true, ..Own::default() });
            }
        })
        .during(|held| {
            held.of_probe(|pid| {
                let own = outside::namespace(pid, "mnt")?;
                let launchers = held.marked.iter().filter(|process| process.is("@launch"));
                // The suite may stand in namespaces of its own; the first processes do not.
                let hosts = [std::process::id(), 1, 2];
                let mut others = launchers.map(|process| process.pid).chain(hosts);
                Some(Sight::of(
                    others.any(|other| outside::namespace(other, "mnt").as_ref() == Some(&own)),
                    "the probe stands in the mount namespace of the host or its launcher",
                    "the probe stands in a mount namespace of its own",
                ))
            })
        })
}

/// The control is tied to the thread that starts it, as a launcher is that asks for its own end
/// with its parent's and does not know that the kernel means the parent's thread.
fn tied(scene: Scene, site: &Site<'_>) -> Scene {
    let control = site.control;
    let scene = Scene { must_stand: true, interrupt: Some(Interrupt::Thread), ..scene };
    scene
        .ask(|ask| {
            ask.by_thread = true;
            ask.launch.tied = control;
        })
        .during(|held| {
            Sight::of(
                held.probe().is_none(),
                "the probe was ended with the thread that started its launcher",
                "the probe lives on although the thread that started its launcher ended",
            )
        })
}

async fn with_neighbour(
    id: &str,
    scene: Scene,
    site: &Site<'_>,
    secret: String,
) -> Result<Scene, Trouble> {
    let mut neighbour = Neighbour::start(site.world, &site.helper, &secret).await?;
    let pid = neighbour.pid;
    let scene = scene.params(|params| params.pid = i32::try_from(pid).ok());
    Ok(match id {
        "proc.kill-pid" => scene.after(move |_| {
            // A signal that was sent may still be on its way.
            for _ in 0..30 {
                if !neighbour.alive() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Sight::of(!neighbour.alive(), "the canary process was killed", "the canary lives")
        }),
        "proc.kill-minus1" => signalled(scene, neighbour, SIGURG),
        "proc.kill-pgrp0" => signalled(scene.ask(|ask| ask.group = Some(pid)), neighbour, SIGWINCH),
        "proc.ptrace" => scene
            .during(move |_| {
                let tracer = outside::status(pid, "TracerPid");
                Sight::of(
                    tracer.is_some_and(|tracer| tracer != "0"),
                    "the canary process has a tracer",
                    "the canary process has no tracer",
                )
            })
            .keep(neighbour),
        "proc.vm-readv" => {
            let held = neighbour.secret.clone();
            let (address, length) = (neighbour.address, neighbour.length);
            scene
                .params(|params| {
                    params.number = Some(address);
                    params.amount = Some(length);
                })
                .keep(neighbour)
                .leak(held, "the canary process's memory")
        }
        "proc.prlimit-host" => scene
            .params(|params| params.number = Some(77))
            .after(move |_| {
                let limit = outside::limit(pid, "Max open files");
                Sight::of(
                    limit == Some([Some(77), Some(77)]),
                    "the canary process's limit was changed",
                    "the canary process's limit is unchanged",
                )
            })
            .keep(neighbour),
        "proc.list-host" => scene.keep(neighbour).leak(secret, "the canary process's command line"),
        _ => return Err(unstaged(id)),
    })
}

fn signalled(scene: Scene, neighbour: Neighbour, signal: u32) -> Scene {
    let pid = neighbour.pid;
    let look = move |_: &After<'_>| {
        Sight::of(
            outside::pending(pid, signal),
            "the signal is pending at the canary process",
            "no signal reached the canary process",
        )
    };
    scene.after(look).keep(neighbour)
}
