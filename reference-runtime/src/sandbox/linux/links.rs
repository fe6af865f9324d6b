//! Baits in the workspace: links that lead out of it, and pipes and devices on which a reader hangs.
//! A sandbox cannot keep a tool from making one, and the harm comes later, when a program of the
//! host opens it: so those that a run made are taken away when it is over. And files with a second
//! name outside, which stood before and can only be told of. It must never follow a link but to
//! learn where it leads, and never open anything but folders.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::DirEntry,
    os::unix::fs::{DirEntryExt, FileTypeExt, MetadataExt},
    path::{Component, Path, PathBuf},
};

/// System folders and devices to which a link is no bait: a tool may see them anyway, and nobody
/// but root can change them.
const HARMLESS: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/dev/null"];
/// Links that the kernel would follow in one path.
const HOPS: usize = 40;

/// Baits by path, relative to the workspace, and inode.
pub(super) type Baits = BTreeSet<(PathBuf, u64)>;

/// What a look at a whole workspace found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Links that lead out, pipes, devices.
    pub(super) baits: Baits,
    /// Files that have a name outside the workspace too, in the order of their paths.
    pub(super) shared: Vec<PathBuf>,
}

/// Looks at every entry of the workspace, and shows each to `also`; `shared` costs a question for
/// each file.
pub(super) fn look(root: &Path, shared: bool, mut also: impl FnMut(&DirEntry, &Path)) -> Found {
    let mut found = Found::default();
    // By device and inode: how many names a file has at all, and which of them were met.
    let mut names: BTreeMap<(u64, u64), (u64, Vec<PathBuf>)> = BTreeMap::new();
    walk(root, |entry, path| {
        also(entry, path);
        let Ok(kind) = entry.file_type() else { return };
        let bait = if kind.is_symlink() {
            leads_out(root, path)
        } else {
            kind.is_fifo() || kind.is_char_device() || kind.is_block_device()
        };
        if bait {
            found.baits.insert((path.to_owned(), entry.ino()));
        } else if let (true, true, Ok(data)) = (shared, kind.is_file(), entry.metadata())
            && data.nlink() > 1
        {
            let key = (data.dev(), data.ino());
            let (_, met) = names.entry(key).or_insert_with(|| (data.nlink(), Vec::new()));
            met.push(path.to_owned());
        }
    });
    let outside = names.into_values().filter(|(count, met)| *count > met.len() as u64);
    found.shared = outside.flat_map(|(_, met)| met).collect();
    found.shared.sort();
    found
}

/// Visits every entry below a folder, nearest first, with its path relative to it. Links are not
/// followed; a folder that cannot be read has no entries.
fn walk(root: &Path, mut visit: impl FnMut(&DirEntry, &Path)) {
    let mut queue = VecDeque::from([PathBuf::new()]);
    while let Some(folder) = queue.pop_front() {
        let Ok(entries) = std::fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            visit(&entry, &path);
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                queue.push_back(path);
            }
        }
    }
}

fn leads_out(root: &Path, link: &Path) -> bool {
    destination(&root.join(link)).is_none_or(|end| {
        !end.starts_with(root) && !HARMLESS.iter().any(|place| end.starts_with(place))
    })
}

/// Where a path ends if every link in it is followed; what does not exist is taken as named. None
/// for a circle.
fn destination(path: &Path) -> Option<PathBuf> {
    let mut at = path.parent()?.to_owned();
    let mut ahead: VecDeque<PathBuf> = VecDeque::from([PathBuf::from(path.file_name()?)]);
    let mut hops = 0;
    while let Some(part) = ahead.pop_front() {
        match part.components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                at.pop();
            }
            Some(Component::Normal(name)) => {
                let next = at.join(name);
                let Ok(target) = next.read_link() else {
                    at = next;
                    continue;
                };
                hops += 1;
                if hops > HOPS {
                    return None;
                }
                for component in target.components().rev() {
                    ahead.push_front(PathBuf::from(component.as_os_str()));
                }
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn finds_the_links_that_lead_out_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("ws");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        for (name, target) in [
            ("in-relative", "a/b"),
            ("in-file", "./file"),
            ("in-dangling", "a/none"),
            ("a/b/in-up", "../../file"),
            ("python", "/usr/bin/python3"),
            ("null", "/dev/null"),
            ("out-absolute", "/etc/passwd"),
            ("out-relative", "../secret"),
            ("out-dangling", "/home/nobody/.ssh/authorized_keys"),
            ("out-proc", "/proc/self/root/etc"),
            ("out-dots", "/usr/../etc/passwd"),
            ("up", "a/b/in-top"),
            ("a/b/in-top", "../.."),
            // By its letters it stays inside; followed, it does not.
            ("out-through-link", "up/../secret"),
            ("out-circle", "out-circle"),
            ("a/b/out-deep", "../../../secret"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        let found: Vec<String> = look(&root, false, |_, _| {})
            .baits
            .into_iter()
            .map(|(path, _)| path.to_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            found,
            [
                "a/b/out-deep",
                "out-absolute",
                "out-circle",
                "out-dangling",
                "out-dots",
                "out-proc",
                "out-relative",
                "out-through-link"
            ]
        );
    }

    #[test]
    fn a_file_with_a_name_outside_is_told_from_one_with_two_names_inside() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("ws");
        fs::create_dir(&root).unwrap();
        for (name, other) in [("a", root.join("b")), ("c", folder.path().join("c"))] {
            fs::write(root.join(name), "").unwrap();
            fs::hard_link(root.join(name), other).unwrap();
        }
        assert_eq!(look(&root, true, |_, _| {}).shared, [PathBuf::from("c")]);
    }

    #[test]
    fn an_absolute_link_into_the_workspace_stays() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        symlink(root.join("x"), root.join("link")).unwrap();
        assert!(look(&root, false, |_, _| {}).baits.is_empty());
    }
}
