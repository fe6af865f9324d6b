//! The stages of the probes of Windows. It must never know a target or an expectation.

use std::path::{Path, PathBuf};

use super::Trouble;
use super::scene::{Removed, Scene, Sight, Site, Undo, host, plain, shared, unstaged};
use crate::stage::egress::Sink;
use crate::target::world::random_hex;

/// The stage of a probe.
pub(super) async fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let (boundary, name) = id.split_once('.').unwrap_or((id, ""));
    if let Some(scene) = shared(name, site).await? {
        return Ok(scene);
    }
    if super::console::NAMES.contains(&name) {
        return super::console::stage(name, site).await;
    }
    match boundary {
        "windows-fs" => files(name, site),
        "windows-proc" => processes(name, site),
        "windows-res" if name == "cpu" => Ok(super::desk::processors(site)),
        "windows-res" => Ok(resources(name, site)),
        "windows-ui" | "windows-tok" | "windows-ipc" | "windows-net"
            if super::desk::NAMES.contains(&name) =>
        {
            super::desk::stage(name, site).await
        }
        _ => services(name, site),
    }
}

/// A path in another spelling.
fn spelled(head: &str, path: &Path) -> PathBuf {
    format!("{head}{}", path.display()).into()
}

fn files(name: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let (scene, secret) = (Scene::new(site), site.secret());
    let fresh = format!("clawproof-{}", random_hex(8));
    let outside = &site.outside;
    let file = plain(&site.world.canary_file());
    let canary = |scene: Scene, path: PathBuf| -> Result<Scene, Trouble> {
        let canary = site.world.renew_canary()?;
        Ok(scene.target(path).leak(canary, "the file's content"))
    };
    Ok(match name {
        "write-profile" => scene.made(outside.join(fresh), secret),
        "read-secrets" | "junction" | "symlink" | "hardlink" => canary(scene, file)?,
        "everyone-writable" => {
            let folder = outside.join("open");
            site.world.make_dir(&folder)?;
            let everyone = "*S-1-1-0:(OI)(CI)F";
            host(&["icacls", &folder.to_string_lossy(), "/grant", everyone]);
            scene.made(folder.join(fresh), secret)
        }
        "startup" => {
            let below = r"AppData\Roaming\Microsoft\Windows\Start Menu\Programs\Startup";
            let folder = plain(&site.world.home()).join(below);
            site.world.make_dir(&folder)?;
            scene.made(folder.join("probe.cmd"), secret)
        }
        "temp-read" => {
            let path = std::env::temp_dir().join(fresh);
            site.place(&path, &secret)?;
            let guard = Removed(path.clone());
            scene.target(path).keep(guard).leak(secret, "the private file's content")
        }
        "symlink-planted" => {
            let at = site.workspace.join("reports");
            site.world.make_dir(&at)?;
            let canary = site.world.renew_canary()?;
            scene.target(file).after(move |_| {
                let found = std::fs::read_to_string(at.join("k"));
                let found = found.is_ok_and(|text| text.contains(&canary));
                // The junction itself goes, never what it leads to.
                let _ = std::fs::remove_dir(&at);
                Sight::of(
                    found,
                    "the host opened a workspace path and got the outside file",
                    "the workspace path does not lead outside",
                )
            })
        }
        "ads" => scene.made(spelled("", &file.with_file_name("k:probe")), secret),
        "name-alias" => {
            let path = outside.join(&fresh);
            scene.target(outside.join(format!("{fresh}."))).changed(path, secret)
        }
        "verbatim" => canary(scene, spelled(r"\\?\", &file))?,
        "device" => canary(scene, spelled(r"\\.\", &file))?,
        "unc" => {
            let text = file.display().to_string().replacen(':', "$", 1);
            canary(scene, spelled(r"\\127.0.0.1\", Path::new(&text)))?
        }
        other => return Err(unstaged(other)),
    })
}

fn services(name: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let (scene, secret) = (Scene::new(site), site.secret());
    let fresh = format!("ClawProof{}", random_hex(6));
    let key = format!(r"HKCU\Software\{fresh}");
    let powershell = |line| ["powershell", "-NoProfile", "-NonInteractive", "-Command", line];
    Ok(match name {
        "hkcu-run" => scene
            .name(&key)
            .keep(Undo::new(&["reg", "delete", &key, "/f"]))
            .says(&["reg", "query", &key, "/v", "probe"], secret),
        "hkcu-read" => {
            host(&["reg", "add", &key, "/v", "probe", "/t", "REG_SZ", "/d", &secret, "/f"]);
            let undo = Undo::new(&["reg", "delete", &key, "/f"]);
            scene.name(&key).keep(undo).leak(secret, "the registry's value")
        }
        "pipe-agent" => {
            let path = format!(r"\\.\pipe\{fresh}");
            let sink = Sink::pipe(&path)?;
            scene.target(path).heard(sink, secret)
        }
        "clipboard-write" => {
            scene.keep(Clipboard::keep()).says(&powershell("Get-Clipboard"), secret)
        }
        "clipboard-read" => {
            let kept = Clipboard::keep();
            Clipboard::set(&secret);
            scene.keep(kept).leak(secret, "the host's clipboard")
        }
        "credman" => {
            let generic = format!("/generic:{fresh}");
            host(&["cmdkey", &generic, "/user:clawproof", "/pass:nothing"]);
            let undo = Undo::new(&["cmdkey", &format!("/delete:{fresh}")]);
            scene.keep(undo).leak(fresh, "the name of the host's credential")
        }
        "reenter" => scene.made(site.outside.join("by-subsystem"), secret),
        other => return Err(unstaged(other)),
    })
}

/// The clipboard's text as it was, put back at the end.
struct Clipboard(String);

impl Clipboard {
    fn keep() -> Self {
        let line = ["powershell", "-NoProfile", "-NonInteractive", "-Command", "Get-Clipboard"];
        Self(host(&line).unwrap_or_default())
    }

    fn set(text: &str) {
        let script = format!("Set-Clipboard -Value '{}'", text.trim_end().replace('\'', "''"));
        host(&["powershell", "-NoProfile", "-NonInteractive", "-Command", &script]);
    }
}

impl Drop for Clipboard {
    fn drop(&mut self) {
        Self::set(&self.0);
    }
}

fn processes(name: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let (scene, secret) = (Scene::new(site), site.secret());
    let fresh = format!("ClawProof{}", random_hex(6));
    let by = |scene: Scene, who: &str| scene.made(site.outside.join(who), site.secret());
    let neighbour = |program: &Path| site.neighbour(program, &secret);
    Ok(match name {
        "wmi-create" => by(scene, "by-management"),
        "com-shell" => by(scene, "by-shell"),
        "schtasks" => {
            let undo = Undo::new(&["schtasks", "/delete", "/tn", &fresh, "/f"]);
            by(scene.name(&fresh).keep(undo), "by-scheduler")
        }
        "bits" => {
            let undo = Undo::new(&["bitsadmin", "/cancel", &fresh]);
            scene.name(&fresh).keep(undo).says(&["bitsadmin", "/list"], fresh)
        }
        "wmi-list" => {
            let neighbour = neighbour(&site.helper)?;
            scene.keep(neighbour).leak(secret, "the canary process's argument")
        }
        "kill" => {
            let mut neighbour = neighbour(&site.helper)?;
            let mut scene = scene;
            scene.params.pid = neighbour.pid();
            scene.after(move |_| {
                Sight::of(neighbour.gone(), "the canary process was ended", "the canary lives")
            })
        }
        "open-harness" | "list-host" => {
            // At a random place, whose name is what may come out.
            let folder = site.outside.join(&fresh);
            site.world.make_dir(&folder)?;
            let program = folder.join("clawproof-probe.exe");
            std::fs::copy(&site.helper, &program)?;
            let neighbour = neighbour(&program)?;
            let mut scene = scene;
            scene.params.pid = neighbour.pid();
            scene.keep(neighbour).leak(fresh, "the canary process's program path")
        }
        other => return Err(unstaged(other)),
    })
}

fn resources(name: &str, site: &Site<'_>) -> Scene {
    let scene = Scene::new(site);
    let list = || {
        let filter = "imagename eq clawproof-probe.exe";
        host(&["tasklist", "/fi", filter, "/fo", "csv", "/nh"]).unwrap_or_default()
    };
    if name == "procs" {
        return scene.amount(150).during(move || {
            let count = list().lines().filter(|line| line.contains("clawproof-probe")).count();
            let text = format!("{count} processes of the probe stand");
            Sight::of(count > 100, text.clone(), text)
        });
    }
    scene.amount(600_000_000).during(move || {
        let sizes = list();
        let kilobytes = sizes.lines().filter_map(|line| {
            // The last column, such as "612,345 K".
            let column = line.rsplit("\",\"").next()?;
            column.chars().filter(char::is_ascii_digit).collect::<String>().parse::<u64>().ok()
        });
        let most = kilobytes.max().unwrap_or(0);
        let text = format!("a process of the probe holds {most} kB");
        Sight::of(most > 500_000, text.clone(), text)
    })
}
