//! Sessions and their history in an embedded database: `<state>/sessions.redb`. What is
//! acknowledged is on disk. This file must never know what an entry means, nor read an attachment.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};

use super::contents::Files;
use super::history::Entry;
use super::session_id::SessionId;
use super::unavailable::unavailable;
use crate::audit::Rejection;
use crate::{private, requirement};

pub(super) const SESSIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sessions");
const ENTRIES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("entries");

/// What is known of a session besides its history.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The subject that made it; nobody else may use it.
    pub owner: String,
    /// When it was made.
    pub created: jiff::Timestamp,
}

/// The store. Cheap to clone; every call runs on the blocking pool.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
    pub(super) files: Arc<Files>,
}

impl Store {
    /// Opens or makes the database under the state folder.
    ///
    /// # Errors
    /// `error.deny` where the file cannot be used or another process holds it.
    pub fn open(state: &Path) -> Result<Self, Rejection> {
        let path = state.join("sessions.redb");
        let mut options = std::fs::OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = private::open(options, &path).map_err(unavailable)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // One that was here before may be looser.
            let owner_alone = std::fs::Permissions::from_mode(0o600);
            file.set_permissions(owner_alone).map_err(unavailable)?;
        }
        let database = Database::builder()
            .create_with_backend(redb::backends::FileBackend::new(file).map_err(unavailable)?)
            .map_err(unavailable)?;
        let write = database.begin_write().map_err(unavailable)?;
        write.open_table(SESSIONS).map_err(unavailable)?;
        write.open_table(ENTRIES).map_err(unavailable)?;
        let files = Files::open(state, &write)?;
        write.commit().map_err(unavailable)?;
        Ok(Self { database: Arc::new(database), files: Arc::new(files) })
    }

    /// Makes a session; it is on disk when this returns.
    ///
    /// # Errors
    /// `error.deny` where it cannot be stored.
    pub async fn create(&self, owner: &str) -> Result<SessionId, Rejection> {
        let id = SessionId::random()?;
        let session = Session { owner: owner.to_owned(), created: jiff::Timestamp::now() };
        let value = serde_json::to_vec(&session).map_err(unavailable)?;
        let key = id.clone();
        self.blocking(move |database| {
            let write = database.begin_write().map_err(unavailable)?;
            write
                .open_table(SESSIONS)
                .map_err(unavailable)?
                .insert(key.as_str(), value.as_slice())
                .map_err(unavailable)?;
            write.commit().map_err(unavailable)
        })
        .await?;
        Ok(id)
    }

    /// The session of this id, if there is one.
    ///
    /// # Errors
    /// `error.deny` where the store cannot be read.
    pub async fn get(&self, id: &SessionId) -> Result<Option<Session>, Rejection> {
        let id = id.clone();
        self.blocking(move |database| {
            let read = database.begin_read().map_err(unavailable)?;
            let table = read.open_table(SESSIONS).map_err(unavailable)?;
            let value = table.get(id.as_str()).map_err(unavailable)?;
            value
                .map(|value| serde_json::from_slice(value.value()).map_err(unavailable))
                .transpose()
        })
        .await
    }

    /// The ids of the sessions of an owner, at most `limit`.
    ///
    /// # Errors
    /// `error.deny` where the store cannot be read.
    pub async fn list(&self, owner: &str, limit: usize) -> Result<Vec<String>, Rejection> {
        let owner = owner.to_owned();
        self.blocking(move |database| {
            let read = database.begin_read().map_err(unavailable)?;
            let table = read.open_table(SESSIONS).map_err(unavailable)?;
            let mut ids = Vec::new();
            for row in table.iter().map_err(unavailable)? {
                let (id, value) = row.map_err(unavailable)?;
                let session: Session =
                    serde_json::from_slice(value.value()).map_err(unavailable)?;
                if session.owner == owner {
                    ids.push(id.value().to_owned());
                }
                if ids.len() >= limit {
                    break;
                }
            }
            Ok(ids)
        })
        .await
    }

    /// Removes a session, its history and its attachments; all are gone when this returns.
    ///
    /// # Errors
    /// `error.deny` where the store cannot be written.
    pub async fn remove(&self, id: &SessionId) -> Result<(), Rejection> {
        let id = id.clone();
        let files = Arc::clone(&self.files);
        self.blocking(move |database| {
            let held = files.lock();
            let write = database.begin_write().map_err(unavailable)?;
            {
                let mut sessions = write.open_table(SESSIONS).map_err(unavailable)?;
                sessions.remove(id.as_str()).map_err(unavailable)?;
                let mut entries = write.open_table(ENTRIES).map_err(unavailable)?;
                let range = (id.as_str(), 0)..=(id.as_str(), u64::MAX);
                entries.retain_in(range, |_, _| false).map_err(unavailable)?;
            }
            let orphans = Files::forget(&write, &id)?;
            write.commit().map_err(unavailable)?;
            files.remove(&held, &orphans);
            Ok(())
        })
        .await
    }

    /// Adds entries at the end of a history; they are on disk when this returns. Entries of a
    /// session that was removed meanwhile are dropped.
    ///
    /// # Errors
    /// `error.deny` where they cannot be stored.
    pub async fn append(&self, id: &SessionId, entries: Vec<Entry>) -> Result<(), Rejection> {
        let id = id.clone();
        self.blocking(move |database| {
            let mut write = database.begin_write().map_err(unavailable)?;
            // Without it, an answer may go out before what it acknowledges is on disk.
            if !requirement::AUDIT_RECONCILED.enforced() {
                write.set_durability(redb::Durability::None).map_err(unavailable)?;
            }
            {
                let sessions = write.open_table(SESSIONS).map_err(unavailable)?;
                if sessions.get(id.as_str()).map_err(unavailable)?.is_none() {
                    return Ok(());
                }
                let mut table = write.open_table(ENTRIES).map_err(unavailable)?;
                let range = (id.as_str(), 0)..=(id.as_str(), u64::MAX);
                let last = match table.range(range).map_err(unavailable)?.next_back() {
                    Some(row) => Some(row.map_err(unavailable)?.0.value().1),
                    None => None,
                };
                let mut next = last.map_or(0, |last| last.saturating_add(1));
                for entry in &entries {
                    let value = serde_json::to_vec(entry).map_err(unavailable)?;
                    table.insert((id.as_str(), next), value.as_slice()).map_err(unavailable)?;
                    next = next.saturating_add(1);
                }
            }
            write.commit().map_err(unavailable)
        })
        .await
    }

    /// The last entries of a session, oldest first, of together at most `bytes` stored bytes.
    ///
    /// # Errors
    /// `error.deny` where the store cannot be read.
    pub async fn history(&self, id: &SessionId, bytes: usize) -> Result<Vec<Entry>, Rejection> {
        let id = id.clone();
        self.blocking(move |database| {
            let read = database.begin_read().map_err(unavailable)?;
            let table = read.open_table(ENTRIES).map_err(unavailable)?;
            let range = (id.as_str(), 0)..=(id.as_str(), u64::MAX);
            let (mut entries, mut taken) = (Vec::new(), 0_usize);
            for row in table.range(range).map_err(unavailable)?.rev() {
                let (_, value) = row.map_err(unavailable)?;
                taken = taken.saturating_add(value.value().len());
                if taken > bytes {
                    break;
                }
                entries.push(serde_json::from_slice(value.value()).map_err(unavailable)?);
            }
            entries.reverse();
            Ok(entries)
        })
        .await
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Rejection> + Send + 'static,
    ) -> Result<T, Rejection> {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || work(&database)).await.map_err(unavailable)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let id = store.create("token:1").await.unwrap();
        store.append(&id, vec![Entry::user("one"), Entry::user("two")]).await.unwrap();
        store.append(&id, vec![Entry::user("three")]).await.unwrap();
        drop(store);

        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.get(&id).await.unwrap().unwrap().owner, "token:1");
        let history = store.history(&id, 1 << 20).await.unwrap();
        assert_eq!(history, ["one", "two", "three"].map(Entry::user));
        assert_eq!(store.list("token:1", 10).await.unwrap(), [id.as_str()]);
        assert!(store.list("token:2", 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_removed_session_takes_its_history_along_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (gone, stays) = (store.create("a").await.unwrap(), store.create("a").await.unwrap());
        for id in [&gone, &stays] {
            store.append(id, vec![Entry::user("hello")]).await.unwrap();
        }
        store.remove(&gone).await.unwrap();
        store.append(&gone, vec![Entry::user("late")]).await.unwrap();
        assert!(store.get(&gone).await.unwrap().is_none());
        assert!(store.history(&gone, 1 << 20).await.unwrap().is_empty());
        assert_eq!(store.history(&stays, 1 << 20).await.unwrap(), [Entry::user("hello")]);
    }

    #[tokio::test]
    async fn a_long_history_is_cut_at_its_old_end() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let id = store.create("a").await.unwrap();
        let entries = (0..10).map(|n| Entry::user(format!("{n}{}", "x".repeat(100)))).collect();
        store.append(&id, entries).await.unwrap();
        let history = store.history(&id, 350).await.unwrap();
        assert_eq!(history.len(), 2);
        assert!(matches!(history.last(), Some(Entry::User { text, .. }) if text.starts_with('9')));
    }
}
