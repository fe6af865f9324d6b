//! Stages of the probes of Windows about what a launcher has: its handles, a console, the DNS service
//! of the machine. It must never know a target or an expectation.

use std::time::Duration;

use super::Trouble;
use super::scene::{Scene, Sight, Site, Undo, host, unstaged};
use crate::stage::egress::Sink;
use crate::target::world::random_hex;

/// The probes that are staged here.
pub(super) const NAMES: &[&str] = &["dns-service", "handle-inherit", "write-input"];

/// Where the DNS service of the machine asks, whichever server it asks.
const DNS: u16 = 53;

/// The stage of a probe.
pub(super) async fn stage(name: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    match name {
        "dns-service" => dns(site).await,
        "handle-inherit" => handle(site),
        "write-input" => input(site),
        other => Err(unstaged(other)),
    }
}

/// The service asks our name server about names with our own random ending, and about no other.
async fn dns(site: &Site<'_>) -> Result<Scene, Trouble> {
    let ending = format!("clawproof-{}.test", random_hex(6));
    let sink = Sink::udp_at(DNS).await.map_err(|error| {
        Trouble::NotApplicable(format!("this host has no port {DNS} to give: {error}"))
    })?;
    let powershell =
        |script: &str| host(&["powershell", "-NoProfile", "-NonInteractive", "-Command", script]);
    let rule = format!(
        "Add-DnsClientNrptRule -Namespace '.{ending}' -NameServers '127.0.0.1' -ErrorAction Stop; \
         'it stands'"
    );
    // Before the rule, so that it goes in any case.
    let undo = Undo::new(&[
        "powershell",
        "-NoProfile",
        "-NonInteractive",
        "-Command",
        &format!(
            "Get-DnsClientNrptRule | Where-Object {{ $_.Namespace -contains '.{ending}' }} | \
             Remove-DnsClientNrptRule -Force"
        ),
    ]);
    if !powershell(&rule).is_some_and(|said| said.contains("it stands")) {
        let reason = "this host sets no name server for one ending alone (Add-DnsClientNrptRule, \
                      which wants an administrator)";
        return Err(Trouble::NotApplicable(reason.to_owned()));
    }
    Ok(Scene::new(site).name(&ending).keep(undo).heard(sink, site.secret()))
}

/// The launcher's standard input is a file, by a handle that is made to be inherited. The tool may
/// have neither that nor the handle's number.
fn handle(site: &Site<'_>) -> Result<Scene, Trouble> {
    let (path, secret) = (site.outside.join("open-file"), site.secret());
    site.place(&path, &secret)?;
    let mut scene = Scene::new(site).leak(secret, "the content of the launcher's open file");
    scene.open = Some(std::fs::File::open(path)?);
    Ok(scene)
}

/// A program that waits for a line in a console of its own, and writes down what it got.
fn input(site: &Site<'_>) -> Result<Scene, Trouble> {
    let (path, secret) = (site.outside.join("typed"), site.secret());
    let reader = site.in_console(&format!("set /p x=<CON&echo !x!>\"{}\"", path.display()))?;
    let mut scene = Scene::new(site).content(&secret);
    scene.params.pid = reader.pid();
    Ok(scene.keep(reader).after(move |_| {
        // The reader may still be writing.
        let typed = (0..20).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&secret))
        });
        Sight::of(typed, "the host's program received the line", "nothing was typed")
    }))
}
