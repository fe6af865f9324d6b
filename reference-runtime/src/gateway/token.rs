//! Bearer tokens: `<state>/tokens.json` holds their SHA-256, never the tokens. A token is 32
//! random bytes, so a plain hash is enough: there is nothing to guess. The file is read anew when
//! it changes, so `token create` and `token revoke` work while the gateway serves. This file must
//! never know a request.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

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
}

/// The tokens of one state folder.
#[derive(Clone)]
pub struct Tokens {
    folder: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    stamp: Option<Stamp>,
    records: Arc<[Record]>,
}

/// What tells that the file is another one.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    #[cfg(unix)]
    inode: u64,
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

    /// Whom `token` speaks for, now. Every stored hash is compared in constant time, so that
    /// neither a near miss nor its position shows. A file that cannot be read holds no token.
    #[must_use]
    pub fn holder(&self, token: &str) -> Option<Holder> {
        let presented = hex::encode(Sha256::digest(token.as_bytes()));
        let now = Timestamp::now();
        let mut found = None;
        for record in self.current().iter() {
            let same = bool::from(record.sha256.as_bytes().ct_eq(presented.as_bytes()));
            let in_force =
                record.revoked.is_none() && record.expires.is_none_or(|expires| now < expires);
            if same && in_force {
                found = Some(Holder { id: record.id.clone(), role: record.role });
            }
        }
        found
    }

    /// The records, read anew only where the file is another one than at the last look.
    fn current(&self) -> Arc<[Record]> {
        let path = self.folder.join(FILE);
        let stamp = fs::symlink_metadata(&path).ok().map(|metadata| Stamp::of(&metadata));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp.is_none() || seen.stamp != stamp {
            *seen = match read(&path) {
                Ok(Some((records, stamp))) => Seen { stamp: Some(stamp), records: records.into() },
                Ok(None) => Seen::default(),
                Err(error) => {
                    tracing::error!(%error, "the token file cannot be used: no token is valid");
                    Seen::default()
                }
            };
        }
        Arc::clone(&seen.records)
    }

    /// Reads, changes and writes the file under a lock; `change` says whether to write.
    fn change(&self, change: impl FnOnce(&mut Vec<Record>) -> bool) -> io::Result<bool> {
        let mut lock = fd_lock::RwLock::new(private(
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
        let mut file = private(OpenOptions::new().write(true).create_new(true), &temporary)?;
        let written = serde_json::to_vec_pretty(&records)
            .map_err(io::Error::other)
            .and_then(|bytes| file.write_all(&bytes))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, self.folder.join(FILE)));
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        #[cfg(unix)]
        File::open(&self.folder)?.sync_all()?;
        Ok(true)
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(metadata),
        }
    }
}

/// Opens a file for its owner alone, from the first byte on, and never through a link.
fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    options.open(path)
}

/// The records and what the file looked like, or `None` where there is no file. A file that
/// others may read or write, or that is a link, is refused.
fn read(path: &Path) -> io::Result<Option<(Vec<Record>, Stamp)>> {
    let file = match private(OpenOptions::new().read(true), path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(&metadata) & 0o077 != 0 {
        return Err(io::Error::other("the token file is open to other users (it wants mode 0600)"));
    }
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(io::Error::other("the token file is not a file of a sane size"));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text)?;
    let records = serde_json::from_str(&text).map_err(io::Error::other)?;
    Ok(Some((records, Stamp::of(&metadata))))
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
        assert_eq!(holder, Holder { id: record.id.clone(), role: Role::User });
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
        // The stamp does not hold the mode, so the file is touched to be read anew.
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        (&file).write_all(b"\n").unwrap();
        assert_eq!(tokens.holder(token.expose_secret()), None);
    }
}
