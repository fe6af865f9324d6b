//! The stages of the probes of macOS. It must never know a target or an expectation.

use std::path::Path;

use super::Trouble;
use super::scene::{Removed, Scene, Sight, Site, Undo, host, host_with, shared, unstaged};
use crate::stage::egress::Sink;
use crate::target::world::random_hex;

/// The stage of a probe.
pub(super) async fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let (boundary, name) = id.split_once('.').unwrap_or((id, ""));
    if let Some(scene) = shared(name, site).await? {
        return Ok(scene);
    }
    match boundary {
        "macos-fs" | "macos-policy" => files(name, site),
        "macos-mach" | "macos-iokit" | "macos-ipc" => services(name, site),
        "macos-net" if name == "mdnsresponder" => resolver(site),
        "macos-tty" => Ok(terminal(site)),
        "macos-kern" => Ok(setting(site)),
        "macos-net" => {
            let folder = if name == "unix-in-ws" { &site.workspace } else { &site.outside };
            let path = folder.join("s");
            let sink = Sink::unix(&path)?;
            Ok(Scene::new(site).target(path).heard(sink, site.secret()))
        }
        "macos-proc" => processes(name, site),
        "macos-res" => Ok(resources(name, site)),
        _ => Err(unstaged(id)),
    }
}

/// A name with an address of its own, known on this machine alone.
fn resolver(site: &Site<'_>) -> Result<Scene, Trouble> {
    let name = format!("clawproof{}.local", random_hex(4));
    let random = u32::from_str_radix(&random_hex(3), 16).unwrap_or(7);
    let address = std::net::Ipv4Addr::from(0x7f01_0001 + (random & 0xf_ffff)).to_string();
    let service = ["ClawProof", "_clawproof._tcp", "local", "9", &name, &address];
    let line = [&["/usr/bin/dns-sd", "-lo", "-P"], &service[..]].concat();
    let scene = Scene::new(site).name(&name).keep(site.started(&line)?);
    std::thread::sleep(std::time::Duration::from_secs(1));
    Ok(scene.leak(address, "the host's address of the name"))
}

/// The launcher in a terminal of its own, whose next line is read when it has ended.
fn terminal(site: &Site<'_>) -> Scene {
    let text = format!("line-{}", random_hex(8));
    let script = "\"$@\"; IFS= read -r -t 2 line; echo \"typed: $line\"";
    let wrap = ["/usr/bin/script", "-q", "/dev/null", "/bin/sh", "-c", script, "sh"];
    let wrap = wrap.iter().map(|word| (*word).to_owned()).collect();
    let typed = format!("typed: {text}");
    let scene = Scene::new(site).content(&text).leak(typed, "the line that was typed");
    Scene { wrap, ..scene }
}

fn setting(site: &Site<'_>) -> Scene {
    let read = ["/usr/sbin/sysctl", "-n", "kern.corefile"];
    let before = host(&read).unwrap_or_default();
    let undo = format!("kern.corefile={}", before.trim_end());
    let text = format!("/cores/clawproof-{}", random_hex(6));
    Scene::new(site).keep(Undo::new(&["/usr/sbin/sysctl", "-w", &undo])).says(&read, text)
}

fn files(name: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let (scene, secret) = (Scene::new(site), site.secret());
    let workspace = &site.workspace;
    let fresh = || format!("clawproof-{}", random_hex(8));
    let home = site.world.home();
    let canary = |scene: Scene, path: &Path| -> Result<Scene, Trouble> {
        let canary = site.world.renew_canary()?;
        Ok(scene.target(path).leak(canary, "the file's content"))
    };
    let private = |scene: Scene, path: std::path::PathBuf| -> Result<Scene, Trouble> {
        let secret = site.secret();
        site.place(&path, &secret)?;
        Ok(scene.target(path).leak(secret, "the private file's content"))
    };
    let hook = workspace.join(".git/hooks/post-checkout");
    Ok(match name {
        "write-outside" | "injection" => scene.made(site.outside.join(fresh()), secret),
        "tmp-alias" => {
            let path = Path::new("/tmp").join(fresh());
            scene.keep(Removed(path.clone())).made(path, secret)
        }
        "tmp-read" => {
            let path = Path::new("/private/tmp").join(fresh());
            private(scene.keep(Removed(path.clone())), path)?
        }
        "firmlink" => {
            let file = site.world.canary_file();
            let tail = file.strip_prefix("/").unwrap_or(&file).to_owned();
            canary(scene, &Path::new("/System/Volumes/Data").join(tail))?
        }
        "case-variant" => {
            site.repository(workspace)?;
            scene.target(workspace.join(".GIT/HOOKS/post-checkout")).changed(hook, secret)
        }
        "hardlink-in" | "symlink-denied-read" => canary(scene, &site.world.canary_file())?,
        "dotdot-root" => {
            let file = site.world.canary_file();
            canary(scene, Path::new(&format!("/../../..{}", file.display())))?
        }
        "rename-ancestor" => {
            site.repository(workspace)?;
            scene.changed(workspace.join(".git/config"), secret)
        }
        "protected-missing" => {
            site.repository(workspace)?;
            scene.made(hook, secret)
        }
        "protected-nested" => {
            let folder = workspace.join("vendor/lib");
            site.repository(&folder)?;
            scene.target(&folder).changed(folder.join(".git/config"), secret)
        }
        "missing-param" => {
            let path = home.join(".ssh/id_ed25519");
            let empty = ["HOME", "TMPDIR"].map(|name| (name.to_owned(), String::new()));
            Scene { env: empty.into(), ..private(scene, path)? }
        }
        "home-read" => private(scene, home.join(".ssh/id_ed25519"))?,
        "keychain-files" => private(scene, home.join("Library/Keychains/login.keychain-db"))?,
        "launch-agents" => {
            let folder = home.join("Library/LaunchAgents");
            site.world.make_dir(&folder)?;
            scene.made(folder.join("org.example.plist"), secret)
        }
        "shell-rc" => {
            let path = home.join(".zshrc");
            site.place(&path, "# the user's own\n")?;
            scene.made(path, secret)
        }
        "ancestors" => {
            let name = fresh();
            site.world.make_dir(&site.world.root().join(&name))?;
            scene.target(site.world.root()).leak(name, "a neighbouring folder's name")
        }
        "setuid-ws" => {
            let path = workspace.join("helper");
            scene.after(move |_| {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = std::fs::symlink_metadata(&path).map(|it| it.permissions().mode());
                Sight::of(
                    mode.is_ok_and(|mode| mode & 0o6000 != 0),
                    "a set-user-id program lies in the workspace",
                    "no set-user-id program lies in the workspace",
                )
            })
        }
        other => return Err(unstaged(other)),
    })
}

fn services(name: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let (scene, secret) = (Scene::new(site), site.secret());
    let fresh = format!("org.example.clawproof{}", random_hex(6));
    Ok(match name {
        "launchctl-submit" => scene
            .name(&fresh)
            .keep(Undo::new(&["/bin/launchctl", "remove", &fresh]))
            .made(site.outside.join("by-launchd"), secret),
        "launchservices" => {
            let name = format!("Probe{}", random_hex(4));
            scene.name(&name).made(site.outside.join("by-application"), secret)
        }
        "appleevents" => {
            let path = site.outside.join(&secret);
            scene.target(&site.outside).content(&secret).after(move |_| {
                Sight::of(
                    path.is_dir(),
                    "the host finds the folder that was asked for",
                    "the folder that was asked for is not there",
                )
            })
        }
        "pasteboard-write" => scene.keep(Pasteboard::keep()).says(&["/usr/bin/pbpaste"], secret),
        "pasteboard-read" => {
            let kept = Pasteboard::keep();
            host_with(&["/usr/bin/pbcopy"], &secret);
            scene.keep(kept).leak(secret, "the host's pasteboard")
        }
        "keychain" => {
            let security = "/usr/bin/security";
            let account = ["-a", "clawproof", "-s", &fresh, "-w", &secret];
            host(&[&[security, "add-generic-password"], &account[..]].concat());
            let undo = Undo::new(&[security, "delete-generic-password", "-s", &fresh]);
            scene.name(&fresh).keep(undo).leak(secret, "the keychain's item")
        }
        "cfprefs-write" => scene
            .name(&fresh)
            .keep(Undo::new(&["/usr/bin/defaults", "delete", &fresh]))
            .says(&["/usr/bin/defaults", "read", &fresh, "key"], secret),
        "serial" => {
            let said = host(&["/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"]);
            let mut lines = said.as_deref().unwrap_or_default().lines();
            let serial = lines.find(|line| line.contains("IOPlatformSerialNumber"));
            let serial = serial.and_then(|line| line.rsplit('"').nth(1)).unwrap_or_default();
            if serial.len() < 4 {
                let reason = "this machine has no serial number to look for";
                return Err(Trouble::NotApplicable(reason.to_owned()));
            }
            scene.leak(serial.to_owned(), "the serial number")
        }
        "posix-shm" => {
            let name = format!("/cp{}", random_hex(6));
            let look = name.clone();
            scene.name(&name).keep(Memory(name)).after(move |_| {
                let flags = rustix::shm::OFlags::RDONLY;
                let mode = rustix::shm::Mode::empty();
                let found = rustix::shm::open(look.as_str(), flags, mode).is_ok();
                Sight::of(found, "the host opened the object", "the object is not there")
            })
        }
        "sysv-shm" => {
            let key = u64::from_str_radix(&random_hex(3), 16).unwrap_or(7) + 0x1000_0000;
            let mut scene = scene.keep(Undo::new(&["/usr/bin/ipcrm", "-M", &key.to_string()]));
            scene.params.number = Some(key);
            scene.after(move |_| match host(&["/usr/bin/ipcs", "-m"]) {
                None => Sight::Blind("ipcs is not on this host".into()),
                Some(said) => Sight::of(
                    said.contains(&format!("0x{key:08x}")),
                    "the host finds the segment",
                    "the host finds no such segment",
                ),
            })
        }
        other => return Err(unstaged(other)),
    })
}

/// The pasteboard as it was, put back at the end.
struct Pasteboard(String);

impl Pasteboard {
    fn keep() -> Self {
        Self(host(&["/usr/bin/pbpaste"]).unwrap_or_default())
    }
}

impl Drop for Pasteboard {
    fn drop(&mut self) {
        host_with(&["/usr/bin/pbcopy"], &self.0);
    }
}

/// A shared memory object that goes when the run is over.
struct Memory(String);

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = rustix::shm::unlink(self.0.as_str());
    }
}

fn processes(name: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let secret = site.secret();
    let mut neighbour = site.neighbour(&site.helper, &secret)?;
    let mut scene = Scene::new(site);
    scene.params.pid = neighbour.pid();
    Ok(match name {
        "signal-other" => scene.after(move |_| {
            Sight::of(neighbour.gone(), "the canary process was killed", "the canary lives")
        }),
        "ps-env" => scene.keep(neighbour).leak(secret, "the canary process's variable"),
        "list-host" => scene.keep(neighbour).leak(secret, "the canary process's argument"),
        "task-for-pid" => {
            let path = site.workspace.join("sample.txt");
            let file = path.clone();
            scene.keep(neighbour).target(path).after(move |_| {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                Sight::of(
                    text.contains("Call graph"),
                    "a call graph of the canary process lies in the workspace",
                    "no call graph lies in the workspace",
                )
            })
        }
        other => return Err(unstaged(other)),
    })
}

fn resources(name: &str, site: &Site<'_>) -> Scene {
    let (scene, token) = (Scene::new(site), site.token.clone());
    match name {
        "fork" => scene.amount(150).during(move || {
            let said = host(&["/bin/ps", "-axww", "-o", "command="]).unwrap_or_default();
            let count = said.lines().filter(|it| it.contains(&token) && it.contains("@hold"));
            let count = count.count();
            Sight::of(count > 100, format!("{count} processes stand"), format!("{count} stand"))
        }),
        "mem" => scene.amount(600_000_000).during(move || {
            let said = host(&["/bin/ps", "-axww", "-o", "rss=,command="]).unwrap_or_default();
            let line = said.lines().find(|it| it.contains(&token) && it.contains("@memory"));
            let kilobytes = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
            let kilobytes = kilobytes.unwrap_or(0);
            let text = format!("the process holds {kilobytes} kB");
            Sight::of(kilobytes > 500_000, text.clone(), text)
        }),
        _ => {
            let path = site.workspace.join("large");
            let file = path.clone();
            scene.target(path).after(move |_| {
                let size = std::fs::metadata(&file).map_or(0, |it| it.len());
                let text = format!("the file has {size} bytes");
                Sight::of(size >= 300_000_000, text.clone(), text)
            })
        }
    }
}
