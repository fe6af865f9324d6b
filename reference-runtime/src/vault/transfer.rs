//! All credentials as one sealed file, to take to another machine. It must never hold a name or a
//! secret in the clear. Layout and meaning stand in docs/vault.md.

use zeroize::Zeroizing;

use super::{
    ApiKey, MasterPassword, Vault, files,
    record::{self, Header, Magic},
    store::{fits, fresh_salt, unopened, unusable},
};
use crate::{audit::Rejection, requirement};

/// Many credentials in one file.
const EXPORT: &Magic = b"CLAWVXP1";
/// The largest file that is read or written, in bytes.
pub(super) const LONGEST_EXPORT: usize = 64 << 20;
/// The most credentials of one file.
const MOST: usize = 100_000;
const NO_EXPORT: &str = "the exported credentials cannot be opened";

impl Vault {
    /// Every credential, sealed under a password of the file's own.
    ///
    /// # Errors
    /// `vault.tamper`: a record does not open; `input.message-size`: they are too many.
    pub fn export(&self, password: MasterPassword) -> Result<Vec<u8>, Rejection> {
        let _lock = self.locked()?;
        let mut list = Zeroizing::new(Vec::new());
        for name in self.list()? {
            let key = self.get(&name)?.ok_or_else(|| unopened(&name, "it went away"))?;
            let secret = key.expose().as_bytes();
            let lengths = (u16::try_from(name.len()), u32::try_from(secret.len()));
            let (Ok(name_length), Ok(length)) = lengths else { return Err(too_much()) };
            list.extend_from_slice(&name_length.to_le_bytes());
            list.extend_from_slice(name.as_bytes());
            list.extend_from_slice(&length.to_le_bytes());
            list.extend_from_slice(secret);
            if list.len() > LONGEST_EXPORT {
                return Err(too_much());
            }
        }
        if !requirement::VAULT_NO_PLAINTEXT.enforced() {
            return Ok(list.to_vec());
        }
        let header = Header::fresh(fresh_salt()?).map_err(unusable)?;
        self.under(password)
            .with_key(&header, |key| record::seal_as(EXPORT, &header, "", key, &list))?
            .map_err(unusable)
    }

    /// Saves every credential of an exported file, replacing those of the same name; gives their
    /// names. All are on the disk when it returns; a kill leaves each as it was or as it is to be.
    ///
    /// # Errors
    /// `vault.tamper`: a wrong password or any damage, and nothing was changed; a rule that a name
    /// breaks; as [`Vault::put`] else.
    pub fn import(&self, file: &[u8], password: MasterPassword) -> Result<Vec<String>, Rejection> {
        let closed = |why: &str| requirement::VAULT_TAMPER.refuse(NO_EXPORT, why);
        if file.len() > LONGEST_EXPORT {
            return Err(too_much());
        }
        let header = Header::read_as(EXPORT, file).map_err(closed)?;
        let list = self
            .under(password)
            .with_key(&header, |key| record::open(&header, file, "", key))?
            .map_err(closed)?;
        let credentials = read(&list).ok_or_else(|| closed("the list is not whole"))?;
        let _lock = self.locked()?;
        let salt = self.salt()?;
        let mut saves = Vec::with_capacity(credentials.len());
        for (name, key) in &credentials {
            fits(key)?;
            saves.push((self.path(name)?, self.sealed(salt, name, key)?));
        }
        files::replace_all(saves)?;
        Ok(credentials.into_iter().map(|(name, _)| name).collect())
    }
}

/// The credentials of an opened list; none where it is not whole to its last byte.
fn read(mut list: &[u8]) -> Option<Vec<(String, ApiKey)>> {
    let mut credentials = Vec::new();
    while !list.is_empty() {
        let (length, rest) = list.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (secret, rest) = rest.split_at_checked(length)?;
        let secret = ApiKey::new(str::from_utf8(secret).ok()?.to_owned());
        credentials.push((str::from_utf8(name).ok()?.to_owned(), secret));
        if credentials.len() > MOST {
            return None;
        }
        list = rest;
    }
    Some(credentials)
}

fn too_much() -> Rejection {
    let cause = format!("over {LONGEST_EXPORT} bytes");
    requirement::INPUT_MESSAGE_SIZE.refuse("the credentials do not fit into one file", cause)
}
