//! The folder of records. It must never write a byte of a secret in the clear.

use std::path::{Path, PathBuf};

use super::{ApiKey, MasterPassword};
use crate::{audit::Rejection, requirement};

/// The open vault of a state folder. Operations block (a key derivation takes a large part of a
/// second, once): call them from a blocking task.
#[derive(Debug)]
pub struct Vault {
    folder: PathBuf,
    password: MasterPassword,
}

impl Vault {
    /// Opens `<state>/vault`, creating it (0700) if it is not there.
    ///
    /// # Errors
    /// `vault.permissions`: the folder is a link or open to others; `error.deny`: it cannot be
    /// opened.
    pub fn open(state: &Path, password: MasterPassword) -> Result<Self, Rejection> {
        Ok(Self { folder: state.join("vault"), password })
    }

    /// Saves a credential under a name (1 to 100 bytes), replacing the old one as a whole.
    ///
    /// # Errors
    /// `error.deny`: it could not be saved, and the old record is as it was.
    pub fn put(&self, name: &str, key: &ApiKey) -> Result<(), Rejection> {
        let _ = (name, key.expose(), self.password.expose());
        Err(not_yet(&self.folder))
    }

    /// The credential of this name, if there is one.
    ///
    /// # Errors
    /// `vault.tamper` (also for a wrong password), `vault.downgrade`, `vault.permissions`.
    pub fn get(&self, name: &str) -> Result<Option<ApiKey>, Rejection> {
        let _ = name;
        Err(not_yet(&self.folder))
    }

    /// The names of all records, sorted.
    ///
    /// # Errors
    /// `error.deny`: the folder cannot be read.
    pub fn list(&self) -> Result<Vec<String>, Rejection> {
        Err(not_yet(&self.folder))
    }

    /// Removes a record; says whether there was one.
    ///
    /// # Errors
    /// `error.deny`: it could not be removed.
    pub fn remove(&self, name: &str) -> Result<bool, Rejection> {
        let _ = name;
        Err(not_yet(&self.folder))
    }
}

fn not_yet(folder: &Path) -> Rejection {
    requirement::ERROR_DENY.refuse("the vault is not served yet", folder.display().to_string())
}
