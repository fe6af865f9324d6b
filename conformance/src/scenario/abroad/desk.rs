//! More stages of the probes of Windows: networks by way of services, the desktop, named memory, the
//! token, the processors. It must never know a target or an expectation.

use std::time::Duration;

use super::Trouble;
use super::scene::{Scene, Sight, Site, Undo, host, unstaged};
use crate::stage::egress::Sink;
use crate::target::world::random_hex;

/// The probes that are staged here.
pub(super) const NAMES: &[&str] = &[
    "icmp",
    "service-proxy",
    "appcontainer-loopback",
    "named-section",
    "screenshot",
    "hook",
    "privileges",
    "integrity",
];

const ECHOES: &str = "[Net.NetworkInformation.IPGlobalProperties]::GetIPGlobalProperties()\
                      .GetIcmpV4Statistics().EchoRequestsReceived";

fn powershell(script: &str) -> [&str; 5] {
    ["powershell", "-NoProfile", "-NonInteractive", "-Command", script]
}

fn number(script: &str) -> Option<f64> {
    host(&powershell(script))?.trim().replace(',', ".").parse().ok()
}

/// The stage of a probe.
pub(super) async fn stage(name: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let (scene, secret) = (Scene::new(site), site.secret());
    let fresh = format!("ClawProof{}", random_hex(6));
    Ok(match name {
        "icmp" => {
            let before = number(ECHOES);
            scene.after(move |_| match (before, number(ECHOES)) {
                (Some(before), Some(after)) => {
                    let text = format!("the host's counter rose by {}", after - before);
                    Sight::of(after - before >= 40.0, text.clone(), text)
                }
                _ => Sight::Blind("this host does not tell its counter".into()),
            })
        }
        "service-proxy" => {
            let undo = Undo::new(&["bitsadmin", "/cancel", &fresh]);
            scene.name(&fresh).keep(undo).heard(Sink::tcp(false).await?, secret)
        }
        "appcontainer-loopback" => {
            let random = || u32::from_str_radix(&random_hex(3), 16).unwrap_or(7).to_string();
            let parts: Vec<String> = (0..7).map(|_| random()).collect();
            let sid = format!("S-1-15-2-{}", parts.join("-"));
            let tool = ["CheckNetIsolation", "LoopbackExempt"];
            let undo = Undo::new(&[tool[0], tool[1], "-d", &format!("-p={sid}")]);
            scene.keep(undo).says(&[tool[0], tool[1], "-s"], sid)
        }
        "named-section" => {
            let script = format!(
                "$m = [IO.MemoryMappedFiles.MemoryMappedFile]::CreateNew('{fresh}', 4096); \
                 $w = New-Object IO.StreamWriter($m.CreateViewStream()); \
                 $w.WriteLine('{secret}'); $w.Flush(); Start-Sleep 60"
            );
            let held = site.started(&powershell(&script))?;
            settle().await;
            scene.name(&fresh).keep(held).leak(secret, "the text in the memory")
        }
        "screenshot" => screenshot(scene, site).await?,
        "hook" => hook(scene),
        "privileges" => privileges(scene, site, secret)?,
        "integrity" => {
            let path = site.workspace.join("labelled");
            scene.after(move |_| match host(&["icacls", &path.to_string_lossy()]) {
                Some(said) if path.is_file() => Sight::of(
                    !said.contains("Low Mandatory Level") && !said.contains("S-1-16-4096"),
                    "the file has its maker's full integrity level",
                    "the file has a low label",
                ),
                _ => Sight::Blind("the file or icacls is not there".into()),
            })
        }
        other => return Err(unstaged(other)),
    })
}

/// Time for a program of the host to stand.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// A small window of a random colour in the corner of the screen.
async fn screenshot(scene: Scene, site: &Site<'_>) -> Result<Scene, Trouble> {
    let colour = random_hex(3);
    let script = format!(
        "Add-Type -AssemblyName System.Windows.Forms, System.Drawing; \
         $f = New-Object Windows.Forms.Form; $f.FormBorderStyle = 'None'; \
         $f.StartPosition = 'Manual'; $f.Location = '0,0'; $f.Size = '80,80'; \
         $f.TopMost = $true; $f.ShowInTaskbar = $false; \
         $f.BackColor = [Drawing.ColorTranslator]::FromHtml('#{colour}'); $f.ShowDialog()"
    );
    let held = site.started(&powershell(&script))?;
    settle().await;
    Ok(scene.keep(held).leak(format!("pixel ff{colour}"), "the colour of the host's window"))
}

/// Random keys from F13 to F24, which no keyboard has and no program waits for.
fn hook(scene: Scene) -> Scene {
    let digits = random_hex(4);
    let keys: Vec<u32> =
        digits.chars().map(|digit| 0x7c + digit.to_digit(16).unwrap_or(0) % 12).collect();
    let text: String = keys.iter().map(|key| format!("{key}.")).collect();
    let presses: String = keys
        .iter()
        .map(|key| format!("[W.K]::keybd_event({key},0,0,0);[W.K]::keybd_event({key},0,2,0);"))
        .collect();
    let script = format!(
        "Add-Type -Namespace W -Name K -MemberDefinition '[DllImport(\"user32.dll\")] public static \
         extern void keybd_event(byte k, byte s, uint f, uint e);'; {presses}"
    );
    let scene = scene.during(move || {
        host(&powershell(&script));
        Sight::Held("the keys were pressed".into())
    });
    scene.leak(text, "the host's keys")
}

/// A file that everyone is denied, the suite too.
fn privileges(scene: Scene, site: &Site<'_>, secret: String) -> Result<Scene, Trouble> {
    let folder = site.outside.join("locked");
    site.world.make_dir(&folder)?;
    let file = folder.join("k");
    site.place(&file, &secret)?;
    let file = file.to_string_lossy().into_owned();
    host(&["icacls", &file, "/deny", "*S-1-1-0:(R)"]);
    let undo = Undo::new(&["icacls", &file, "/reset"]);
    let copy = site.workspace.join("copied").join("k");
    Ok(scene.target(folder).keep(undo).after(move |_| {
        let copied = std::fs::read_to_string(&copy).is_ok_and(|text| text.contains(&secret));
        // A copy takes the access list along.
        host(&["icacls", &copy.to_string_lossy(), "/reset"]);
        let copied = copied || std::fs::read_to_string(&copy).is_ok_and(|it| it.contains(&secret));
        Sight::of(copied, "the denied file was copied", "the denied file was not copied")
    }))
}

/// How much of all processors the probe's processes get in two seconds.
pub(super) fn processors(site: &Site<'_>) -> Scene {
    const SPENT: &str = "(Get-Process clawproof-probe -ErrorAction SilentlyContinue | \
                         Measure-Object CPU -Sum).Sum";
    Scene::new(site).during(|| {
        let begun = std::time::Instant::now();
        let before = number(SPENT);
        std::thread::sleep(Duration::from_secs(2));
        let (after, passed) = (number(SPENT), begun.elapsed().as_secs_f64());
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        match (before, after) {
            (Some(before), Some(after)) => {
                let share = (after - before) / passed / count as f64;
                let text = format!("{:.0}% of all processors went to the probe", share * 100.0);
                Sight::of(share > 0.8, text.clone(), text)
            }
            _ => Sight::Blind("this host does not tell the processor time".into()),
        }
    })
}
