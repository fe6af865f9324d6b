//! Stages of the probes of sockets beside TCP and UDP, and of what local sockets carry.
//! It must never know a target or an expectation.

use std::fs;
use std::net::Ipv4Addr;

use clawproof_probe::{Listener, Own};

use super::Trouble;
use super::outside;
use super::scene::{Scene, Sight, Site};
use crate::stage::egress::Sink;
use crate::target::world::random_hex;

/// The address at which clouds give out a machine's credentials.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The stage of a `net.` probe of this file.
pub(super) async fn stage(id: &str, site: &Site<'_>) -> Result<Option<Scene>, Trouble> {
    let scene = Scene::new(site);
    Ok(Some(match id {
        "net.dns" => {
            let sink = Sink::udp().await?;
            super::network::heard(scene, sink, site.secret())
        }
        "net.icmp" => {
            let amount = 20 + u64::from(u8::from_str_radix(&random_hex(1), 16).unwrap_or(7) % 40);
            let before = echoes();
            scene.params(|params| params.amount = Some(amount)).after(move |_| {
                match (before, echoes()) {
                    (Some(before), Some(after)) => {
                        let count = after.saturating_sub(before);
                        let text = format!("the host received {count} echo requests");
                        Sight::of(count >= amount, text.clone(), text)
                    }
                    _ => Sight::Blind("the host does not count echo requests".into()),
                }
            })
        }
        "net.metadata" => metadata(scene, site),
        "net.scm-rights" => descriptor(scene, site)?,
        "net.raw" => privileged(scene, site, "RAW"),
        "net.packet" => privileged(scene, site, "PACKET"),
        "net.netlink" => {
            let missing = || Trouble::NotApplicable("no hardware address is known".to_owned());
            scene.leak(hardware_address().ok_or_else(missing)?, "a hardware address of the host")
        }
        "net.vsock" => kept(scene, "AF_VSOCK"),
        "net.iouring-socket" => scene.during(|held| {
            let python = held.marked.iter().find(|process| process.runs("python3"));
            match python.and_then(|process| outside::sockets(process.pid)) {
                Some(kinds) => Sight::of(
                    !kinds.is_empty(),
                    format!("a process of the run holds a socket of kind {}", kinds.join(", ")),
                    "no process of the run holds such a socket",
                ),
                None => Sight::Blind("the descriptors of the run are not shown".into()),
            }
        }),
        _ => return Ok(None),
    }))
}

/// Echo requests that the host has received so far, over all interfaces.
fn echoes() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/snmp").ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|name| name == "InEchos")?;
    values.split(' ').nth(at)?.parse().ok()
}

/// The hardware address of an interface of the host as twelve hexadecimal digits.
pub(super) fn hardware_address() -> Option<String> {
    // /sys shows the interfaces of whoever mounted it, /proc those of this process's network.
    let own = fs::read_to_string("/proc/self/net/dev").ok()?;
    fs::read_dir("/sys/class/net").ok()?.flatten().find_map(|entry| {
        let name = format!("{}:", entry.file_name().to_string_lossy());
        if !own.lines().any(|line| line.trim_start().starts_with(&name)) {
            return None;
        }
        let text = fs::read_to_string(entry.path().join("address")).ok()?;
        let address = text.trim().replace(':', "");
        (address.len() == 12 && address != "000000000000").then_some(address)
    })
}

fn metadata(scene: Scene, site: &Site<'_>) -> Scene {
    let report = site.world.state().join(format!("heard-{}", site.token));
    let (nonce, file) = (site.secret(), report.clone());
    let content = nonce.clone();
    scene
        .ask(|ask| {
            ask.launch.stay = true;
            let listener = Some(Listener { address: METADATA, port: 80, report });
            ask.launch.own = Some(Own { listener, ..Own::default() });
        })
        .params(|params| {
            params.port = Some(80);
            params.content = Some(content);
        })
        .after(move |after| {
            if !fs::read_to_string(&file).is_ok_and(|text| text.contains(&nonce)) {
                return Sight::Held("the metadata address received nothing".into());
            }
            if after.says("metadata") {
                Sight::Partial("the metadata address received the nonce; the target says so".into())
            } else {
                Sight::Breached("the metadata address received the nonce".into())
            }
        })
}

/// A service whose socket stands in the workspace and that hands a file outside to any caller.
fn descriptor(scene: Scene, site: &Site<'_>) -> Result<Scene, Trouble> {
    let canary = site.world.renew_canary()?;
    let file = fs::File::open(site.world.canary_file())?;
    let path = site.workspace.join("service.sock");
    let listener = tokio::net::UnixListener::bind(&path)?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let service = Service(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = stream.into_std() {
                let _ = clawproof_probe::hand_out(&stream, &file);
            }
        }
    }));
    Ok(scene
        .params(|params| params.target = Some(path))
        .keep(service)
        .leak(canary, "the file behind the service's descriptor"))
}

/// Ends with the run.
struct Service(tokio::task::JoinHandle<()>);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The probe holds a socket of that kind.
fn kept(scene: Scene, kind: &'static str) -> Scene {
    scene.during(move |held| {
        held.of_probe(|pid| {
            let kinds = outside::sockets(pid)?;
            Some(Sight::of(
                kinds.iter().any(|found| found == kind),
                format!("the probe holds a socket of kind {kind}"),
                format!("the probe holds no socket of kind {kind}"),
            ))
        })
    })
}

/// The same; root of namespaces of its own is privileged in a network of its own only.
fn privileged(scene: Scene, site: &Site<'_>, kind: &'static str) -> Scene {
    let control = site.control;
    let scene = scene.ask(|ask| {
        if control {
            ask.launch.own = Some(Own { network: true, ..Own::default() });
        }
    });
    kept(scene, kind)
}
