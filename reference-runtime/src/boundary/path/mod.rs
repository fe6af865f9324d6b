//! Paths at the door: lexical rules as pure functions for every system, then a workspace out of
//! which no link, race or alias leads. It must never know which tool asks.

mod lexical;
mod windows;
mod workspace;

use std::{io, path::Path};

pub use self::{
    lexical::lexical,
    workspace::{Unseen, Workspace},
};
use crate::audit::Rejection;

/// The system whose path rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    /// Linux and other Unix systems.
    Unix,
    /// macOS: Unix with resource forks.
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

    const fn separates(self, c: char) -> bool {
        c == '/' || (matches!(self, Self::Windows) && c == '\\')
    }
}

/// A path that passed the lexical rules: relative to the workspace, no `..`, no alias, its
/// segments joined by `/`. Only this room can build one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelativePath(String);

impl RelativePath {
    /// The path, relative to the workspace; `.` is the workspace itself.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The same as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
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
