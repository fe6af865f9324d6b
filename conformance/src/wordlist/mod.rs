//! Room: wordlist. Other people's lists of path attacks, played line by line against one path
//! surface of a target, with one question: does any line lead outside the workspace? A raw list is
//! not a list of what must be refused, so nothing else is asked. It must never hand a line to
//! anything but a path, nor run it.

mod aim;
mod play;
mod read;
mod stored;
mod volley;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::corpus::Surface;

pub use play::{Escape, Played, play};
pub use read::Format;
pub use stored::{Imported, text};

/// The surfaces that a list can be played on.
pub const SURFACES: [Surface; 2] = [Surface::ToolPathRead, Surface::ToolPathWrite];

/// One line of a list, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// A list, each different line once.
#[derive(Clone, Debug)]
pub struct List {
    /// A short name, made of the file's.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// How its lines are written.
    pub format: Format,
    /// SHA-256 of the file.
    pub sha256: String,
    /// The lines.
    pub entries: Vec<Entry>,
    /// How many lines were the same as an earlier one.
    pub repeated: usize,
    /// The surface that it was imported for.
    pub surface: Option<Surface>,
}

/// Why a file is no list: file, line and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not what the format says.
    #[error("{}:{line}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what to do.
        message: String,
    },
}

impl List {
    /// Reads a list: raw, or as it was imported. Without a format it is found out.
    ///
    /// # Errors
    /// The file cannot be read, or its first wrong line.
    pub fn load(path: &Path, format: Option<Format>) -> Result<Self, ListError> {
        let bytes = std::fs::read(path)
            .map_err(|source| ListError::Unreadable { path: path.to_owned(), source })?;
        if format.is_none() && stored::is_one(&bytes) {
            return stored::load(path, &bytes);
        }
        read::parse(path, &bytes, format)
    }

    /// The id of a line: the same for the same bytes, whatever list they stand in next year.
    #[must_use]
    pub fn id(&self, entry: &Entry) -> String {
        let digest = hex::encode(Sha256::digest(&entry.payload));
        format!("X-{}-{}", self.name, digest.get(..8).unwrap_or_default())
    }

    /// Keeps the lines with these ids alone.
    #[must_use]
    pub fn only(mut self, ids: &[String]) -> Self {
        if !ids.is_empty() {
            let kept = self.entries.iter().filter(|entry| ids.contains(&self.id(entry)));
            self.entries = kept.cloned().collect();
        }
        self
    }
}
