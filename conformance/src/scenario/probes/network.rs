//! Stages of the network probes: loopback listeners of the suite, which never answer first.
//! It must never know a target or an expectation.

use super::Trouble;
use super::scene::{Scene, Sight, Site, unstaged};
use crate::stage::egress::{self, Ear, Sink};
use crate::target::world::random_hex;

/// The stage of a `net.` probe.
pub(super) async fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let scene = Scene::new(site);
    let nonce = site.secret();
    let (sink, scene) = match id {
        "net.tcp4" => (Sink::tcp(false).await?, scene),
        "net.tcp6" => (Sink::tcp(true).await?, scene),
        "net.udp4" => (Sink::udp().await?, scene),
        "net.unix-abstract" => {
            let name = format!("clawproof-{}", random_hex(8));
            let sink = Sink::abstract_name(&name)?;
            (sink, scene.params(|params| params.name = Some(name)))
        }
        "net.unix-host" | "net.unix-in-ws" => {
            let inside = id == "net.unix-in-ws";
            let folder = if inside { site.workspace.clone() } else { site.world.outside() };
            let path = folder.join("service.sock");
            let sink = Sink::unix(&path)?;
            (sink, scene.params(|params| params.target = Some(path)))
        }
        "net.bind-host" => return bind_host(scene, nonce),
        _ => return Err(unstaged(id)),
    };
    Ok(heard(scene, sink, nonce))
}

/// The effect is that the sink, whose port the probe is told, hears the nonce.
pub(super) fn heard(scene: Scene, sink: Sink, nonce: String) -> Scene {
    let (port, ear) = (sink.port(), sink.ear());
    let content = nonce.clone();
    scene
        .params(|params| {
            params.port = Some(port);
            params.content = Some(content);
        })
        .keep(sink)
        .after(move |_| arrived(&ear, &nonce))
}

fn arrived(ear: &Ear, nonce: &str) -> Sight {
    // A datagram that was sent may still be on its way.
    for _ in 0..10 {
        if ear.heard(nonce) {
            return Sight::Breached("the listener outside received the nonce".into());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Sight::Held("the listener outside received nothing".into())
}

fn bind_host(scene: Scene, nonce: String) -> Result<Scene, Trouble> {
    let port = egress::free_port()?;
    let content = nonce.clone();
    Ok(scene
        .params(|params| {
            params.port = Some(port);
            params.content = Some(content);
        })
        .during(move |_| {
            let answer = egress::ask(port);
            Sight::of(
                crate::target::process::contains(&answer, nonce.as_bytes()),
                "the host connected to the probe's port and got the nonce",
                "no listener of the probe is reachable from the host",
            )
        }))
}
