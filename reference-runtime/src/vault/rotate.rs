//! A new master password for a whole vault, all or nothing: whenever it is killed, the next open
//! finds every record under the old password or every record under the new one. It must never take
//! an old record away before all new ones are on the disk.

use std::path::PathBuf;

use super::{
    ApiKey, MasterPassword, Vault,
    files::{self, Staged},
    store::{fresh_salt, unopened},
};
use crate::{audit::Rejection, requirement};

/// Stands in the folder from the moment on at which the new records count.
const DECIDED: &str = "rotation";
/// The ending of a new record that is not in its place yet.
const NEXT: &str = "next";

impl Vault {
    /// Seals every record anew under another password and salt; gives how many there are. Whoever
    /// has the vault open under the old password must open it again.
    ///
    /// # Errors
    /// `vault.tamper`: a record does not open, and nothing was changed; `error.deny`: the files
    /// cannot be used.
    pub fn rotate(self, password: MasterPassword) -> Result<usize, Rejection> {
        let _lock = self.locked()?;
        let mut records: Vec<(String, ApiKey)> = Vec::new();
        for name in self.list()? {
            let key = self.get(&name)?.ok_or_else(|| unopened(&name, "it went away"))?;
            records.push((name, key));
        }
        let (salt, next) = (fresh_salt()?, self.under(password));
        if !requirement::VAULT_CRASH_SAFE.enforced() {
            for (name, key) in &records {
                files::replace(&self.path(name)?, &next.sealed(salt, name, key)?)?;
            }
            return Ok(records.len());
        }
        let mut staged = Staged::default();
        for (name, key) in &records {
            staged.add(self.path(name)?, &next.sealed(salt, name, key)?, NEXT)?;
        }
        staged.flush()?;
        files::replace(&self.decided(), b"the records that end in .next count\n")?;
        staged.decide();
        staged.commit()?;
        files::remove(&self.decided())?;
        Ok(records.len())
    }

    /// Ends what a killed rotation began: forwards where it was decided, backwards where it was
    /// not. No password is needed. The writers' lock must be held.
    pub(super) fn recover(&self) -> Result<(), Rejection> {
        let next = self.files(NEXT)?;
        let decided = self.decided();
        if !decided.exists() {
            return next.iter().try_for_each(|file| files::remove(file).map(drop));
        }
        for file in &next {
            if let Some(place) = place(file) {
                files::rename(file, &place)?;
            }
        }
        files::sync_names(&decided)?;
        files::remove(&decided).map(drop)
    }

    fn decided(&self) -> PathBuf {
        self.folder.join(DECIDED)
    }
}

/// Where a new record belongs: `HEX.RANDOM.next` is for `HEX.cred`.
fn place(file: &std::path::Path) -> Option<PathBuf> {
    let (name, _) = file.file_name()?.to_str()?.split_once('.')?;
    Some(file.with_file_name(name).with_extension("cred"))
}
