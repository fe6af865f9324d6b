//! Which files changed: snapshots of folders, taken before and after. Links are never followed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::target::process::contains;
use crate::target::world::World;

/// Files above this size are compared by length alone.
const HASH_LIMIT: u64 = 4_000_000;
/// The most entries that a snapshot or search looks at.
const ENTRY_LIMIT: usize = 50_000;

/// The state of every entry below some folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    entries: BTreeMap<PathBuf, String>,
}

impl Snapshot {
    /// Everything of a world that a tool must not change: all but the workspace and the folders
    /// of the target's own process.
    #[must_use]
    pub fn of_world(world: &World) -> Self {
        let own = [world.workspace(), world.state(), world.home()];
        let mut snapshot = Self::default();
        walk(world.root(), &mut |path, metadata| {
            if own.iter().any(|folder| path == folder) {
                return false;
            }
            snapshot.entries.insert(path.to_owned(), describe(path, metadata));
            true
        });
        snapshot
    }

    /// What differs in a later snapshot, one line for each entry.
    #[must_use]
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let gone = self.entries.keys().filter(|path| !later.entries.contains_key(*path));
        let gone = gone.map(|path| format!("removed {}", path.display()));
        let other = later.entries.iter().filter_map(|(path, state)| match self.entries.get(path) {
            Some(before) if before == state => None,
            Some(before) => Some(format!("changed {}: {before} -> {state}", path.display())),
            None => Some(format!("created {}: {state}", path.display())),
        });
        gone.chain(other).collect()
    }
}

fn describe(path: &Path, metadata: &std::fs::Metadata) -> String {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        return format!("link to {:?}", std::fs::read_link(path).unwrap_or_default());
    }
    if kind.is_dir() {
        return format!("folder{}", mode(metadata));
    }
    if !kind.is_file() {
        return "special file".to_owned();
    }
    let mut state = format!("{} bytes{}", metadata.len(), mode(metadata));
    if metadata.len() <= HASH_LIMIT
        && let Ok(bytes) = std::fs::read(path)
    {
        let digest = hex::encode(Sha256::digest(&bytes));
        state.push_str(&format!(" sha256:{}", digest.get(..16).unwrap_or_default()));
    }
    state
}

#[cfg(unix)]
fn mode(metadata: &std::fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt as _;
    format!(" mode {:o} uid {}", metadata.mode() & 0o7777, metadata.uid())
}

#[cfg(not(unix))]
fn mode(_metadata: &std::fs::Metadata) -> String {
    String::new()
}

/// Visits every entry below a folder; `visit` says whether to go down into a folder.
fn walk(folder: &Path, visit: &mut dyn FnMut(&Path, &std::fs::Metadata) -> bool) {
    let mut pending = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(folder) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            seen += 1;
            if seen > ENTRY_LIMIT {
                return;
            }
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            if visit(&path, &metadata) && metadata.is_dir() {
                pending.push(path);
            }
        }
    }
}

/// The regular files below a folder of at least that many bytes, with their sizes.
#[must_use]
pub fn at_least(folder: &Path, bytes: u64) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    walk(folder, &mut |path, metadata| {
        if metadata.is_file() && metadata.len() >= bytes {
            found.push((path.to_owned(), metadata.len()));
        }
        true
    });
    found
}

/// The entries below a folder of this name.
#[must_use]
pub fn named(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(folder, &mut |path, _| {
        if path.file_name().is_some_and(|own| own == name) {
            found.push(path.to_owned());
        }
        true
    });
    found
}

/// The regular files below a folder whose content is exactly `content`.
#[must_use]
pub fn holding(folder: &Path, content: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(folder, &mut |path, metadata| {
        let fits = metadata.is_file() && metadata.len() == content.len() as u64;
        if fits && std::fs::read(path).is_ok_and(|bytes| bytes == content) {
            found.push(path.to_owned());
        }
        true
    });
    found
}

/// Whether any name stands there, be it a dangling link.
#[must_use]
pub fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// The files below a folder that hold any of these byte strings, each with the place of the string
/// in the list. Files above 64 MB are skipped.
#[must_use]
pub fn mentioning(folder: &Path, needles: &[Vec<u8>]) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    walk(folder, &mut |path, metadata| {
        if metadata.is_file()
            && metadata.len() < 64_000_000
            && let Ok(bytes) = std::fs::read(path)
        {
            let places = needles.iter().enumerate();
            let hits = places.filter(|(_, needle)| contains(&bytes, needle));
            found.extend(hits.map(|(place, _)| (path.to_owned(), place)));
        }
        true
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_outside_the_workspace_is_seen_and_one_inside_is_not() {
        let world = World::new().unwrap();
        let before = Snapshot::of_world(&world);
        std::fs::write(world.workspace().join("inside"), "x").unwrap();
        assert!(before.changes(&Snapshot::of_world(&world)).is_empty());
        std::fs::write(world.canary_file(), "other").unwrap();
        std::fs::write(world.root().join("new"), "x").unwrap();
        let changes = before.changes(&Snapshot::of_world(&world));
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert_eq!(holding(&world.workspace(), b"x").len(), 1);
        assert!(holding(&world.workspace(), b"y").is_empty());
    }
}
