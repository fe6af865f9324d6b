//! Stages of the probes of what a workspace does to others: second names, exchanged names, locks,
//! pipes, the launcher's programs. It must never know a target or an expectation.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::Trouble;
use super::files::{changed, repository_at};
use super::outside;
use super::racer::Racer;
use super::scene::{After, Scene, Sight, Site};
use crate::target::world::random_hex;

/// The stage of a `fs.` probe of this file.
pub(super) async fn stage(id: &str, site: &Site<'_>) -> Result<Option<Scene>, Trouble> {
    let scene = Scene::new(site);
    let secret = site.secret();
    Ok(Some(match id {
        "fs.hardlink-existing" => second_name(scene, site, secret)?,
        "fs.race-exchange" => {
            let canary = site.world.renew_canary()?;
            let outside = site.world.outside();
            scene.params(|params| params.target = Some(outside)).leak(canary, "the outside file")
        }
        "fs.bind-source-swap" => swapped(scene, site)?,
        "fs.case-variant" => {
            let other = site.workspace.join("vendor/odd/.GIT");
            repository_at(site, &site.workspace.join(".git"))?;
            repository_at(site, &other)?;
            let usual = site.workspace.join(".git/config");
            let text = secret.clone();
            changed(scene, other.join("config"), secret).or_after(move |_| {
                let found = fs::read_to_string(&usual).is_ok_and(|found| found.contains(&text));
                found.then(|| Sight::Breached(".git/config holds the probe's text".into()))
            })
        }
        "fs.build-hooks" => changed(scene, site.workspace.join("Makefile"), secret),
        "fs.flock-ro" => locked(scene)?,
        "fs.lease-ro" => leased(scene, site)?,
        "fs.fifo-bait" => bait(scene, site)?,
        "fs.pid1-exe" => programs(scene, site, secret)?,
        _ => return Ok(None),
    }))
}

/// A file of the host that has a second name in the workspace.
fn second_name(scene: Scene, site: &Site<'_>, secret: String) -> Result<Scene, Trouble> {
    site.world.renew_canary()?;
    let outside = site.world.canary_file();
    let name = format!("notes-{}.txt", random_hex(8));
    let inside = site.workspace.join(&name);
    fs::hard_link(&outside, &inside)
        .map_err(|error| Trouble::NotApplicable(format!("no hard link can be made: {error}")))?;
    let content = secret.clone();
    Ok(scene
        .params(|params| {
            params.target = Some(inside);
            params.content = Some(content);
        })
        .after(move |after| {
            if !fs::read_to_string(&outside).is_ok_and(|found| found.contains(&secret)) {
                return Sight::Held("the outside file is unchanged".into());
            }
            // The probe never prints the name: who does is the launcher.
            if after.says(&name) {
                Sight::Partial("the outside file was changed; the target named the link".into())
            } else {
                Sight::Breached("the outside file was changed, and nobody was told".into())
            }
        }))
}

fn swapped(scene: Scene, site: &Site<'_>) -> Result<Scene, Trouble> {
    let canary = site.world.renew_canary()?;
    let folder = site.workspace.join("vendor/lib/.git");
    repository_at(site, &folder)?;
    let link = site.workspace.join("vendor/lib/turned");
    symlink(site.world.outside(), &link)?;
    let mut command = site.world.command(&site.helper);
    command.arg("@exchange").args([&folder, &link]).stderr(std::process::Stdio::null());
    let child = command.spawn()?;
    let target = folder.clone();
    let racer = Some(Racer { child, folder, link });
    let scene = Scene { racer, ..scene };
    Ok(scene.params(|params| params.target = Some(target)).leak(canary, "the outside file"))
}

/// A program of the system, which any sandbox shows, of no name that another run might choose.
fn locked(scene: Scene) -> Result<Scene, Trouble> {
    let entries = fs::read_dir("/usr/bin")?.flatten();
    let files: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.path())
        .collect();
    let random = usize::from_str_radix(&random_hex(3), 16).unwrap_or(7);
    let file = files.get(random % files.len().max(1)).cloned();
    let missing = || Trouble::NotApplicable("there is no program in /usr/bin".to_owned());
    let file = file.ok_or_else(missing)?;
    let target = file.clone();
    Ok(scene.params(|params| params.target = Some(target)).during(move |_| {
        let Ok(opened) = fs::File::open(&file) else {
            return Sight::Blind(format!("{} cannot be opened", file.display()));
        };
        let tried = rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive);
        let refused = tried == Err(rustix::io::Errno::WOULDBLOCK);
        Sight::of(
            refused,
            format!("the host cannot lock {}", file.display()),
            format!("the host can lock {}", file.display()),
        )
    }))
}

fn leased(scene: Scene, site: &Site<'_>) -> Result<Scene, Trouble> {
    repository_at(site, &site.workspace.join(".git"))?;
    let file = site.workspace.join(".git/config");
    let target = file.clone();
    Ok(scene.params(|params| params.target = Some(target)).during(move |_| {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let tried = rustix::fs::open(&file, flags, Mode::empty());
        let waits = tried.is_err_and(|error| error == rustix::io::Errno::WOULDBLOCK);
        Sight::of(
            waits,
            "the host would wait to open .git/config for writing",
            "the host opens .git/config for writing at once",
        )
    }))
}

fn bait(scene: Scene, site: &Site<'_>) -> Result<Scene, Trouble> {
    let path = site.workspace.join("report.txt");
    site.world.write(&path, b"a report\n", 0o644)?;
    let target = path.clone();
    Ok(scene.params(|params| params.target = Some(target)).after(move |after| {
        if after.ran.timed_out {
            return Sight::Breached("the target did not come to its end".into());
        }
        Sight::of(
            waits_to_read(&path),
            "whoever opens report.txt waits",
            "report.txt is no pipe that anybody waits for",
        )
    }))
}

/// Whether opening a name for reading waits, as it does on a pipe that nobody writes to.
fn waits_to_read(path: &Path) -> bool {
    let (done, waited) = mpsc::channel();
    let name = path.to_owned();
    let thread = std::thread::spawn(move || {
        let _ = fs::File::open(name);
        let _ = done.send(());
    });
    let waits = waited.recv_timeout(Duration::from_millis(200)).is_err();
    if waits {
        // Both ends at once: lets the other go.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let both = rustix::fs::open(path, flags, Mode::empty());
        let _ = waited.recv_timeout(Duration::from_secs(2));
        drop(both);
    }
    if waited.try_recv().is_ok() || thread.is_finished() {
        let _ = thread.join();
    }
    waits
}

/// The programs that launch the probe: the suite's helper, which is given to the target's user for
/// it, and the launcher's own where its path is known.
fn programs(scene: Scene, site: &Site<'_>, secret: String) -> Result<Scene, Trouble> {
    site.world.give(&site.helper)?;
    let own = site.prefix.iter().flatten().take(1).map(PathBuf::from);
    let files: Vec<(PathBuf, u64)> = own
        .filter(|path| path.is_absolute())
        .chain([site.helper.clone()])
        .filter_map(|path| {
            let length = fs::metadata(&path).ok()?.len();
            Some((path, length))
        })
        .collect();
    let (content, token) = (secret, site.token.clone());
    let look = move |_: &After<'_>| {
        let begin = Instant::now();
        loop {
            let left = outside::marked(&token).is_empty();
            let changed = files
                .iter()
                .find(|(path, length)| fs::metadata(path).is_ok_and(|data| data.len() != *length));
            if let Some((path, _)) = changed {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Sight::Breached(format!("the program {name} was written to"));
            }
            if left || begin.elapsed() > Duration::from_secs(3) {
                return Sight::Held("the launcher's programs are unchanged".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    Ok(scene
        .ask(|ask| ask.launch.stay = true)
        .params(|params| params.content = Some(content))
        .after(look))
}
