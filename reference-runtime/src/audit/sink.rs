//! The audit file: one writer, one line a record. It must never let a caller go on whose record
//! was not written.

use std::path::{Path, PathBuf};

use super::{Event, Redactor, Rejection};
use crate::requirement;

/// The open audit log; clones write to the same file.
#[derive(Clone, Debug)]
pub struct Audit {
    redactor: Redactor,
    file: PathBuf,
}

impl Audit {
    /// Opens `<state>/audit/audit.jsonl`.
    ///
    /// # Errors
    /// `error.deny`: the log cannot be opened, or `audit.integrity`: it was changed.
    pub fn open(state: &Path, redactor: Redactor) -> Result<Self, Rejection> {
        Ok(Self { redactor, file: state.join("audit").join("audit.jsonl") })
    }

    /// The redactor that every record goes through.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Writes a record; returns once it is written.
    ///
    /// # Errors
    /// `error.deny`: it could not be written, and the caller must refuse.
    pub async fn record(&self, event: Event) -> Result<(), Rejection> {
        self.record_blocking(event)
    }

    /// The same for code outside of async tasks.
    ///
    /// # Errors
    /// As [`Audit::record`].
    pub fn record_blocking(&self, event: Event) -> Result<(), Rejection> {
        drop(event);
        Err(requirement::ERROR_DENY
            .refuse("the audit log cannot be written", self.file.display().to_string()))
    }
}

/// What a whole log looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Number of records.
    pub records: u64,
    /// The hash of the last record, 64 hex digits; all zeros for an empty log.
    pub head: String,
}

/// Where a log is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The line, from 1; one more than there are lines if the end is missing.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads the log of a state folder and checks its chain from the first record to the head.
///
/// # Errors
/// The first place at which it is not as it was written.
pub fn verify(state: &Path) -> Result<Verified, Broken> {
    Err(Broken { line: 1, reason: format!("{}: not read yet", state.display()) })
}
