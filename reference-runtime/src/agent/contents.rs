//! What is stored of attachments: `<state>/attachments/<sha256>`, one file for one content however
//! often it is sent, and rows in the sessions' database that say whose it is. It must never know how
//! one arrives, nor what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{ReadableTable as _, TableDefinition, WriteTransaction};

use super::history::Attachment;
use super::session_id::SessionId;
use super::unavailable::unavailable;
use crate::audit::Rejection;
use crate::private;

/// Session and attachment id -> [`Attachment`].
pub(super) const ATTACHMENTS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("attachments");
/// SHA-256 -> how many attachments are of this content.
pub(super) const CONTENTS: TableDefinition<'_, &str, u64> = TableDefinition::new("contents");

/// The folder of the contents.
pub(super) struct Files {
    pub(super) folder: PathBuf,
    /// Held while rows and files change together.
    changing: Mutex<()>,
}

impl Files {
    /// Opens or makes the folder and removes what no row speaks for: uploads that were cut off,
    /// and contents whose removal was.
    pub(super) fn open(state: &Path, write: &WriteTransaction) -> Result<Self, Rejection> {
        let folder = state.join("attachments");
        private::create_folders(&folder).map_err(unavailable)?;
        write.open_table(ATTACHMENTS).map_err(unavailable)?;
        let contents = write.open_table(CONTENTS).map_err(unavailable)?;
        for entry in fs::read_dir(&folder).map_err(unavailable)? {
            let entry = entry.map_err(unavailable)?;
            let name = entry.file_name();
            let known = match name.to_str() {
                Some(name) => contents.get(name).map_err(unavailable)?.is_some(),
                None => false,
            };
            if !known {
                fs::remove_file(entry.path()).map_err(unavailable)?;
            }
        }
        Ok(Self { folder, changing: Mutex::new(()) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the rows of a session; returns the contents that nobody has any more.
    pub(super) fn forget(
        write: &WriteTransaction,
        session: &SessionId,
    ) -> Result<Vec<String>, Rejection> {
        let mut rows = write.open_table(ATTACHMENTS).map_err(unavailable)?;
        let mut contents = write.open_table(CONTENTS).map_err(unavailable)?;
        let mut orphans = Vec::new();
        let (first, last) = range(session);
        let gone = rows.extract_from_if(first..=last, |_, _| true).map_err(unavailable)?;
        for row in gone {
            let (_, value) = row.map_err(unavailable)?;
            let attachment: Attachment =
                serde_json::from_slice(value.value()).map_err(unavailable)?;
            let sha256 = attachment.sha256;
            let left = contents.get(sha256.as_str()).map_err(unavailable)?.map_or(0, |n| n.value());
            if left > 1 {
                contents.insert(sha256.as_str(), left - 1).map_err(unavailable)?;
            } else {
                contents.remove(sha256.as_str()).map_err(unavailable)?;
                orphans.push(sha256);
            }
        }
        Ok(orphans)
    }

    /// Removes contents. What cannot be removed now is at the next start.
    pub(super) fn remove(&self, _held: &MutexGuard<'_, ()>, contents: &[String]) {
        for sha256 in contents {
            if let Err(error) = fs::remove_file(self.folder.join(sha256)) {
                tracing::warn!(%error, "the content of an attachment could not be removed");
            }
        }
    }

    pub(super) fn file(&self, attachment: &Attachment) -> PathBuf {
        self.folder.join(&attachment.sha256)
    }
}

/// The keys of every attachment of a session. Ids are hex digits, so `g` is behind the last.
pub(super) fn range(session: &SessionId) -> ((&str, &'static str), (&str, &'static str)) {
    ((session.as_str(), ""), (session.as_str(), "g"))
}
