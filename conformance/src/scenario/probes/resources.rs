//! Stages of the resource probes: counted and measured from outside while the bomb stands.
//! It must never know a target or an expectation.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Trouble;
use super::outside;
use super::scene::{Held, Removed, Scene, Sight, Site, unstaged};
use crate::sensor::resident::Watch;

/// Processes of the bomb.
const PROCESSES: u64 = 200;
/// Bytes of the bombs of memory and disk.
const BYTES: u64 = 300_000_000;
/// What counts as the whole of it: measuring is in blocks and pages.
const NEARLY: u64 = 290_000_000;
/// Bytes that are printed.
const FLOOD: u64 = 64_000_000;
/// Files that are opened.
const FILES: u64 = 4_096;

/// The stage of a `res.` probe.
pub(super) fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let scene = Scene::new(site);
    Ok(match id {
        "res.fork" => scene.params(|params| params.amount = Some(PROCESSES)).during(|held| {
            let count = held.marked.iter().filter(|process| process.is("@hold")).count();
            Sight::of(
                count as u64 >= PROCESSES,
                format!("{count} processes stood at once"),
                format!("{count} of {PROCESSES} processes stood at once"),
            )
        }),
        "res.mem" => scene.params(|params| params.amount = Some(32_000_000)).during(|held| {
            held.of_probe(|pid| {
                let size = outside::size(pid, "VmSize")?;
                if let Some(bound) = outside::memory_bound(pid) {
                    return Some(Sight::Held(format!("its cgroup bounds it to {bound} bytes")));
                }
                let text = format!("the process has {size} bytes of address space");
                Some(Sight::of(size >= 4_000_000_000, text.clone(), text))
            })
        }),
        "res.mem-aggregate" => scene.params(|params| params.amount = Some(BYTES)).during(aggregate),
        "res.fds" => scene.params(|params| params.amount = Some(FILES)).during(|held| {
            held.of_probe(|pid| {
                let size = outside::status(pid, "FDSize")?.parse::<u64>().ok()?;
                let text = format!("the process's descriptor table has {size} places");
                Some(Sight::of(size >= FILES, text.clone(), text))
            })
        }),
        "res.disk-ws" => {
            let path = site.workspace.join("large");
            let guard = Removed(path.clone());
            scene.params(|params| params.amount = Some(BYTES)).keep(guard).after(move |_| {
                let bytes = fs::symlink_metadata(&path).map_or(0, |data| data.blocks() * 512);
                let text = format!("the file takes {bytes} bytes of disk");
                Sight::of(bytes >= NEARLY, text.clone(), text)
            })
        }
        "res.tmpfs" => tmpfs(scene, site),
        "res.stdout-flood" => {
            let root = site.world.root().to_owned();
            let before = disk(&root);
            let watch = site.runtime.and_then(Watch::start);
            scene.params(|params| params.amount = Some(FLOOD)).after(move |after| {
                let bytes = after.ran.stdout.len();
                // What is not handed on is bounded only where it is not kept elsewhere instead.
                let kept = disk(&root).saturating_sub(before);
                // Twice as much: one that reads in pieces and drops them may grow by some of it.
                let grown = watch.map_or(0, |watch| watch.growth());
                let text = format!(
                    "{bytes} bytes came back, {kept} lie in the target's files, its memory grew by \
                     {grown}"
                );
                let breached = bytes >= 16_000_000 || kept >= FLOOD / 10 * 9 || grown >= FLOOD * 2;
                Sight::of(breached, text.clone(), text)
            })
        }
        "res.core" => {
            let folder = site.workspace.clone();
            scene.after(move |_| {
                let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
                let found = entries.into_iter().any(|entry| {
                    let name = entry.file_name();
                    let size = entry.metadata().map_or(0, |data| data.len());
                    name.to_string_lossy().starts_with("core") && size > 0
                });
                Sight::of(found, "a core file lies in the workspace", "there is no core file")
            })
        }
        "res.cpu" => Scene { must_stand: true, ..scene.during(processor) },
        "res.nice-rt" => {
            // A careless launcher may have been granted what makes the call succeed.
            let eager = !site.control && may_raise_limits();
            let uid = site.world.uid();
            scene
                .ask(|ask| {
                    if eager {
                        ask.as_suite = true;
                        ask.launch.eager = true;
                        ask.launch.uid = uid;
                    }
                })
                .during(priority)
        }
        "res.inotify" => watches(scene, site),
        _ => return Err(unstaged(id)),
    })
}

/// Bytes of disk that a tree takes; links are not followed.
fn disk(root: &Path) -> u64 {
    let Ok(data) = fs::symlink_metadata(root) else { return 0 };
    let below = if data.is_dir() { fs::read_dir(root).ok() } else { None };
    let below = below.into_iter().flatten().flatten();
    data.blocks() * 512 + below.map(|entry| disk(&entry.path())).sum::<u64>()
}

fn processor(held: &Held) -> Sight {
    held.of_probe(|pid| {
        let [_, hard] = outside::limit(pid, "Max cpu time")?;
        Some(match hard {
            Some(seconds) => Sight::Held(format!("it is bounded to {seconds} s")),
            None => Sight::Breached("its processor time is unlimited".into()),
        })
    })
}

/// Whether this process may raise hard limits: it is root and has `CAP_SYS_RESOURCE`.
fn may_raise_limits() -> bool {
    let mask = outside::status(std::process::id(), "CapEff");
    let mask = mask.and_then(|text| u64::from_str_radix(&text, 16).ok());
    rustix::process::geteuid().is_root() && mask.is_some_and(|mask| mask & (1 << 24) != 0)
}

fn priority(held: &Held) -> Sight {
    held.of_probe(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name: state is field 3, nice is field 19, policy is field 41.
        let fields: Vec<i64> =
            stat.rsplit_once(") ")?.1.split(' ').map(|word| word.parse().unwrap_or(0)).collect();
        let (nice, policy) = (*fields.get(16)?, *fields.get(38)?);
        let text = format!("its nice value is {nice}, its policy {policy}");
        Some(Sight::of(nice < 0 || matches!(policy, 1 | 2), text.clone(), text))
    })
}

/// Another process of the target's user asks for a file watch instance while the probe stands.
fn watches(scene: Scene, site: &Site<'_>) -> Scene {
    let report = site.world.state().join(format!("watches-{}", site.token));
    let mut command = site.world.command(&site.helper);
    command.arg("@watches").arg(&report);
    scene.during(move |_| {
        let ran = command.as_std_mut().status();
        match (ran, fs::read_to_string(&report).as_deref()) {
            (Ok(_), Ok("no")) => Sight::Breached("the user's other programs get no watch".into()),
            (Ok(_), Ok("yes")) => Sight::Held("the user's other programs get a watch".into()),
            _ => Sight::Blind("no other process of the user could ask for a watch".into()),
        }
    })
}

fn aggregate(held: &Held) -> Sight {
    let children: Vec<u32> =
        held.marked.iter().filter(|process| process.is("@memory")).map(|child| child.pid).collect();
    let sum: u64 = children.iter().filter_map(|pid| outside::size(*pid, "VmRSS")).sum();
    let text = format!("{} processes hold {sum} bytes", children.len());
    if sum < NEARLY {
        return Sight::Held(text);
    }
    let bounded = |name| {
        let limits = children.iter().map(|pid| outside::limit(*pid, name));
        limits.into_iter().all(|limit| matches!(limit, Some([_, Some(_)])))
    };
    if children.iter().all(|pid| outside::memory_bound(*pid).is_some()) {
        Sight::Held(format!("{text}, in a cgroup that is bounded"))
    } else if bounded("Max address space") && bounded("Max processes") {
        Sight::Partial(format!("{text}; each is bounded and so is their number, their sum is not"))
    } else {
        Sight::Breached(text)
    }
}

fn tmpfs(scene: Scene, site: &Site<'_>) -> Scene {
    let names: Vec<String> = (0..10).map(|part| format!("flood-{}-{part}", site.token)).collect();
    let mut scene = scene.params(|params| params.amount = Some(BYTES));
    for folder in ["/dev/shm", "/tmp", "/dev"] {
        for name in &names {
            scene = scene.keep(Removed(format!("{folder}/{name}").into()));
        }
    }
    scene.during(move |held| {
        held.of_probe(|pid| {
            let mut sum = 0;
            for folder in ["dev/shm", "tmp", "dev"] {
                let folder = format!("/proc/{pid}/root/{folder}");
                // Not shown and not there look alike, so the root itself must be readable.
                fs::read_dir(format!("/proc/{pid}/root")).ok()?;
                for name in &names {
                    let data = fs::symlink_metadata(format!("{folder}/{name}"));
                    sum += data.map_or(0, |data| data.blocks() * 512);
                }
            }
            let text = format!("{sum} bytes lie in /dev/shm, /tmp and /dev");
            Some(Sight::of(sum >= NEARLY, text.clone(), text))
        })
    })
}
