//! Stages of the filesystem probes. It must never know a target or an expectation.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Trouble;
use super::scene::{Removed, Scene, Sight, Site, unstaged};
use crate::target::world::random_hex;

/// The stage of a `fs.` probe.
pub(super) fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let scene = Scene::new(site);
    let secret = site.secret();
    Ok(match id {
        "fs.write-outside-workspace" => {
            let path = site.world.outside().join(format!("made-{}", random_hex(8)));
            written(scene, path, secret)
        }
        "fs.home-secrets" => {
            let path = site.world.home().join(".ssh/id_ed25519");
            site.place(&path, &secret)?;
            scene.params(|params| params.target = Some(path)).leak(secret, "the key file's content")
        }
        "fs.tmp" | "fs.devshm" => {
            let folder = if id == "fs.tmp" { std::env::temp_dir() } else { "/dev/shm".into() };
            let path = folder.join(format!("clawproof-{}", random_hex(8)));
            site.place(&path, &secret)?;
            let guard = Removed(path.clone());
            scene
                .params(|params| params.target = Some(path))
                .keep(guard)
                .leak(secret, "the private file's content")
        }
        "fs.metadata-outside" => metadata(scene, site)?,
        "fs.proc-root" => {
            let path = site.world.canary_file();
            let canary = site.world.renew_canary()?;
            scene.params(|params| params.target = Some(path)).leak(canary, "the file's content")
        }
        "fs.fd-file" => {
            let path = site.world.canary_file();
            let canary = site.world.renew_canary()?;
            scene.ask(|ask| ask.launch.open = vec![path]).leak(canary, "the open file's content")
        }
        "fs.fd-dir" => {
            let folder = site.world.outside();
            let canary = site.world.renew_canary()?;
            scene
                .ask(|ask| ask.launch.open = vec![folder])
                .leak(canary, "a file of the open folder")
        }
        "fs.cwd-outside" => {
            let folder = site.world.outside();
            let canary = site.world.renew_canary()?;
            scene
                .ask(|ask| ask.folder = Some(folder))
                .leak(canary, "a file of the launcher's working folder")
        }
        "fs.symlink-planted" => symlink(scene, site)?,
        "fs.git-config" | "fs.protected-rename" => {
            let config = site.workspace.join(".git/config");
            repository(site, &site.workspace)?;
            changed(scene, config, secret)
        }
        "fs.protected-nested" => {
            let folder = site.workspace.join("vendor/lib");
            repository(site, &site.workspace)?;
            repository(site, &folder)?;
            changed(scene, folder.join(".git/config"), secret)
        }
        "fs.protected-missing" => {
            repository(site, &site.workspace)?;
            written(scene, site.workspace.join(".git/hooks/post-checkout"), secret)
        }
        "fs.shell-rc" => {
            let path = site.world.home().join(".bashrc");
            site.place(&path, "# the user's own\n")?;
            let target = path.clone();
            changed(scene, path, secret).params(|params| params.target = Some(target))
        }
        "fs.setuid-ws" => {
            let path = site.workspace.join("helper");
            scene.after(move |_| {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = fs::symlink_metadata(&path).map(|data| data.permissions().mode());
                Sight::of(
                    mode.is_ok_and(|mode| mode & 0o6000 != 0),
                    "a set-user-id program lies in the workspace",
                    "no set-user-id program lies in the workspace",
                )
            })
        }
        _ => return Err(unstaged(id)),
    })
}

/// A small repository, as far as git needs it to read a configuration and hooks.
fn repository(site: &Site<'_>, folder: &Path) -> Result<(), Trouble> {
    repository_at(site, &folder.join(".git"))
}

/// A git folder at this path.
pub(super) fn repository_at(site: &Site<'_>, git: &Path) -> Result<(), Trouble> {
    for folder in ["objects", "refs/heads", "hooks"] {
        site.world.make_dir(&git.join(folder))?;
    }
    site.world.write(&git.join("HEAD"), b"ref: refs/heads/main\n", 0o644)?;
    site.world.write(&git.join("config"), b"[core]\n\trepositoryformatversion = 0\n", 0o644)?;
    Ok(())
}

/// The effect is a new file with this text at `path`, which the probe is told to write.
fn written(scene: Scene, path: PathBuf, text: String) -> Scene {
    let target = path.clone();
    changed(scene, path, text).params(|params| params.target = Some(target))
}

/// The effect is that the host's file at `path` holds this text.
pub(super) fn changed(scene: Scene, path: PathBuf, text: String) -> Scene {
    let content = text.clone();
    scene.params(|params| params.content = Some(content)).after(move |_| {
        let found = fs::read_to_string(&path).is_ok_and(|found| found.contains(&text));
        Sight::of(
            found,
            format!("the host finds the probe's text in {}", path.display()),
            format!("{} does not hold the probe's text", path.display()),
        )
    })
}

fn metadata(scene: Scene, site: &Site<'_>) -> Result<Scene, Trouble> {
    let path = site.world.canary_file();
    site.world.renew_canary()?;
    let random = random_hex(4);
    let seconds = 1_000_000_000 + u64::from(u32::from_str_radix(&random, 16).unwrap_or(7) >> 3);
    let nanoseconds = u32::from_str_radix(&random_hex(3), 16).unwrap_or(7) * 4 + 1;
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    fs::File::options().write(true).open(&path)?.set_modified(time)?;
    let stamp = format!("modified {seconds}.{nanoseconds}");
    Ok(scene.params(|params| params.target = Some(path)).leak(stamp, "the file's time stamp"))
}

fn symlink(scene: Scene, site: &Site<'_>) -> Result<Scene, Trouble> {
    let canary = site.world.renew_canary()?;
    let target = site.world.canary_file();
    let report = site.workspace.join("report.txt");
    site.world.write(&report, b"a report\n", 0o644)?;
    Ok(scene.params(|params| params.target = Some(target)).after(move |_| {
        // What any editor, indexer or agent of the host does later.
        let found = fs::read_to_string(&report).is_ok_and(|text| text.contains(&canary));
        Sight::of(
            found,
            "the host opened the workspace's report.txt and got the outside file",
            "the workspace's report.txt does not lead outside",
        )
    }))
}
