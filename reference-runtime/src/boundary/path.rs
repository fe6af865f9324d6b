//! Paths at the door: lexical rules as pure functions for every system, then a workspace out of
//! which no link, race or alias leads. It must never know which tool asks.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{audit::Rejection, requirement};

/// The system whose path rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    /// Linux and other Unix systems.
    Unix,
    /// macOS: Unix with resource forks and volume aliases.
    MacOs,
    /// Windows.
    Windows,
}

impl Os {
    /// The system that this program runs on.
    #[must_use]
    pub const fn current() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::MacOs
        } else {
            Self::Unix
        }
    }
}

/// A path that passed the lexical rules: relative to the workspace, no `..`, no alias. Only this
/// room can build one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelativePath(PathBuf);

impl RelativePath {
    /// The path, relative to the workspace; `.` is the workspace itself.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// Why a file operation did not happen.
#[derive(Debug)]
pub enum FileError {
    /// A defence refused it.
    Refused(Rejection),
    /// The file system said no: missing, a folder, too large, permission. The sentence is public.
    Failed(&'static str, io::Error),
}

impl From<Rejection> for FileError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without its folder; a name that is not Unicode is shown with U+FFFD.
    pub name: String,
    /// Whether it is a folder. A link is shown as what it is: not a folder.
    pub folder: bool,
    /// Size in bytes; zero for anything but a regular file.
    pub bytes: u64,
}

/// Applies the lexical rules of one system to a path from outside. Absolute paths are refused: see
/// [`Workspace::resolve`] for those that name a place inside.
///
/// # Errors
/// `input.null-byte`, `path.traversal`, `path.absolute` or `path.os-alias`.
pub fn lexical(path: &str, os: Os) -> Result<RelativePath, Rejection> {
    let _ = os;
    super::text::no_null(path)?;
    Err(requirement::ERROR_DENY.refuse("paths are not served yet", path))
}

/// An open folder; every operation stays inside it.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Opens the folder, which must exist.
    ///
    /// # Errors
    /// `error.deny`: the folder cannot be opened.
    pub fn open(root: &Path) -> Result<Self, Rejection> {
        let root = root.canonicalize().map_err(|error| {
            requirement::ERROR_DENY.refuse("the workspace cannot be opened", error.to_string())
        })?;
        Ok(Self { root })
    }

    /// The canonical path of the folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Like [`lexical`] for this system, but an absolute path that names a place inside the
    /// workspace is accepted too.
    ///
    /// # Errors
    /// As [`lexical`].
    pub fn resolve(&self, path: &str) -> Result<RelativePath, Rejection> {
        lexical(path, Os::current())
    }

    /// The content of a regular file of at most `max` bytes.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read(&self, path: &RelativePath, max: usize) -> Result<Vec<u8>, FileError> {
        let _ = (path, max);
        Err(requirement::ERROR_DENY.refuse("files are not served yet", "").into())
    }

    /// Writes a regular file, creating it and missing folders above it.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn write(&self, path: &RelativePath, content: &[u8]) -> Result<(), FileError> {
        let _ = (path, content);
        Err(requirement::ERROR_DENY.refuse("files are not served yet", "").into())
    }

    /// The entries of a folder, sorted by name; at most 10,000.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn list(&self, path: &RelativePath) -> Result<Vec<Entry>, FileError> {
        let _ = path;
        Err(requirement::ERROR_DENY.refuse("files are not served yet", "").into())
    }
}
