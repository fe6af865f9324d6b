//! A folder out of which nothing leads: every operation starts at its open handle, and the kernel
//! (openat2 where it has it, cap-std's walk elsewhere; for a path of one name, an open that follows
//! no link) refuses links that leave it, at the moment of use. It must never join a path to a root
//! and hope.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

#[cfg(unix)]
use cap_std::fs::OpenOptionsExt;
use cap_std::{
    ambient_authority,
    fs::{Dir, File, OpenOptions},
};

use super::{Entry, FileError, Os, RelativePath, lexical, lexical::below};
use crate::{audit::Rejection, requirement};

/// The most entries that one listing shows.
const MOST_ENTRIES: usize = 10_000;

/// What a file is opened for.
#[derive(Clone, Copy)]
enum Way {
    Read,
    /// Made where it is not there.
    Write,
}

/// An open folder; every operation stays inside it.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    named: PathBuf,
    folder: Dir,
}

impl Workspace {
    /// Opens the folder, which must exist.
    ///
    /// # Errors
    /// `error.deny`: the folder cannot be opened.
    pub fn open(root: &Path) -> Result<Self, Rejection> {
        let refuse = |error: io::Error| {
            let cause = format!("{}: {error}", root.display());
            requirement::ERROR_DENY.refuse("the workspace cannot be opened", cause)
        };
        let named = std::path::absolute(root).map_err(refuse)?;
        let root = root.canonicalize().map_err(refuse)?;
        let folder = Dir::open_ambient_dir(&root, ambient_authority()).map_err(refuse)?;
        Ok(Self { root, named, folder })
    }

    /// The canonical path of the folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Like [`lexical()`] for this system, but an absolute path that names a place inside the
    /// workspace, by its canonical path or the one it was opened by, is accepted too.
    ///
    /// # Errors
    /// As [`lexical()`].
    pub fn resolve(&self, path: &str) -> Result<RelativePath, Rejection> {
        let os = Os::current();
        if os != Os::Windows && !path.starts_with('/') {
            return lexical(path, os);
        }
        let inside = [&self.root, &self.named]
            .into_iter()
            .filter_map(|root| root.to_str())
            .find_map(|root| below(path, root, os));
        lexical(inside.unwrap_or(path), os)
    }

    /// The content of a regular file of at most `max` bytes. Nothing else than a regular file is
    /// waited for: a FIFO or a device is refused at once.
    ///
    /// # Errors
    /// `path.link`, `path.os-alias` (not a regular file), or what the file system says.
    pub fn read(&self, path: &RelativePath, max: usize) -> Result<Vec<u8>, FileError> {
        let (file, size) = self.find(path)?.regular()?;
        let too_large =
            || FileError::Failed("the file is too large", io::ErrorKind::FileTooLarge.into());
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(max).min(max) + 1);
        let most = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most).read_to_end(&mut content).map_err(failed)?;
        if content.len() > max { Err(too_large()) } else { Ok(content) }
    }

    /// What stands at a path, open to be read once it is known to be a file: a path's whole way but
    /// for the look and the reading.
    ///
    /// # Errors
    /// `path.link`, or what the file system says.
    pub fn find<'path>(&self, path: &'path RelativePath) -> Result<Unseen<'path>, FileError> {
        self.open_unseen(path, Way::Read)
    }

    /// Writes a regular file, creating it and missing folders above it.
    ///
    /// # Errors
    /// As [`Workspace::read`].
    pub fn write(&self, path: &RelativePath, content: &[u8]) -> Result<(), FileError> {
        self.writable(path)?.write_all(content).map_err(failed)
    }

    /// A regular file to write to, empty, with the folders above it.
    fn writable(&self, path: &RelativePath) -> Result<std::fs::File, FileError> {
        if let Some(parent) = path.as_path().parent()
            && !parent.as_os_str().is_empty()
        {
            self.create_folder(path, parent)?;
        }
        // Not truncated at the open: what it is must be known first.
        let (file, _) = self.open_unseen(path, Way::Write)?.regular()?;
        file.set_len(0).map_err(failed)?;
        Ok(file)
    }

    /// Writes a file from a reader, piece by piece, creating missing folders above it; as
    /// [`Workspace::write`] it never leaves the workspace.
    ///
    /// # Errors
    /// As [`Workspace::read`].
    pub fn copy_in(&self, path: &RelativePath, from: &mut std::fs::File) -> Result<(), FileError> {
        let mut file = self.writable(path)?;
        io::copy(from, &mut file).map(drop).map_err(failed)
    }

    /// Removes a folder and what is in it; no link in it is followed. One that is not there is
    /// as good as removed.
    ///
    /// # Errors
    /// As [`Workspace::read`].
    pub fn remove_folder(&self, path: &RelativePath) -> Result<(), FileError> {
        match self.folder.remove_dir_all(path.as_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// The entries of a folder, sorted by name; at most 10,000.
    ///
    /// # Errors
    /// As [`Workspace::read`].
    pub fn list(&self, path: &RelativePath) -> Result<Vec<Entry>, FileError> {
        let folder = if self.guarded(path) {
            self.folder.open_dir(path.as_path())
        } else {
            Dir::open_ambient_dir(self.root.join(path.as_path()), ambient_authority())
        };
        let mut entries = Vec::new();
        for entry in folder.and_then(|folder| folder.entries()).map_err(failed)? {
            if entries.len() == MOST_ENTRIES {
                break;
            }
            let entry = entry.map_err(failed)?;
            // An entry that went away in between is not an entry.
            let Ok(metadata) = entry.metadata() else { continue };
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                folder: metadata.is_dir(),
                bytes: if metadata.is_file() { metadata.len() } else { 0 },
            });
        }
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }

    /// Opens what stands at a path without waiting for it.
    fn open_unseen<'path>(
        &self,
        path: &'path RelativePath,
        way: Way,
    ) -> Result<Unseen<'path>, FileError> {
        let guarded = self.guarded(path);
        #[cfg(unix)]
        if guarded && let Some(file) = self.open_name(path, way) {
            return Ok(Unseen { file, path });
        }
        let mut options = OpenOptions::new();
        match way {
            Way::Read => options.read(true),
            Way::Write => options.write(true).create(true),
        };
        unblocked(&mut options);
        let file = if guarded {
            self.folder.open_with(path.as_path(), &options)
        } else {
            File::open_ambient_with(self.root.join(path.as_path()), &options, ambient_authority())
        };
        #[cfg(windows)]
        let file = file.map_err(|error| self.named_rightly(path, error));
        file.map(|file| Unseen { file: file.into_std(), path }).map_err(failed)
    }

    /// Windows says "access denied" where a folder is opened as a file.
    #[cfg(windows)]
    fn named_rightly(&self, path: &RelativePath, error: io::Error) -> io::Error {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        let by_system = error.raw_os_error().is_some();
        let folder = || self.folder.metadata(path.as_path()).is_ok_and(|found| found.is_dir());
        if denied && by_system && folder() { io::ErrorKind::IsADirectory.into() } else { error }
    }

    /// Opens a path of one name that is no link: it stands in the open folder itself, so there is
    /// no way on which it could be led out, and nothing that the kernel has to hold it against.
    /// Whatever this does not open goes the way of longer paths, which says why.
    #[cfg(unix)]
    fn open_name(&self, path: &RelativePath, way: Way) -> Option<std::fs::File> {
        use rustix::fs::{Mode, OFlags, openat};
        let name = path.as_str();
        if matches!(name, "" | "." | "..") || name.contains('/') {
            return None;
        }
        let way = match way {
            Way::Read => OFlags::RDONLY,
            Way::Write => OFlags::WRONLY | OFlags::CREATE,
        };
        let waiting = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = way | waiting | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH;
        openat(&self.folder, name, flags, mode).ok().map(Into::into)
    }

    fn create_folder(&self, path: &RelativePath, parent: &Path) -> Result<(), FileError> {
        if self.guarded(path) {
            // Where a link stands in the way the walk only says that something is there; the open
            // says where it leads.
            let made = self.folder.create_dir_all(parent);
            made.or_else(|_| self.folder.open_dir(parent).map(drop)).map_err(failed)
        } else {
            std::fs::create_dir_all(self.root.join(parent)).map_err(failed)
        }
    }

    /// Whether the kernel holds this path inside. Always, but where the defence that stands for
    /// it is knocked out: then the open is the plain one.
    fn guarded(&self, path: &RelativePath) -> bool {
        let parent = || path.as_str().split('/').any(|segment| segment == "..");
        requirement::PATH_LINK.enforced()
            && (requirement::PATH_ABSOLUTE.enforced() || !path.as_path().is_absolute())
            && (requirement::PATH_TRAVERSAL.enforced() || !parent())
    }
}

/// What was opened and not yet looked at: it may be a file, a folder, a pipe or a device. Nothing
/// can be read from it or written to it before it is known to be a file.
#[derive(Debug)]
#[must_use]
pub struct Unseen<'path> {
    file: std::fs::File,
    path: &'path RelativePath,
}

impl Unseen<'_> {
    /// The file and its size in bytes, if it is a regular one.
    ///
    /// # Errors
    /// `path.os-alias` where it is something else, or what the file system says.
    pub fn regular(self) -> Result<(std::fs::File, u64), FileError> {
        // By the shortest way that the system has.
        #[cfg(unix)]
        let (kind, size) = {
            let found = rustix::fs::fstat(&self.file).map_err(|error| failed(error.into()))?;
            let size = u64::try_from(found.st_size).unwrap_or_default();
            (rustix::fs::FileType::from_raw_mode(found.st_mode), size)
        };
        #[cfg(not(unix))]
        let (kind, size) = {
            let found = self.file.metadata().map_err(failed)?;
            (found.file_type(), found.len())
        };
        if kind.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        requirement::PATH_OS_ALIAS.check(
            kind.is_file(),
            "the path names something else than a file",
            || format!("{:?}: {kind:?}", self.path.as_str()),
        )?;
        Ok((self.file, size))
    }
}

#[cfg(unix)]
fn unblocked(options: &mut OpenOptions) {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
}

#[cfg(not(unix))]
fn unblocked(_: &mut OpenOptions) {}

/// What the file system said, in public words. A link that leaves the workspace is a refusal.
fn failed(error: io::Error) -> FileError {
    let sentence = match error.kind() {
        // cap-std's own sign of an escape is an error that no system call made.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            return requirement::PATH_LINK
                .refuse("the path leads out of the workspace", error.to_string())
                .into();
        }
        _ if is_loop(&error) => {
            return requirement::PATH_LINK
                .refuse("the path has a link that is not followed", error.to_string())
                .into();
        }
        _ if is_pipe_without_reader(&error) => {
            return requirement::PATH_OS_ALIAS
                .refuse("the path names something else than a file", error.to_string())
                .into();
        }
        io::ErrorKind::NotFound => "there is no such file",
        io::ErrorKind::IsADirectory => "the path names a folder",
        io::ErrorKind::NotADirectory => "the path leads through a file",
        io::ErrorKind::PermissionDenied => "the file may not be opened",
        io::ErrorKind::FileTooLarge => "the file is too large",
        io::ErrorKind::InvalidFilename => "the name is too long",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "there is no room left",
        _ => "the file system refused",
    };
    FileError::Failed(sentence, error)
}

#[cfg(unix)]
fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

#[cfg(not(unix))]
fn is_loop(_: &io::Error) -> bool {
    false
}

/// Opening a FIFO or a socket for writing without waiting ends so.
#[cfg(unix)]
fn is_pipe_without_reader(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
}

#[cfg(not(unix))]
fn is_pipe_without_reader(_: &io::Error) -> bool {
    false
}
