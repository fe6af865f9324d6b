//! Stages of the probes of the view: folders that the user may write to, mounts and handles of the
//! host. It must never know a target or an expectation.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::time::Duration;

use clawproof_probe::{Own, ROOT_FOLDERS};

use super::Trouble;
use super::outside;
use super::scene::{Scene, Sight, Site};
use crate::target::process;
use crate::target::world::random_hex;

/// The stage of a `fs.` probe of this file.
pub(super) async fn stage(id: &str, site: &Site<'_>) -> Result<Option<Scene>, Trouble> {
    let scene = Scene::new(site);
    Ok(Some(match id {
        "fs.write-system" => system(scene, site),
        "fs.write-synthetic-root" => root(scene, site)?,
        "fs.remount-rw" => {
            let control = site.control;
            scene
                .ask(|ask| {
                    if control {
                        let read_only = vec!["/usr".into()];
                        ask.launch.own = Some(Own { read_only, ..Own::default() });
                    }
                })
                .during(|held| {
                    held.of_probe(|pid| {
                        let options = outside::mount_options(pid, "/usr")?;
                        let text = format!("/usr is mounted {options}");
                        let writable = options.split(',').any(|option| option == "rw");
                        Some(Sight::of(writable, text.clone(), text))
                    })
                })
        }
        "fs.open-by-handle" => handle(scene, site).await?,
        "fs.mount-devtmpfs" => scene.during(super::kernel::marked_mount),
        "fs.mknod-ws" => {
            let node = site.workspace.join("node");
            scene.after(move |_| {
                let kind = fs::symlink_metadata(&node).map(|data| data.file_type());
                Sight::of(
                    kind.is_ok_and(|kind| kind.is_char_device() || kind.is_block_device()),
                    "the host finds a device node in the workspace",
                    "no device node lies in the workspace",
                )
            })
        }
        _ => return Ok(None),
    }))
}

/// The launcher stands where /usr/local is the user's; through a running agent, in the real one.
fn system(scene: Scene, site: &Site<'_>) -> Scene {
    let target = std::path::PathBuf::from(format!("/usr/local/clawproof-{}", random_hex(8)));
    let (path, content) = (target.clone(), site.secret());
    scene
        .ask(|ask| {
            ask.launch.stay = true;
            let writable = vec!["/usr/local".into()];
            ask.launch.own = Some(Own { writable, ..Own::default() });
        })
        .params(|params| {
            params.target = Some(target);
            params.content = Some(content);
        })
        .during(move |held| {
            let launchers = held.marked.iter().filter(|process| process.is("@launch"));
            let roots = launchers.map(|process| format!("/proc/{}/root", process.pid));
            let found = roots
                .chain([String::new()])
                .any(|root| fs::symlink_metadata(format!("{root}{}", path.display())).is_ok());
            Sight::of(
                found,
                "the launcher's /usr/local holds the probe's file",
                "no file of the probe is in the launcher's /usr/local",
            )
        })
}

fn root(scene: Scene, site: &Site<'_>) -> Result<Scene, Trouble> {
    let name = format!("clawproof-{}", random_hex(8));
    let folder = site.world.state().join("root");
    site.world.make_dir(&folder)?;
    let (file, content) = (name.clone(), site.secret());
    Ok(scene
        .ask(|ask| {
            ask.launch.own = Some(Own { synthetic: Some(folder), ..Own::default() });
        })
        .params(|params| {
            params.name = Some(name);
            params.content = Some(content);
        })
        .during(move |held| {
            held.of_probe(|pid| {
                fs::read_dir(format!("/proc/{pid}/root")).ok()?;
                let found = ROOT_FOLDERS.iter().find(|folder| {
                    fs::symlink_metadata(format!("/proc/{pid}/root{folder}/{file}")).is_ok()
                });
                Some(match found {
                    Some(folder) => Sight::Breached(format!("its {folder} holds the file")),
                    None => Sight::Held("no folder of its root holds the file".into()),
                })
            })
        }))
}

/// The handle of the canary file, which anybody who sees the file may ask for.
async fn handle(scene: Scene, site: &Site<'_>) -> Result<Scene, Trouble> {
    let canary = site.world.renew_canary()?;
    let script = r#"my ($number, $path) = @ARGV; my ($h, $m) = (pack("L l x128", 128, 0), pack("i", 0));
        syscall($number + 0, -100, $path, $h, $m, 0) == 0 or die "$!\n";
        my ($count, $kind) = unpack("L l", $h); print "$kind ", unpack("H*", substr($h, 8, $count));"#;
    let number = if cfg!(target_arch = "x86_64") { "303" } else { "264" };
    let mut command = site.world.command(clawproof_probe::PERL);
    command.args(["-e", script, "--", number]).arg(site.world.canary_file());
    let ended = process::run(&mut command, None, Duration::from_secs(5)).await?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    let parsed = text.split_once(' ').and_then(|(kind, hex)| Some((kind.parse().ok()?, hex)));
    let Some((kind, hex)) = parsed else {
        let words = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(Trouble::NotApplicable(format!("this file system has no handles: {words}")));
    };
    let hex = hex.to_owned();
    Ok(scene
        .params(|params| {
            params.number = Some(kind);
            params.content = Some(hex);
        })
        .leak(canary, "the file behind the handle"))
}
