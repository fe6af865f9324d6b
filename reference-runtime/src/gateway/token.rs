//! Bearer tokens: `<state>/tokens.json` holds their SHA-256, never the tokens. A token is 32
//! random bytes, so a plain hash is enough: there is nothing to guess. The file is read anew when
//! it changes, so `token create` and `token revoke` work while the gateway serves. This file must
//! never know a request.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
#[cfg(unix)]
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::audit::Subject;
use crate::private;

const FILE: &str = "tokens.json";
const LOCK: &str = "tokens.lock";
/// A token file larger than this is refused: bytes.
const MAX_FILE: u64 = 4 << 20;
const PREFIX: &str = "claw_";

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, also credentials and configuration.
    Admin,
    /// Sessions, tools and status.
    User,
}

/// One token as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// A random name, 8 hex digits: what `token list` shows and `token revoke` takes.
    pub id: String,
    /// SHA-256 of the token as 64 hex digits.
    sha256: String,
    /// What the token may do.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    /// When it stops to count; never, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

/// Who a valid token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The id of the token.
    pub id: String,
    /// What it may do.
    pub role: Role,
    /// Who that is in the audit log.
    pub subject: Subject,
}

/// The tokens of one state folder.
#[derive(Clone)]
pub struct Tokens {
    folder: PathBuf,
    /// What was read last; a look takes a shared lock for as long as it takes to copy a pointer.
    seen: Arc<RwLock<Arc<Seen>>>,
}

/// The file as it was read.
#[derive(Default)]
struct Seen {
    /// None where there was no file that could be used: then it is looked for each time.
    read: Option<Opened>,
    /// The tokens that were not revoked, by the SHA-256 of each.
    known: HashMap<[u8; 32], Known>,
}

/// A token in the file.
struct Known {
    holder: Holder,
    expires: Option<Timestamp>,
    /// Whether it was presented since the file was read.
    presented: AtomicBool,
}

impl Tokens {
    /// The tokens under the state folder; nothing is read or made yet.
    #[must_use]
    pub fn at(state: &Path) -> Self {
        Self { folder: state.to_owned(), seen: Arc::default() }
    }

    /// Makes a token. Returns its record and the token itself, which is stored nowhere.
    ///
    /// # Errors
    /// Where the file cannot be read or written, or no randomness is to be had.
    pub fn create(
        &self,
        role: Role,
        lifetime: Option<Duration>,
    ) -> io::Result<(Record, SecretString)> {
        let mut bytes = [0_u8; 36];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let (name, secret) = bytes.split_at(4);
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        let created = Timestamp::now();
        let expires = match lifetime {
            None => None,
            Some(lifetime) => Some(created.checked_add(lifetime).map_err(io::Error::other)?),
        };
        let record = Record {
            id: hex::encode(name),
            sha256: hex::encode(Sha256::digest(token.as_bytes())),
            role,
            created,
            expires,
            revoked: None,
        };
        self.change(|records| {
            records.push(record.clone());
            true
        })?;
        Ok((record, SecretString::from(token)))
    }

    /// Every token, also the expired and revoked ones.
    ///
    /// # Errors
    /// Where the file cannot be read or is malformed.
    pub fn list(&self) -> io::Result<Vec<Record>> {
        Ok(read(&self.folder.join(FILE))?.map_or_else(Vec::new, |(records, _)| records))
    }

    /// Revokes a token by its id. `false` where there is no such token in force.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn revoke(&self, id: &str) -> io::Result<bool> {
        self.change(|records| {
            match records.iter_mut().find(|record| record.id == id && record.revoked.is_none()) {
                Some(record) => {
                    record.revoked = Some(Timestamp::now());
                    true
                }
                None => false,
            }
        })
    }

    /// Whom `token` speaks for, now. It is looked up by its hash, whose bytes nobody can choose, so
    /// that neither a near miss nor its position shows in the time that it takes. A file that cannot
    /// be read holds no token.
    #[must_use]
    pub fn holder(&self, token: &str) -> Option<Holder> {
        self.presented(token, || ())
    }

    /// The same; `first` is done where the token was not presented since its file was read, and
    /// before anything is done for its holder.
    #[must_use]
    pub(super) fn presented(&self, token: &str, first: impl FnOnce()) -> Option<Holder> {
        let seen = self.current();
        let known = seen.known.get(&<[u8; 32]>::from(Sha256::digest(token.as_bytes())))?;
        if known.expires.is_some_and(|expires| expires <= Timestamp::now()) {
            return None;
        }
        // Said before it is marked: who comes at the same time says it again.
        if !known.presented.load(Ordering::Acquire) {
            first();
            known.presented.store(true, Ordering::Release);
        }
        Some(known.holder.clone())
    }

    /// What the file holds, read anew only where it is another one than at the last look.
    fn current(&self) -> Arc<Seen> {
        let path = self.folder.join(FILE);
        let seen = Arc::clone(&self.seen.read().unwrap_or_else(PoisonError::into_inner));
        if seen.read.as_ref().is_some_and(|opened| opened.same(&path)) {
            return seen;
        }
        let fresh = Arc::new(match Seen::read(&path) {
            Ok(seen) => seen,
            Err(error) => {
                tracing::error!(%error, "the token file cannot be used: no token is valid");
                Seen::default()
            }
        });
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        fresh
    }

    /// Reads, changes and writes the file under a lock; `change` says whether to write.
    fn change(&self, change: impl FnOnce(&mut Vec<Record>) -> bool) -> io::Result<bool> {
        let mut lock = fd_lock::RwLock::new(private::open(
            OpenOptions::new().read(true).write(true).create(true).truncate(false),
            &self.folder.join(LOCK),
        )?);
        let _held = lock.write()?;
        let mut records = self.list()?;
        if !change(&mut records) {
            return Ok(false);
        }
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let temporary = self.folder.join(format!("{FILE}.{}", hex::encode(random)));
        let mut file = private::create(&temporary)?;
        let written = serde_json::to_vec_pretty(&records)
            .map_err(io::Error::other)
            .and_then(|bytes| file.write_all(&bytes))
            .and_then(|()| file.sync_all());
        drop(file);
        let written = written.and_then(|()| fs::rename(&temporary, self.folder.join(FILE)));
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        private::sync_folder(&self.folder)?;
        Ok(true)
    }
}

impl Seen {
    fn read(path: &Path) -> io::Result<Self> {
        let Some((records, read)) = read(path)? else { return Ok(Self::default()) };
        let in_force = records.into_iter().filter(|record| record.revoked.is_none());
        let known = in_force.map(|record| {
            let mut hash = [0; 32];
            hex::decode_to_slice(&record.sha256, &mut hash).map_err(io::Error::other)?;
            let subject = Subject::token(&record.id)
                .ok_or_else(|| io::Error::other("the id of a token is not 8 hex digits"))?;
            let holder = Holder { id: record.id, role: record.role, subject };
            let presented = AtomicBool::new(false);
            Ok((hash, Known { holder, expires: record.expires, presented }))
        });
        Ok(Self { known: known.collect::<io::Result<_>>()?, read: Some(read) })
    }
}

/// The file that was read, held open: what happens to it shows there, without a walk along its path.
#[cfg(unix)]
struct Opened {
    file: File,
    stamp: Stamp,
    began: Instant,
    /// When it was last looked whether the path still leads to it: milliseconds after `began`.
    looked: AtomicU64,
}

/// What tells that a file is another one, or was touched: a change of its content, its mode, its
/// name or its number of names changes one of these.
#[cfg(unix)]
#[derive(PartialEq, Eq)]
struct Stamp([i128; 9]);

#[cfg(unix)]
impl Stamp {
    fn of(found: &rustix::fs::Stat) -> Self {
        Self([
            found.st_dev.into(),
            found.st_ino.into(),
            found.st_mode.into(),
            found.st_nlink.into(),
            found.st_size.into(),
            found.st_mtime.into(),
            found.st_mtime_nsec.into(),
            found.st_ctime.into(),
            found.st_ctime_nsec.into(),
        ])
    }
}

#[cfg(unix)]
impl Opened {
    /// How long a folder that was put in another's place may go unnoticed. What happens to the file
    /// itself shows at once.
    const LOOK: u64 = 1_000;

    fn new(file: File) -> io::Result<Self> {
        let stamp = Stamp::of(&rustix::fs::fstat(&file)?);
        Ok(Self { file, stamp, began: Instant::now(), looked: AtomicU64::new(0) })
    }

    /// Whether it is still the file, and as it was.
    fn same(&self, path: &Path) -> bool {
        let same = |found: rustix::io::Result<rustix::fs::Stat>| {
            found.is_ok_and(|found| Stamp::of(&found) == self.stamp)
        };
        if !same(rustix::fs::fstat(&self.file)) {
            return false;
        }
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now.saturating_sub(self.looked.load(Ordering::Relaxed)) < Self::LOOK {
            return true;
        }
        self.looked.store(now, Ordering::Relaxed);
        same(rustix::fs::lstat(path))
    }
}

/// The file that was read, by what its path shows.
#[cfg(not(unix))]
struct Opened(Option<std::time::SystemTime>, u64);

#[cfg(not(unix))]
impl Opened {
    fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self(metadata.modified().ok(), metadata.len()))
    }

    fn same(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| {
            found.is_file() && (found.modified().ok(), found.len()) == (self.0, self.1)
        })
    }
}

/// The records and the file that they are from, or `None` where there is no file. A file that
/// others may read or write, or that is a link, is refused.
fn read(path: &Path) -> io::Result<Option<(Vec<Record>, Opened)>> {
    let file = match private::open(OpenOptions::new().read(true), path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Stamped before it is read: what is written in between makes it another one.
    let opened = Opened::new(file.try_clone()?)?;
    let metadata = file.metadata()?;
    if !private::is_closed(&file)? {
        return Err(io::Error::other("the token file is open to other users (it wants mode 0600)"));
    }
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(io::Error::other("the token file is not a file of a sane size"));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text)?;
    let records = serde_json::from_str(&text).map_err(io::Error::other)?;
    Ok(Some((records, opened)))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_token_counts_until_it_is_revoked_and_is_stored_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        let (record, token) = tokens.create(Role::User, None).unwrap();
        let holder = tokens.holder(token.expose_secret()).unwrap();
        let subject = Subject::token(&record.id).unwrap();
        assert_eq!(holder, Holder { id: record.id.clone(), role: Role::User, subject });
        let stored = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(!stored.contains(token.expose_secret()));

        let other = Tokens::at(folder.path());
        assert!(other.revoke(&record.id).unwrap());
        assert!(!other.revoke(&record.id).unwrap());
        assert_eq!(tokens.holder(token.expose_secret()), None);
    }

    #[test]
    fn a_wrong_a_cut_and_an_expired_token_are_not_valid() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        let (_, token) = tokens.create(Role::Admin, None).unwrap();
        let token = token.expose_secret();
        for wrong in ["", "claw_", &token[..token.len() - 1], &token.to_uppercase()] {
            assert_eq!(tokens.holder(wrong), None);
        }
        let (_, brief) = tokens.create(Role::Admin, Some(Duration::ZERO)).unwrap();
        assert_eq!(tokens.holder(brief.expose_secret()), None);
        assert!(tokens.holder(token).is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_token_file_that_others_may_read_holds_no_token() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        let (_, token) = tokens.create(Role::User, None).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(tokens.holder(token.expose_secret()).is_some());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(tokens.holder(token.expose_secret()), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(tokens.holder(token.expose_secret()).is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_removed_moved_away_or_replaced_counts_no_more_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        let (_, token) = tokens.create(Role::User, None).unwrap();
        let token = token.expose_secret();
        let (path, aside) = (folder.path().join(FILE), folder.path().join("aside"));
        // Where the file system's clock ticks slowly, a change within one tick shows a second later.
        let counts = || {
            std::thread::sleep(Duration::from_millis(20));
            tokens.holder(token).is_some()
        };
        assert!(counts());
        fs::rename(&path, &aside).unwrap();
        assert!(!counts());
        fs::rename(&aside, &path).unwrap();
        assert!(counts());
        fs::copy(&path, &aside).unwrap();
        assert!(counts());
        fs::write(&aside, "[]").unwrap();
        fs::rename(&aside, &path).unwrap();
        assert!(!counts());
    }

    #[test]
    fn the_first_presentation_since_the_file_was_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        let (_, token) = tokens.create(Role::User, None).unwrap();
        let told = std::cell::Cell::new(0);
        let present = |token: &str| tokens.presented(token, || told.set(told.get() + 1)).is_some();
        assert!(present(token.expose_secret()) && present(token.expose_secret()));
        assert!(!present("another"));
        assert_eq!(told.get(), 1);
        tokens.create(Role::User, None).unwrap();
        assert!(present(token.expose_secret()));
        assert_eq!(told.get(), 2);
    }
}
