//! Stages of the probes of other entries into the kernel and of the loader.
//! It must never know a target or an expectation.

use std::fs;

use super::Trouble;
use super::scene::{Scene, Sight, Site};
use crate::target::world::random_hex;

/// The stage of a `kern.` probe of this file.
pub(super) fn stage(id: &str, site: &Site<'_>) -> Result<Option<Scene>, Trouble> {
    let scene = Scene::new(site);
    Ok(Some(match id {
        "kern.compat-int80" | "kern.x32" => {
            let path = site.workspace.join(format!("made-{}", random_hex(8)));
            let target = path.clone();
            scene.params(|params| params.target = Some(target)).after(move |_| {
                Sight::of(
                    path.exists(),
                    "the host finds the file that the other entry made",
                    "the other entry made no file",
                )
            })
        }
        "kern.ld-preload" => preloaded(scene, site)?,
        _ => return Ok(None),
    }))
}

/// A library that does nothing: a copy of one that this program itself uses.
fn preloaded(scene: Scene, site: &Site<'_>) -> Result<Scene, Trouble> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let library = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| path.starts_with('/') && path.contains(".so") && !path.contains("/ld-"));
    let none = || Trouble::NotApplicable("the suite is linked to no library".to_owned());
    let library = library.ok_or_else(none)?;
    let name = format!("preload-{}.so", random_hex(8));
    let copy = site.workspace.join(&name);
    fs::copy(library, &copy)?;
    site.world.give(&copy)?;
    let variable = ("LD_PRELOAD".to_owned(), copy.to_string_lossy().into_owned());
    Ok(scene.ask(|ask| ask.env.push(variable)).looked_at(move |pid| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        Some(Sight::of(
            maps.contains(&name),
            "the library is in the memory of a process inside",
            "the library is not in the memory of the process inside",
        ))
    }))
}
