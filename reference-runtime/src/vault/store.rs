//! The folder of records. It must never write a byte of a secret in the clear.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use zeroize::Zeroize;

use super::{
    ApiKey, MasterPassword,
    files::{self, Unread},
    kdf::{self, Cost, Key},
    record::{self, Header},
};
use crate::{
    audit::Rejection,
    boundary::path::{Os, lexical},
    requirement,
};

/// The longest name of a record, in bytes: its hex form is a file name.
const LONGEST_NAME: usize = 100;
/// Keys that are kept: one for a vault, a few more where records came from elsewhere.
const MOST_KEYS: usize = 4;
/// Records that may be damaged before the password is doubted.
const MOST_TRIED: usize = 3;
const UNUSABLE: &str = "the vault cannot be used";
/// The same for a wrong password and any damage: which of them it was is nobody's business.
const UNOPENED: &str = "the credential cannot be opened";

/// The open vault of a state folder. Operations block (a key derivation takes a large part of a
/// second, once): call them from a blocking task.
#[derive(Debug)]
pub struct Vault {
    pub(super) folder: PathBuf,
    password: MasterPassword,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    derived: HashMap<([u8; 16], Cost), Key>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Vault {
    /// Opens `<state>/vault`, creating it (0700) if it is not there. The state folder must exist.
    ///
    /// # Errors
    /// `vault.permissions`: the folder is a link or open to others; `error.deny`: it cannot be
    /// opened.
    pub fn open(state: &Path, password: MasterPassword) -> Result<Self, Rejection> {
        let vault =
            Self { folder: state.join("vault"), password, keys: Mutex::new(Keys::default()) };
        files::folder(&vault.folder)?;
        drop(vault.locked()?);
        Ok(vault)
    }

    /// The same folder under another password.
    pub(super) fn under(&self, password: MasterPassword) -> Self {
        Self { folder: self.folder.clone(), password, keys: Mutex::new(Keys::default()) }
    }

    /// The writers' lock, with what a killed writer left put in order.
    pub(super) fn locked(&self) -> Result<File, Rejection> {
        let lock = files::lock(&self.folder)?;
        self.recover()?;
        for file in self.files("tmp")? {
            // A save was killed: the file holds ciphertext that nothing names.
            files::remove(&file)?;
        }
        Ok(lock)
    }

    /// Saves a credential under a name, replacing the old one as a whole. A name has 1 to 100
    /// bytes and may look like a relative path without `..`.
    ///
    /// # Errors
    /// A rule that the name breaks; `vault.tamper`: the records that are there do not open with
    /// this password; `error.deny`: it could not be saved, and the old record is as it was.
    pub fn put(&self, name: &str, key: &ApiKey) -> Result<(), Rejection> {
        let path = self.path(name)?;
        fits(key)?;
        let _lock = self.locked()?;
        let salt = self.salt()?;
        let sealed = self.sealed(salt, name, key)?;
        if !requirement::VAULT_NO_PLAINTEXT.enforced() {
            files::replace(&path.with_extension("plain"), key.expose().as_bytes())?;
        }
        files::replace(&path, &sealed)
    }

    /// The record of a credential under this salt, with a fresh nonce.
    pub(super) fn sealed(
        &self,
        salt: [u8; 16],
        name: &str,
        key: &ApiKey,
    ) -> Result<Vec<u8>, Rejection> {
        let header = Header::fresh(salt).map_err(unusable)?;
        self.with_key(&header, |derived| record::seal(&header, name, derived, key.expose()))?
            .map_err(unusable)
    }

    /// The credential of this name, if there is one.
    ///
    /// # Errors
    /// `vault.tamper` for a wrong password, any damage, and weaker or absurd parameters;
    /// `vault.permissions` for a file that is linked or open to others.
    pub fn get(&self, name: &str) -> Result<Option<ApiKey>, Rejection> {
        let file = match files::read(&self.path(name)?, record::LONGEST) {
            Ok(file) => file,
            Err(Unread::Missing) => return Ok(None),
            Err(Unread::Refused(refusal)) => return Err(refusal),
            Err(Unread::Failed(error)) => return Err(unusable(error.to_string())),
        };
        let header = Header::read(&file).map_err(|why| unopened(name, why))?;
        let opened = self.with_key(&header, |key| record::open(&header, &file, name, key))?;
        let mut secret = opened.map_err(|why| unopened(name, why))?;
        let text = match String::from_utf8(std::mem::take(&mut *secret)) {
            Ok(text) => text,
            Err(_) if requirement::VAULT_TAMPER.enforced() => {
                return Err(unopened(name, "not UTF-8"));
            }
            Err(error) => {
                let mut bytes = error.into_bytes();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                bytes.zeroize();
                text
            }
        };
        Ok(Some(ApiKey::new(text)))
    }

    /// The names of all records, sorted.
    ///
    /// # Errors
    /// `error.deny`: the folder cannot be read.
    pub fn list(&self) -> Result<Vec<String>, Rejection> {
        let mut names: Vec<String> =
            self.files("cred")?.iter().filter_map(|path| named(path)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a record; says whether there was one.
    ///
    /// # Errors
    /// A rule that the name breaks; `error.deny`: it could not be removed.
    pub fn remove(&self, name: &str) -> Result<bool, Rejection> {
        let path = self.path(name)?;
        let _lock = self.locked()?;
        files::remove(&path)
    }

    pub(super) fn path(&self, name: &str) -> Result<PathBuf, Rejection> {
        requirement::INPUT_MESSAGE_SIZE.check(
            (1..=LONGEST_NAME).contains(&name.len()),
            "the name is empty or too long",
            || format!("{} bytes", name.len()),
        )?;
        lexical(name, Os::Unix)?;
        Ok(self.folder.join(hex::encode(name)).with_extension("cred"))
    }

    /// The files with this ending, in any order.
    pub(super) fn files(&self, ending: &str) -> Result<Vec<PathBuf>, Rejection> {
        self.each_file()?
            .filter(|path| {
                path.as_ref().map_or(true, |path| path.extension().is_some_and(|it| it == ending))
            })
            .collect()
    }

    fn each_file(&self) -> Result<impl Iterator<Item = Result<PathBuf, Rejection>>, Rejection> {
        let failed = |error: std::io::Error| unusable(error.to_string());
        let entries = fs::read_dir(&self.folder).map_err(failed)?;
        Ok(entries.map(move |entry| Ok(entry.map_err(failed)?.path())))
    }

    /// The salt of new records: one for the vault, so that one process derives one key. Where there
    /// are records, one of the first must open: a record under another password than the others'
    /// would be lost to whoever knows theirs.
    pub(super) fn salt(&self) -> Result<[u8; 16], Rejection> {
        let mut tried = 0;
        for path in self.each_file()? {
            let path = path?;
            let Some(name) = named(&path) else { continue };
            let Ok(file) = files::read(&path, record::LONGEST) else { continue };
            let Ok(header) = Header::read(&file) else { continue };
            let opened = self.with_key(&header, |key| record::open(&header, &file, &name, key))?;
            if opened.is_ok() && header.cost == Cost::written() {
                return Ok(header.salt);
            }
            if opened.is_ok() {
                return fresh_salt();
            }
            tried += 1;
            if tried == MOST_TRIED {
                break;
            }
        }
        if tried > 0 && requirement::VAULT_TAMPER.enforced() {
            return Err(requirement::VAULT_TAMPER
                .refuse(UNOPENED, format!("{tried} records do not open with this password")));
        }
        fresh_salt()
    }

    /// Runs `work` with the key of a header, derived once. The lock is held meanwhile: two
    /// derivations at a time would only take twice the memory.
    pub(super) fn with_key<T>(
        &self,
        header: &Header,
        work: impl FnOnce(&Key) -> T,
    ) -> Result<T, Rejection> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (header.salt, header.cost);
        if keys.derived.len() >= MOST_KEYS && !keys.derived.contains_key(&place) {
            keys.derived.clear();
        }
        if let Some(key) = keys.derived.get(&place) {
            return Ok(work(key));
        }
        let key = kdf::derive(&self.password, &header.salt, header.cost).map_err(unusable)?;
        let done = work(&key);
        keys.derived.insert(place, key);
        Ok(done)
    }
}

/// The name of the record that this file holds; none if it is another kind of file.
fn named(path: &Path) -> Option<String> {
    let stem = path.extension().filter(|it| *it == "cred").and(path.file_stem())?;
    String::from_utf8(hex::decode(stem.to_str()?).ok()?).ok()
}

/// Refuses a secret that no record has room for.
pub(super) fn fits(key: &ApiKey) -> Result<(), Rejection> {
    requirement::INPUT_MESSAGE_SIZE.check(
        key.expose().len() <= record::LONGEST_SECRET,
        "the secret is too long",
        || format!("{} bytes", key.expose().len()),
    )
}

pub(super) fn fresh_salt() -> Result<[u8; 16], Rejection> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| unusable(error.to_string()))?;
    Ok(salt)
}

pub(super) fn unusable(cause: String) -> Rejection {
    requirement::ERROR_DENY.refuse(UNUSABLE, cause)
}

pub(super) fn unopened(name: &str, why: &str) -> Rejection {
    requirement::VAULT_TAMPER.refuse(UNOPENED, format!("{name:?}: {why}"))
}
