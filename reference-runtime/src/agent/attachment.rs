//! Attachments as they come and go: written to disk as they arrive and never held in memory, handed
//! out to tools as copies in the workspace. This file must never know what an attachment says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{ReadableTable as _, WriteTransaction};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::contents::{ATTACHMENTS, CONTENTS, range};
use super::history::Attachment;
use super::session::{SESSIONS, Store};
use super::session_id::SessionId;
use super::unavailable::unavailable;
use crate::audit::Rejection;
use crate::boundary::attachment::{FileName, Meter, place};
use crate::boundary::path::{FileError, Workspace};
use crate::boundary::{Checked, Limits};
use crate::private;
use crate::requirement::{self, INPUT_ATTACHMENT_COUNT};

/// The most attachments that one session may hold at a time.
const PER_SESSION: usize = 100;

/// An attachment that is arriving. What was written is gone when it is dropped unfinished.
pub struct Upload {
    store: Store,
    session: SessionId,
    name: Checked<FileName>,
    meter: Meter,
    hash: Sha256,
    file: tokio::fs::File,
    path: PathBuf,
    kept: bool,
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.kept {
            // What is left is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Upload {
    /// What was counted so far.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Takes the next piece: counted first, then written.
    ///
    /// # Errors
    /// `input.attachment-size`, or `error.deny` where it cannot be written.
    pub async fn take(&mut self, piece: &[u8]) -> Result<(), Rejection> {
        self.meter.take(piece.len())?;
        self.hash.update(piece);
        self.file.write_all(piece).await.map_err(unavailable)
    }

    /// Ends the upload; the attachment is on disk when this returns.
    ///
    /// # Errors
    /// `error.deny` where it cannot be stored; `input.attachment-count` where the session holds
    /// too many. `None` where the session was removed meanwhile.
    pub async fn finish(mut self) -> Result<Option<Attachment>, Rejection> {
        self.file.flush().await.map_err(unavailable)?;
        self.file.sync_all().await.map_err(unavailable)?;
        let attachment = Attachment {
            id: SessionId::random()?.as_str().to_owned(),
            name: self.name.get().as_str().to_owned(),
            bytes: self.meter.taken(),
            sha256: hex::encode(std::mem::take(&mut self.hash).finalize()),
        };
        let (files, path) = (Arc::clone(&self.store.files), self.path.clone());
        let (session, stored) = (self.session.clone(), attachment.clone());
        let store = self.store.clone();
        let work = move |database: &redb::Database| {
            let _held = files.lock();
            let write = database.begin_write().map_err(unavailable)?;
            if !insert(&write, &session, &stored)? {
                return Ok(false);
            }
            fs::rename(&path, files.file(&stored)).map_err(unavailable)?;
            private::sync_folder(&files.folder).map_err(unavailable)?;
            write.commit().map_err(unavailable)?;
            Ok(true)
        };
        self.kept = store.blocking(work).await?;
        Ok(self.kept.then_some(attachment))
    }
}

/// Adds the row of an attachment; `false` where there is no such session.
fn insert(
    write: &WriteTransaction,
    session: &SessionId,
    attachment: &Attachment,
) -> Result<bool, Rejection> {
    let sessions = write.open_table(SESSIONS).map_err(unavailable)?;
    if sessions.get(session.as_str()).map_err(unavailable)?.is_none() {
        return Ok(false);
    }
    let mut rows = write.open_table(ATTACHMENTS).map_err(unavailable)?;
    let (first, last) = range(session);
    let held = rows.range(first..=last).map_err(unavailable)?.count();
    INPUT_ATTACHMENT_COUNT.check(
        held < PER_SESSION,
        "the session holds too many attachments",
        || format!("{held} attachments"),
    )?;
    let value = serde_json::to_vec(attachment).map_err(unavailable)?;
    let key = (session.as_str(), attachment.id.as_str());
    rows.insert(key, value.as_slice()).map_err(unavailable)?;
    let mut contents = write.open_table(CONTENTS).map_err(unavailable)?;
    let sha256 = attachment.sha256.as_str();
    let others = contents.get(sha256).map_err(unavailable)?.map_or(0, |n| n.value());
    contents.insert(sha256, others.saturating_add(1)).map_err(unavailable)?;
    Ok(true)
}

impl Store {
    /// Begins an upload into a session.
    ///
    /// # Errors
    /// `error.deny` where no file can be made.
    pub async fn upload(
        &self,
        session: &SessionId,
        name: Checked<FileName>,
        limits: &Limits,
    ) -> Result<Upload, Rejection> {
        let path = self.files.folder.join(format!("upload-{}", SessionId::random()?.as_str()));
        // It has its folder's privacy, and is renamed while it is open.
        let mut options = fs::OpenOptions::new();
        let file = private::open(options.write(true).create_new(true), &path);
        let file = file.map(Into::into).map_err(unavailable)?;
        let (store, session) = (self.clone(), session.clone());
        let (meter, hash) = (Meter::new(limits), Sha256::new());
        Ok(Upload { store, session, name, meter, hash, file, path, kept: false })
    }

    /// The attachment of this id in a session, if there is one.
    ///
    /// # Errors
    /// `error.deny` where the store cannot be read.
    pub async fn attachment(
        &self,
        session: &SessionId,
        id: &str,
    ) -> Result<Option<Attachment>, Rejection> {
        let (session, id) = (session.clone(), id.to_owned());
        self.blocking(move |database| {
            use redb::ReadableDatabase as _;
            let read = database.begin_read().map_err(unavailable)?;
            let table = read.open_table(ATTACHMENTS).map_err(unavailable)?;
            let value = table.get((session.as_str(), id.as_str())).map_err(unavailable)?;
            value
                .map(|value| serde_json::from_slice(value.value()).map_err(unavailable))
                .transpose()
        })
        .await
    }

    /// The attachments of a session.
    ///
    /// # Errors
    /// `error.deny` where the store cannot be read.
    pub async fn attachments(&self, session: &SessionId) -> Result<Vec<Attachment>, Rejection> {
        let session = session.clone();
        self.blocking(move |database| {
            use redb::ReadableDatabase as _;
            let read = database.begin_read().map_err(unavailable)?;
            let table = read.open_table(ATTACHMENTS).map_err(unavailable)?;
            let (first, last) = range(&session);
            let rows = table.range(first..=last).map_err(unavailable)?;
            rows.map(|row| {
                let (_, value) = row.map_err(unavailable)?;
                serde_json::from_slice(value.value()).map_err(unavailable)
            })
            .collect()
        })
        .await
    }

    /// Puts a copy of an attachment into a workspace, where tools can read it, without holding it
    /// in memory.
    ///
    /// # Errors
    /// `error.deny` where it cannot be copied, or the requirement that its name breaks.
    pub async fn hand_out(
        &self,
        attachment: &Attachment,
        workspace: &Path,
    ) -> Result<(), Rejection> {
        let (files, attachment) = (Arc::clone(&self.files), attachment.clone());
        let workspace = workspace.to_owned();
        self.blocking(move |_| {
            let place = place(&attachment.id, &attachment.name)?;
            let mut content = fs::File::open(files.file(&attachment)).map_err(unavailable)?;
            let copied = Workspace::open(&workspace)?.copy_in(&place, &mut content);
            copied.map_err(not_copied)
        })
        .await
    }
}

/// Removes the copies of attachments from a workspace.
pub(super) fn take_back(attachments: &[Attachment], workspace: &Path) -> Result<(), Rejection> {
    let workspace = Workspace::open(workspace)?;
    for attachment in attachments {
        let folder = crate::boundary::attachment::folder(&attachment.id)?;
        workspace.remove_folder(&folder).map_err(not_copied)?;
    }
    Ok(())
}

fn not_copied(error: FileError) -> Rejection {
    match error {
        FileError::Refused(rejection) => rejection,
        FileError::Failed(sentence, error) => cannot(sentence, &error),
    }
}

fn cannot(sentence: &str, error: &io::Error) -> Rejection {
    requirement::ERROR_DENY
        .refuse("the attachment cannot be put into the workspace", format!("{sentence}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::attachment::name;

    async fn sent(store: &Store, session: &SessionId, content: &[u8]) -> Option<Attachment> {
        let name = name("a.txt").unwrap();
        let mut upload = store.upload(session, name, &Limits::default()).await.unwrap();
        for piece in content.chunks(3) {
            upload.take(piece).await.unwrap();
        }
        upload.finish().await.unwrap()
    }

    fn contents(state: &Path) -> Vec<String> {
        let entries = fs::read_dir(state.join("attachments")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn one_content_is_stored_once_and_removed_with_its_last_session() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (one, two) = (store.create("a").await.unwrap(), store.create("a").await.unwrap());
        let first = sent(&store, &one, b"the same").await.unwrap();
        let second = sent(&store, &two, b"the same").await.unwrap();
        assert_eq!(contents(folder.path()), [first.sha256.as_str()]);
        assert_eq!(first.sha256, hex::encode(Sha256::digest(b"the same")));
        assert_eq!(store.attachment(&one, &first.id).await.unwrap(), Some(first.clone()));
        assert_eq!(store.attachment(&two, &first.id).await.unwrap(), None);
        store.remove(&one).await.unwrap();
        assert_eq!(contents(folder.path()), [second.sha256.as_str()]);
        store.remove(&two).await.unwrap();
        assert!(contents(folder.path()).is_empty());
        assert_eq!(sent(&store, &two, b"late").await, None);
        assert!(contents(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn an_upload_that_is_refused_or_cut_off_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let session = store.create("a").await.unwrap();
        let limits = Limits { attachment_bytes: 4, ..Limits::default() };
        let name = name("a.txt").unwrap();
        let mut upload = store.upload(&session, name, &limits).await.unwrap();
        upload.take(b"1234").await.unwrap();
        let refusal = upload.take(b"5").await.unwrap_err();
        assert_eq!(refusal.requirement(), requirement::INPUT_ATTACHMENT_SIZE);
        drop(upload);
        assert!(contents(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn what_no_row_speaks_for_is_removed_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let session = store.create("a").await.unwrap();
        let kept = sent(&store, &session, b"kept").await.unwrap();
        drop(store);
        fs::write(folder.path().join("attachments/upload-0"), "half").unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(contents(folder.path()), [kept.sha256.as_str()]);
        assert_eq!(store.attachments(&session).await.unwrap(), [kept]);
    }

    #[tokio::test]
    async fn a_copy_stands_in_the_workspace_until_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let session = store.create("a").await.unwrap();
        let attachment = sent(&store, &session, b"hello").await.unwrap();
        store.hand_out(&attachment, workspace.path()).await.unwrap();
        let copy = workspace.path().join("attachments").join(&attachment.id).join("a.txt");
        assert_eq!(fs::read(&copy).unwrap(), b"hello");
        take_back(&[attachment], workspace.path()).unwrap();
        assert!(!copy.exists());
    }
}
