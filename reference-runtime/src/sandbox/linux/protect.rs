//! The names in a workspace that a user's own programs trust and run later: shell start files, git
//! hooks and configuration. It finds them, puts placeholders where they are missing, and takes the
//! placeholders away again. It must never follow a link, and never look outside the workspace.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, fchown},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use cap_std::fs::{Dir, OpenOptions};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, linkat, openat};

use super::{
    links::{self, Baits},
    shim::Identity,
};
use crate::sandbox::trusted;

/// The time of change by which a placeholder is known for one, also after a crash: one second after
/// the epoch.
const MARK: Duration = Duration::from_secs(1);
/// `commondir` in a git folder sends git elsewhere for its configuration. It cannot be kept from
/// appearing by an empty file, but by one that says "here".
const COMMONDIR: &str = "commondir";

/// A workspace whose protected names are in place. Dropping it takes the placeholders away, if no
/// other run is at work there.
#[derive(Debug)]
pub(super) struct Guard {
    root: PathBuf,
    folder: Dir,
    lock: File,
    /// Folders that hold protected names, parents first, without the workspace itself.
    pub(super) pinned: Vec<PathBuf>,
    /// What must not change.
    pub(super) protected: Vec<PathBuf>,
    /// Links out of the workspace, pipes and devices that were there before the run.
    baits: Baits,
    /// Whether a placeholder was made, which goes with this run.
    pub(super) placed: bool,
    /// Files of the workspace, relative to it, that have a name outside too.
    pub(super) shared: Vec<PathBuf>,
}

/// The owner of placeholders where the runtime is root: the tool's uid.
pub(super) type Owner = Option<u32>;

/// What else must not change.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    /// The user's home: the shell start files that it lacks must not appear in it.
    pub(super) home: Option<PathBuf>,
    /// Paths of the runtime's own: this program, its configuration.
    pub(super) own: Vec<PathBuf>,
}

/// Finds and places everything.
///
/// # Errors
/// A sentence for the log: a protected name is a link, or cannot be made.
pub(super) fn protect(root: &Path, extra: &Extra, owner: Owner) -> Result<Guard, String> {
    let context = |error: io::Error| format!("{}: {error}", root.display());
    let lock = File::open(root).map_err(context)?;
    // Shared by all runs at work here; who gets it alone may clean up.
    lock_shared(&lock).map_err(context)?;
    let folder = Dir::open_ambient_dir(root, cap_std::ambient_authority()).map_err(context)?;
    let mut repositories = Vec::new();
    let found = links::look(root, true, |entry, path| {
        if is_repository(root, &entry.file_name(), path) {
            repositories.push(path.to_owned());
        }
    });
    let mut guard = Guard {
        root: root.to_owned(),
        folder,
        lock,
        pinned: Vec::new(),
        protected: Vec::new(),
        baits: found.baits,
        shared: found.shared,
        placed: false,
    };
    let home = extra.home.as_deref().and_then(|home| home.strip_prefix(root).ok());
    // At the top of the workspace; in the user's home also where they are missing.
    for name in trusted::FILES {
        guard.keep(Path::new(name), Missing::Nothing, owner)?;
        if let Some(home) = home {
            guard.keep(&home.join(name), Missing::File(""), owner)?;
        }
    }
    for git in repositories {
        guard.repository(&git, owner)?;
    }
    for path in &extra.own {
        if let Ok(inside) = path.strip_prefix(root) {
            guard.keep(inside, Missing::Nothing, owner)?;
        }
    }
    Ok(guard)
}

/// What is put where a protected name is missing.
#[derive(Clone, Copy)]
enum Missing {
    Nothing,
    File(&'static str),
    Folder,
}

impl Guard {
    /// The identities of everything that is mounted, and of the workspace.
    pub(super) fn identities(&self) -> Result<Vec<Identity>, String> {
        std::iter::once(&self.root)
            .chain(&self.pinned)
            .chain(&self.protected)
            .map(|path| identity(path))
            .collect()
    }

    fn repository(&mut self, git: &Path, owner: Owner) -> Result<(), String> {
        let found = self.folder.symlink_metadata(git).map_err(|error| describe(git, &error))?;
        if !found.is_dir() {
            // A file that says where the repository is (a worktree, a submodule), or a link.
            return self.keep(git, Missing::Nothing, owner);
        }
        self.keep(&git.join("config"), Missing::File(""), owner)?;
        self.keep(&git.join("config.worktree"), Missing::Nothing, owner)?;
        self.keep(&git.join(COMMONDIR), Missing::File(".\n"), owner)?;
        self.keep(&git.join("hooks"), Missing::Folder, owner)
    }

    /// Protects one name and pins the folders above it.
    fn keep(&mut self, name: &Path, missing: Missing, owner: Owner) -> Result<(), String> {
        let mut above = PathBuf::new();
        for part in name.parent().into_iter().flat_map(Path::components) {
            above.push(part);
            let found =
                self.folder.symlink_metadata(&above).map_err(|error| describe(&above, &error))?;
            if !found.is_dir() {
                return Err(format!("{} is no folder", above.display()));
            }
            let full = self.root.join(&above);
            if !self.pinned.contains(&full) {
                self.pinned.push(full);
            }
        }
        match self.folder.symlink_metadata(name) {
            Ok(found) if found.is_file() || found.is_dir() => {}
            Ok(_) => return Err(format!("{} is a link and cannot be protected", name.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if matches!(missing, Missing::Nothing) {
                    return Ok(());
                }
                self.place(name, missing, owner).map_err(|error| describe(name, &error))?;
                self.placed = true;
            }
            Err(error) => return Err(describe(name, &error)),
        }
        let full = self.root.join(name);
        if !self.protected.contains(&full) {
            self.protected.push(full);
        }
        Ok(())
    }

    fn place(&self, name: &Path, missing: Missing, owner: Owner) -> io::Result<()> {
        let mark_as_ours = |made: &File| {
            if let Some(uid) = owner {
                fchown(made, Some(uid), Some(uid))?;
            }
            made.set_modified(mark())
        };
        let content = match missing {
            Missing::Nothing => return Ok(()),
            Missing::Folder => {
                self.folder.create_dir(name)?;
                return mark_as_ours(&self.folder.open(name)?.into_std());
            }
            Missing::File(content) => content,
        };
        let Ok(mut unnamed) = self.unnamed(name) else {
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true);
            let mut file = self.folder.open_with(name, options)?.into_std();
            file.write_all(content.as_bytes())?;
            return mark_as_ours(&file);
        };
        // It is complete before it has its name: a run that is killed here leaves nothing.
        unnamed.write_all(content.as_bytes())?;
        mark_as_ours(&unnamed)?;
        let itself = format!("/proc/self/fd/{}", unnamed.as_raw_fd());
        linkat(CWD, itself, &self.folder, name, AtFlags::SYMLINK_FOLLOW)?;
        Ok(())
    }

    /// A file without a name yet, in the folder of that name; not every file system has such.
    fn unnamed(&self, name: &Path) -> io::Result<File> {
        let above = name.parent().filter(|above| *above != Path::new(""));
        let folder = self.folder.open_dir(above.unwrap_or(Path::new(".")))?;
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&folder, ".", flags, Mode::from_raw_mode(0o666))?;
        Ok(file.into())
    }

    /// Takes away the links out of the workspace, pipes and devices that were not there before the
    /// run, and names them. To be called when nothing of the run lives any more.
    pub(super) fn remove_new_baits(&self) -> Vec<PathBuf> {
        let new = links::look(&self.root, false, |_, _| {}).baits;
        let new = new.difference(&self.baits).map(|(path, _)| path.clone());
        new.filter(|path| self.folder.remove_file(path).is_ok()).collect()
    }

    /// Removes this name if it is a placeholder that nothing was put into.
    fn unplace(&self, path: &Path) {
        let Ok(name) = path.strip_prefix(&self.root) else { return };
        let Ok(found) = std::fs::symlink_metadata(path) else { return };
        if found.modified().ok() != Some(mark()) {
            return;
        }
        // `remove_dir` removes an empty folder only; a file must have its placeholder's size.
        let _ = if found.is_dir() {
            self.folder.remove_dir(name)
        } else if found.is_file() && found.len() <= 2 {
            self.folder.remove_file(name)
        } else {
            Ok(())
        };
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            for path in &self.protected {
                self.unplace(path);
            }
        }
    }
}

/// Another run may just be cleaning up, which is short; whoever else holds the lock for long, a
/// run does not wait for.
fn lock_shared(folder: &File) -> io::Result<()> {
    for _ in 0..200 {
        match flock(folder, FlockOperation::NonBlockingLockShared) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            done => return done.map_err(Into::into),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "the folder is locked by another program"))
}

fn mark() -> SystemTime {
    SystemTime::UNIX_EPOCH + MARK
}

fn describe(name: &Path, error: &io::Error) -> String {
    format!("{} cannot be protected: {error}", name.display())
}

/// The identity of a place, without following a link at its end.
pub(super) fn identity(path: &Path) -> Result<Identity, String> {
    let found = std::fs::symlink_metadata(path).map_err(|error| describe(path, &error))?;
    Ok(Identity { path: path.to_owned(), device: found.dev(), inode: found.ino() })
}

/// Whether this entry is the `.git` of a repository, in any letter case, or of one of its submodules,
/// which have theirs below it in `modules`.
fn is_repository(root: &Path, name: &OsStr, path: &Path) -> bool {
    let mut inside = path.iter().skip_while(|part| !is_git(part)).skip(1);
    match inside.next() {
        // None is above it.
        None => is_git(name),
        Some(first) => {
            first == "modules" && inside.next().is_some() && root.join(path).join("HEAD").is_file()
        }
    }
}

fn is_git(name: &OsStr) -> bool {
    name.eq_ignore_ascii_case(".git")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[PathBuf], root: &Path) -> Vec<String> {
        list.iter()
            .map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn placeholders_stand_during_a_run_and_are_gone_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::write(root.join(".bashrc"), "").unwrap();
        std::fs::create_dir_all(root.join("deep/er/.git")).unwrap();
        let extra = Extra { home: Some(root.to_owned()), own: Vec::new() };
        let guard = protect(root, &extra, None).unwrap();
        assert!(root.join(".zshrc").is_file());
        assert!(root.join("deep/er/.git/hooks").is_dir());
        assert_eq!(names(&guard.pinned, root), ["deep", "deep/er", "deep/er/.git"]);
        assert!(names(&guard.protected, root).contains(&"deep/er/.git/commondir".to_owned()));
        drop(guard);
        assert!(root.join(".bashrc").is_file(), "an empty file of the user's stays");
        assert!(!root.join(".zshrc").exists());
        assert_eq!(std::fs::read_dir(root.join("deep/er/.git")).unwrap().count(), 0);
    }

    #[test]
    fn a_project_folder_gets_no_shell_files() {
        let folder = tempfile::tempdir().unwrap();
        let guard = protect(folder.path(), &Extra::default(), None).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(guard.protected.is_empty() && guard.pinned.is_empty());
    }

    #[test]
    fn the_last_of_two_runs_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let extra = Extra { home: Some(folder.path().to_owned()), own: Vec::new() };
        let first = protect(folder.path(), &extra, None).unwrap();
        let second = protect(folder.path(), &extra, None).unwrap();
        drop(first);
        assert!(folder.path().join(".zshrc").is_file());
        drop(second);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_protected_name_that_is_a_link_refuses() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join(".git")).unwrap();
        let refusal = protect(folder.path(), &Extra::default(), None).unwrap_err();
        assert!(refusal.contains(".git is a link"), "{refusal}");
    }

    #[test]
    fn a_file_of_the_runtimes_own_in_the_workspace_is_protected() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("target/runtime");
        std::fs::create_dir(folder.path().join("target")).unwrap();
        std::fs::write(&own, "x").unwrap();
        let extra = Extra { home: None, own: vec![own.clone(), "/elsewhere".into()] };
        let guard = protect(folder.path(), &extra, None).unwrap();
        assert!(guard.protected.contains(&own));
        assert_eq!(names(&guard.pinned, folder.path()), ["target"]);
    }

    #[test]
    fn a_new_link_out_of_the_workspace_is_taken_away_and_an_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        };
        link("/etc/passwd", "old");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        link("../../inside", "a/b/moved");
        let guard = protect(&root, &Extra::default(), None).unwrap();
        link("/etc/passwd", "new");
        link("old", "chain");
        link("inside", "fine");
        std::fs::rename(root.join("a/b"), root.join("b")).unwrap();
        let mut removed = guard.remove_new_baits();
        removed.sort();
        assert_eq!(removed, ["b/moved", "chain", "new"].map(PathBuf::from));
        assert!(root.join("old").is_symlink() && root.join("fine").is_symlink());
        assert!(!root.join("new").is_symlink());
    }

    #[test]
    fn submodules_are_found_inside_a_repository() {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join(".git/modules/sub");
        std::fs::create_dir_all(&module).unwrap();
        std::fs::write(module.join("HEAD"), "ref: x").unwrap();
        std::fs::create_dir_all(folder.path().join(".git/objects/not/one")).unwrap();
        std::fs::write(folder.path().join(".git/objects/not/one/HEAD"), "").unwrap();
        let guard = protect(folder.path(), &Extra::default(), None).unwrap();
        let protected = names(&guard.protected, folder.path());
        let hooks: Vec<_> = protected.iter().filter(|name| name.ends_with("hooks")).collect();
        assert_eq!(hooks, [".git/hooks", ".git/modules/sub/hooks"]);
    }
}
