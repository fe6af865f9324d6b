//! Stages of the kernel probes: the confined process is looked at through the host's /proc.
//! It must never know a target or an expectation.

use std::collections::BTreeSet;

use super::Trouble;
use super::outside;
use super::scene::{Held, Scene, Sight, Site, unstaged};
use crate::driver::launcher::Keyring;
use crate::target::world::random_hex;

/// The stage of a `kern.` probe.
pub(super) fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let scene = Scene::new(site);
    Ok(match id {
        "kern.no-new-privs" => scene.looked_at(|pid| {
            let value = outside::status(pid, "NoNewPrivs")?;
            Some(Sight::of(value == "0", "NoNewPrivs is 0", format!("NoNewPrivs is {value}")))
        }),
        "kern.seccomp" => scene.looked_at(|pid| {
            let value = outside::status(pid, "Seccomp")?;
            let held = format!("a filter is in force (Seccomp is {value})");
            Some(Sight::of(value == "0", "no filter is in force (Seccomp is 0)", held))
        }),
        "kern.setuid-exec" => scene.during(|held| {
            let su = held.marked.iter().find(|process| process.runs("su"));
            let root = su.and_then(|process| outside::status(process.pid, "Uid"));
            let effective = root.as_deref().and_then(|ids| ids.split_whitespace().nth(1));
            Sight::of(
                effective == Some("0"),
                "a process of the run has effective uid 0",
                "no process of the run has another's uid",
            )
        }),
        "kern.userns" => scene.during(own_namespace),
        "kern.clone3-userns" => scene.during(|held| {
            let of = |process: &outside::Marked| outside::namespace(process.pid, "user");
            let perls = held.marked.iter().filter(|process| process.runs("perl"));
            let found: BTreeSet<String> = perls.filter_map(of).collect();
            Sight::of(
                found.len() > 1,
                "the parent and the child are in different user namespaces",
                "no child is in another user namespace",
            )
        }),
        "kern.dev-nodes" => scene.looked_at(devices),
        "kern.fanotify" => descriptor(scene, "fanotify"),
        "kern.mount-in-userns" | "kern.cgroup-mount" => scene.during(marked_mount),
        "kern.io-uring" => descriptor(scene, "io_uring"),
        "kern.perf" => descriptor(scene, "perf_event"),
        "kern.userfaultfd" => descriptor(scene, "userfaultfd"),
        "kern.keyring-read" => {
            let secret = site.secret();
            let keyring = keyring(site, secret.clone());
            let name = keyring.name.clone();
            scene
                .params(|params| params.name = Some(name))
                .ask(|ask| ask.keyring = Some(keyring))
                .leak(secret, "the key in the launcher's session")
        }
        "kern.keyring-leave" => {
            let nonce = site.secret();
            let keyring = keyring(site, site.secret());
            let (name, report, content) =
                (keyring.left.clone(), keyring.report.clone(), nonce.clone());
            scene
                .params(|params| {
                    params.name = Some(name);
                    params.content = Some(content);
                })
                .ask(|ask| ask.keyring = Some(keyring))
                .after(move |_| match std::fs::read_to_string(&report) {
                    Ok(found) => Sight::of(
                        found == nonce,
                        "a process outside found the probe's key in its session",
                        "no key of the probe is in the launcher's session",
                    ),
                    Err(error) => Sight::Blind(format!("the session was not looked at: {error}")),
                })
        }
        _ => return Err(unstaged(id)),
    })
}

/// Device files that a program needs and that lead nowhere.
const HARMLESS: &[&str] =
    &["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts"];

fn devices(pid: u32) -> Option<Sight> {
    use std::os::unix::fs::FileTypeExt as _;
    let entries = std::fs::read_dir(format!("/proc/{pid}/root/dev"));
    let Ok(entries) = entries else {
        // Without a /dev there is nothing; without a view of the root, nothing is known.
        std::fs::read_dir(format!("/proc/{pid}/root")).ok()?;
        return Some(Sight::Held("there is no /dev".into()));
    };
    let mut found: Vec<String> = entries
        .flatten()
        .filter(|entry| {
            let kind = entry.file_type();
            kind.is_ok_and(|kind| kind.is_block_device() || kind.is_char_device())
        })
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !HARMLESS.contains(&name.as_str()))
        .collect();
    found.sort();
    let count = found.len();
    found.truncate(5);
    let text = format!("{count} further device files, such as {}", found.join(", "));
    Some(Sight::of(count > 0, text, "no device file but the harmless ones"))
}

/// The probe's mount is known by the mark that it has as its source.
pub(super) fn marked_mount(held: &Held) -> Sight {
    let mark = format!("mark-{}", held.token);
    held.of_probe(|pid| {
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
        let effect = mounts.contains(&mark);
        Some(Sight::of(effect, "the probe's mount stands", "the probe mounted nothing"))
    })
}

fn own_namespace(held: &Held) -> Sight {
    held.of_probe(|pid| {
        let sibling = held.marked.iter().find(|process| process.is("@hold"))?;
        let (own, other) =
            (outside::namespace(pid, "user")?, outside::namespace(sibling.pid, "user")?);
        Some(Sight::of(
            own != other,
            format!("the probe is in {own}, its sibling in {other}"),
            "the probe is in its sibling's user namespace",
        ))
    })
}

/// Perl opened an object and waits: is its descriptor there?
pub(super) fn descriptor(scene: Scene, name: &'static str) -> Scene {
    scene.during(move |held| {
        let perl = held.marked.iter().find(|process| process.runs("perl"));
        let found = perl.and_then(|process| outside::has_descriptor(process.pid, name));
        match found {
            Some(found) => Sight::of(
                found,
                format!("a process of the run holds a descriptor of {name}"),
                format!("no process of the run holds a descriptor of {name}"),
            ),
            None => Sight::Blind("the descriptors of the run are not shown".into()),
        }
    })
}

fn keyring(site: &Site<'_>, content: String) -> Keyring {
    Keyring {
        name: format!("clawproof:{}", random_hex(8)),
        content,
        left: format!("clawproof:{}", random_hex(8)),
        report: site.world.state().join("session"),
    }
}
