//! What a user's own programs trust where they find it and run later. Some systems can close these
//! names to a run; where none can, they are looked at before it and put back after it. It must never
//! follow a link, nor leave what it could not put back unsaid.

#[cfg(windows)]
pub(super) use undo::Guard;

/// Files that a shell or another program trusts in the folder where it finds them.
pub(super) const FILES: &[&str] = &[
    ".bash_login",
    ".bash_profile",
    ".bashrc",
    ".envrc",
    ".gitconfig",
    ".mcp.json",
    ".profile",
    ".zprofile",
    ".zshenv",
    ".zshrc",
    "openclaw.json",
];

/// What git trusts in a repository, as paths from its folder on.
#[cfg(any(target_os = "macos", windows, test))]
const GIT: &[&str] = &[
    ".git/commondir",
    ".git/config",
    ".git/config.worktree",
    ".git/hooks",
    ".git/info/attributes",
    ".gitmodules",
];

/// All of them, sorted: anywhere in the workspace, there or not, in any case of its letters.
#[cfg(any(target_os = "macos", test))]
pub(super) fn names() -> Vec<&'static str> {
    let mut names = [FILES, GIT].concat();
    names.sort_unstable();
    names
}

#[cfg(any(windows, test))]
mod undo {
    use std::{
        collections::BTreeMap,
        fs, io,
        path::{Path, PathBuf},
        sync::{Arc, Mutex, PoisonError},
    };

    use cap_std::{ambient_authority, fs::Dir};

    use super::{FILES, GIT};

    /// The most bytes that are kept for one run.
    const MOST: u64 = 16 << 20;

    /// The trusted files of a workspace as they were before the first of the runs that are at work
    /// there now: what one changed is not what another one found.
    #[derive(Debug, Default)]
    pub(in crate::sandbox) struct Guard(Mutex<(usize, Option<Kept>)>);

    /// One run among them. Its end puts back; so does its loss.
    #[derive(Debug)]
    pub(in crate::sandbox) struct Watched(Option<Arc<Guard>>);

    impl Guard {
        /// Looks before a run.
        ///
        /// # Errors
        /// A sentence: something cannot be read, is a link, or is too much to keep.
        pub(in crate::sandbox) fn begin(self: &Arc<Self>, root: &Path) -> Result<Watched, String> {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.1.is_none() {
                state.1 = Some(Kept::of(root)?);
            }
            state.0 += 1;
            Ok(Watched(Some(Arc::clone(self))))
        }

        fn end(&self) -> io::Result<Vec<PathBuf>> {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let undone = state.1.as_ref().map_or_else(|| Ok(Vec::new()), Kept::put_back);
            state.0 = state.0.saturating_sub(1);
            if state.0 == 0 {
                state.1 = None;
            }
            undone
        }
    }

    impl Watched {
        /// Puts back after the run, when nothing of it lives any more. Says what, relative to the
        /// workspace.
        ///
        /// # Errors
        /// Something could not be put back.
        pub(in crate::sandbox) fn end(mut self) -> io::Result<Vec<PathBuf>> {
            self.0.take().map_or_else(|| Ok(Vec::new()), |guard| guard.end())
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            if let Some(Err(error)) = self.0.take().map(|guard| guard.end()) {
                tracing::error!(%error, "a name that others trust could not be put back");
            }
        }
    }

    #[derive(Debug)]
    struct Kept {
        root: PathBuf,
        files: BTreeMap<PathBuf, Vec<u8>>,
    }

    /// A trusted entry that is there.
    enum Entry {
        File(u64),
        /// A link, a junction: what it leads to is not looked at.
        Other,
    }

    impl Kept {
        /// Reads what is there now.
        fn of(root: &Path) -> Result<Self, String> {
            let told = |path: &Path, why: &dyn std::fmt::Display| {
                format!("{} cannot be protected: {why}", path.display())
            };
            let mut files = BTreeMap::new();
            let mut bytes = 0;
            for (path, entry) in entries(root).map_err(|error| told(root, &error))? {
                let Entry::File(length) = entry else {
                    return Err(told(&path, &"it is a link"));
                };
                bytes += length;
                if bytes > MOST {
                    return Err(told(&path, &"it is too much to keep"));
                }
                let content = fs::read(&path).map_err(|error| told(&path, &error))?;
                files.insert(path, content);
            }
            Ok(Self { root: root.to_owned(), files })
        }

        /// Puts back what was changed since and takes away what came, which stands beside it then
        /// under a name that nothing trusts, so that a user's own change in that time is not lost.
        /// Says what, relative to the workspace. To be called when nothing of the run lives any more.
        fn put_back(&self) -> io::Result<Vec<PathBuf>> {
            let mut undone = Vec::new();
            for (path, entry) in entries(&self.root)? {
                let kept = self.files.get(&path);
                let same = kept.is_some_and(|content| {
                    matches!(entry, Entry::File(length) if length == content.len() as u64)
                        && fs::read(&path).is_ok_and(|found| found == *content)
                });
                if !same {
                    take_away(&path)?;
                    undone.push(path);
                }
            }
            // A folder above may be a link now: what leads out of the workspace is not followed.
            let root = Dir::open_ambient_dir(&self.root, ambient_authority())?;
            for (path, content) in &self.files {
                let Ok(inside) = path.strip_prefix(&self.root) else { continue };
                match root.symlink_metadata(inside) {
                    Ok(found) if found.is_file() => continue,
                    Ok(found) if found.is_dir() => root.remove_dir_all(inside)?,
                    _ => {}
                }
                if let Some(above) = inside.parent() {
                    root.create_dir_all(above)?;
                }
                root.write(inside, content)?;
                undone.push(path.clone());
            }
            undone.sort();
            undone.dedup();
            let inside = undone.iter().filter_map(|path| path.strip_prefix(&self.root).ok());
            Ok(inside.map(Path::to_owned).collect())
        }
    }

    /// The ending of what was taken away.
    const UNDONE: &str = "undone";

    fn take_away(path: &Path) -> io::Result<()> {
        if fs::symlink_metadata(path)?.is_file() {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".");
            name.push(UNDONE);
            return fs::rename(path, path.with_file_name(name));
        }
        // A link to a folder is removed as a folder on Windows.
        fs::remove_file(path).or_else(|_| fs::remove_dir(path))
    }

    /// Every trusted entry below a folder that is no folder itself.
    fn entries(root: &Path) -> io::Result<Vec<(PathBuf, Entry)>> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                if kind.is_dir() {
                    folders.push(path);
                } else if is_trusted(root, &path) {
                    let entry = if kind.is_file() {
                        Entry::File(entry.metadata()?.len())
                    } else {
                        Entry::Other
                    };
                    found.push((path, entry));
                }
            }
        }
        Ok(found)
    }

    /// Whether the name is one of those, or lies in a folder that is. A `.git` that is no folder says
    /// where the repository is.
    fn is_trusted(root: &Path, path: &Path) -> bool {
        let Ok(inside) = path.strip_prefix(root) else { return false };
        let parts = inside.iter().map(|part| part.to_string_lossy().to_lowercase());
        let text = format!("/{}/", parts.collect::<Vec<_>>().join("/"));
        if path.extension().is_some_and(|ending| ending == UNDONE) {
            return false;
        }
        text.ends_with("/.git/")
            || FILES.iter().chain(GIT).any(|name| text.contains(&format!("/{name}/")))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn write(root: &Path, name: &str, content: &str) {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn read(root: &Path, name: &str) -> Option<String> {
            fs::read_to_string(root.join(name)).ok()
        }

        #[test]
        fn what_a_run_changed_is_put_back_and_what_it_added_taken_away() {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            write(root, ".git/config", "[core]\n");
            write(root, ".git/hooks/pre-commit", "theirs");
            write(root, "sub/.git", "gitdir: ../x");
            write(root, "work.txt", "before");
            let kept = Kept::of(root).unwrap();
            write(root, ".git/config", "[core]\n\tfsmonitor = evil\n");
            write(root, "deep/er/.GIT/hooks/post-checkout", "evil");
            write(root, ".bashrc", "evil");
            write(root, "work.txt", "after");
            write(root, ".git/index", "a commit's own work");
            fs::remove_file(root.join("sub/.git")).unwrap();
            fs::remove_dir_all(root.join(".git/hooks")).unwrap();
            let undone = kept.put_back().unwrap();
            let expected = [
                ".bashrc",
                ".git/config",
                ".git/hooks/pre-commit",
                "deep/er/.GIT/hooks/post-checkout",
                "sub/.git",
            ];
            assert_eq!(undone, expected.map(PathBuf::from));
            assert_eq!(read(root, ".git/config").unwrap(), "[core]\n");
            assert_eq!(read(root, ".git/hooks/pre-commit").unwrap(), "theirs");
            assert_eq!(read(root, "sub/.git").unwrap(), "gitdir: ../x");
            assert_eq!(read(root, ".bashrc"), None);
            assert_eq!(read(root, ".git/config.undone").unwrap(), "[core]\n\tfsmonitor = evil\n");
            assert_eq!(read(root, "work.txt").unwrap(), "after");
            assert!(read(root, ".git/index").is_some());
            assert!(kept.put_back().unwrap().is_empty());
        }

        #[test]
        fn a_moved_repository_and_a_folder_in_a_files_place_come_back() {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            write(root, ".git/config", "mine");
            let kept = Kept::of(root).unwrap();
            fs::rename(root.join(".git"), root.join("git.old")).unwrap();
            write(root, ".git/config/x", "evil");
            assert_eq!(kept.put_back().unwrap().len(), 2);
            assert_eq!(read(root, ".git/config").unwrap(), "mine");
        }

        #[test]
        fn a_second_run_does_not_take_what_the_first_one_changed_for_what_was() {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            let guard = Arc::new(Guard::default());
            let first = guard.begin(root).unwrap();
            write(root, ".envrc", "evil");
            let second = guard.begin(root).unwrap();
            assert_eq!(second.end().unwrap(), [PathBuf::from(".envrc")]);
            write(root, ".bashrc", "evil");
            drop(first);
            assert_eq!((read(root, ".envrc"), read(root, ".bashrc")), (None, None));
            write(root, ".envrc", "the user's");
            assert!(guard.begin(root).unwrap().end().unwrap().is_empty());
        }

        #[test]
        fn what_is_too_much_to_keep_refuses_the_run() {
            let folder = tempfile::tempdir().unwrap();
            let hooks = folder.path().join(".git/hooks");
            fs::create_dir_all(&hooks).unwrap();
            fs::File::create(hooks.join("large")).unwrap().set_len(MOST + 1).unwrap();
            assert!(Kept::of(folder.path()).unwrap_err().contains("too much to keep"));
        }

        #[cfg(unix)]
        #[test]
        fn nothing_is_put_back_through_a_link_that_leads_out() {
            let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let root = folder.path();
            write(root, "deep/.git/config", "mine");
            let kept = Kept::of(root).unwrap();
            fs::remove_dir_all(root.join("deep")).unwrap();
            std::os::unix::fs::symlink(outside.path(), root.join("deep")).unwrap();
            assert!(kept.put_back().is_err());
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        }

        #[cfg(unix)]
        #[test]
        fn a_link_in_a_trusted_names_place_refuses_the_run_or_goes() {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            let kept = Kept::of(root).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", root.join(".bashrc")).unwrap();
            assert!(Kept::of(root).unwrap_err().contains("it is a link"));
            assert_eq!(kept.put_back().unwrap(), [PathBuf::from(".bashrc")]);
            assert!(fs::symlink_metadata(root.join(".bashrc")).is_err());
        }
    }
}
