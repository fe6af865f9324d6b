//! An independent reader (and forger) of vault records: from the password and the file's bytes alone, with
//! other implementations of Argon2 and AES-GCM than any subject of ours. It must never trust what
//! the subject says of its own file.
//!
//! The record format `clawvlt1`, byte by byte (integers little-endian):
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `CLAWVLT1` |
//! | 8 | 1 | key derivation: 1 = Argon2id, version 0x13 |
//! | 9 | 1 | cipher: 1 = AES-256-GCM, 16-byte tag |
//! | 10 | 4 | memory in KiB |
//! | 14 | 4 | iterations |
//! | 18 | 4 | lanes |
//! | 22 | 16 | salt |
//! | 38 | 12 | nonce |
//! | 50 | n | ciphertext, then the tag |
//!
//! The associated data is bytes 0 to 49, then the record's name in UTF-8.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use argon2::{Config, ThreadMode, Variant, Version};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const MAGIC: &[u8; 8] = b"CLAWVLT1";
/// An export: the same head and cipher, no name in the associated data, and inside a list of
/// credentials: the length of the name (2 bytes), the name, the length of the secret (4), the secret.
const EXPORT: &[u8; 8] = b"CLAWVXP1";
const HEAD: usize = 50;

/// The largest memory that this reader spends on a file: 1 GiB, in KiB.
const CEILING_KIB: u32 = 1 << 20;

/// A record's head, read and not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Memory of the key derivation in KiB.
    pub memory_kib: u32,
    /// Iterations of the key derivation.
    pub iterations: u32,
    /// Lanes of the key derivation.
    pub lanes: u32,
    /// The salt.
    pub salt: [u8; 16],
    /// The nonce.
    pub nonce: [u8; 12],
}

/// Why a file is not a readable record.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are not of the format.
    #[error("not a clawvlt1 record: {0}")]
    Format(&'static str),
    /// The parameters ask for more than this reader spends.
    #[error("the record asks for {0} KiB of memory")]
    Memory(u32),
    /// The key derivation refused its parameters.
    #[error("the key derivation refused the record's parameters: {0}")]
    Derivation(String),
    /// The tag does not fit: wrong password, name or bytes.
    #[error("the record does not authenticate under this password and name")]
    Tag,
}

/// Reads the head of a record.
///
/// # Errors
/// [`Unreadable::Format`] where the bytes are something else.
pub fn head(record: &[u8]) -> Result<Head, Unreadable> {
    head_of(MAGIC, record)
}

fn head_of(magic: &[u8; 8], record: &[u8]) -> Result<Head, Unreadable> {
    let rest = record.strip_prefix(magic).ok_or(Unreadable::Format("no magic"))?;
    let [kdf, cipher, rest @ ..] = rest else { return Err(Unreadable::Format("too short")) };
    if (*kdf, *cipher) != (1, 1) {
        return Err(Unreadable::Format("not Argon2id with AES-256-GCM"));
    }
    let (memory_kib, rest) = number(rest)?;
    let (iterations, rest) = number(rest)?;
    let (lanes, rest) = number(rest)?;
    let (salt, rest) = rest.split_first_chunk().ok_or(Unreadable::Format("too short"))?;
    let (nonce, _) = rest.split_first_chunk().ok_or(Unreadable::Format("too short"))?;
    Ok(Head { memory_kib, iterations, lanes, salt: *salt, nonce: *nonce })
}

/// The secret in a record.
///
/// # Errors
/// Why it cannot be read; [`Unreadable::Tag`] where password, name or bytes do not fit together.
pub fn open(record: &[u8], name: &str, password: &[u8]) -> Result<Vec<u8>, Unreadable> {
    Reader::new(password).open(record, name)
}

/// Seals a secret under any head: what an attacker who knows the password could plant.
///
/// # Errors
/// The key derivation refused the head's parameters.
pub fn forge(
    head: &Head,
    name: &str,
    password: &[u8],
    secret: &[u8],
) -> Result<Vec<u8>, Unreadable> {
    Reader::new(password).seal(MAGIC, head, name, secret)
}

/// A name and its secret, as bytes.
pub type Credential = (Vec<u8>, Vec<u8>);

/// A reader of many files under one password: each key is derived once.
pub struct Reader {
    password: Vec<u8>,
    keys: HashMap<(u32, u32, u32, [u8; 16]), LessSafeKey>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    /// A reader that knows a password.
    #[must_use]
    pub fn new(password: impl Into<Vec<u8>>) -> Self {
        Self { password: password.into(), keys: HashMap::new() }
    }

    /// The secret in a record.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(&mut self, record: &[u8], name: &str) -> Result<Vec<u8>, Unreadable> {
        self.unseal(MAGIC, record, name)
    }

    /// The credentials of an exported file.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open_export(&mut self, file: &[u8]) -> Result<Vec<Credential>, Unreadable> {
        let list = self.unseal(EXPORT, file, "")?;
        let (mut rest, mut found) = (list.as_slice(), Vec::new());
        while !rest.is_empty() {
            let broken = Unreadable::Format("the list is not whole");
            let Some((name, secret, tail)) = first_credential(rest) else { return Err(broken) };
            found.push((name.to_vec(), secret.to_vec()));
            rest = tail;
        }
        Ok(found)
    }

    /// An exported file of these credentials, under this head.
    ///
    /// # Errors
    /// The key derivation refused the head's parameters, or a length does not fit.
    pub fn export(
        &mut self,
        head: &Head,
        credentials: &[(String, String)],
    ) -> Result<Vec<u8>, Unreadable> {
        let mut list = Vec::new();
        for (name, secret) in credentials {
            let long = |_| Unreadable::Format("too long");
            list.extend(u16::try_from(name.len()).map_err(long)?.to_le_bytes());
            list.extend(name.as_bytes());
            list.extend(u32::try_from(secret.len()).map_err(long)?.to_le_bytes());
            list.extend(secret.as_bytes());
        }
        self.seal(EXPORT, head, "", &list)
    }

    fn unseal(
        &mut self,
        magic: &[u8; 8],
        record: &[u8],
        name: &str,
    ) -> Result<Vec<u8>, Unreadable> {
        let head = head_of(magic, record)?;
        let (aad, sealed) = record.split_at_checked(HEAD).ok_or(Unreadable::Format("too short"))?;
        let aad = [aad, name.as_bytes()].concat();
        let mut sealed = sealed.to_vec();
        self.key(&head)?
            .open_in_place(Nonce::assume_unique_for_key(head.nonce), Aad::from(aad), &mut sealed)
            .map(|plain| plain.to_vec())
            .map_err(|_unspecified| Unreadable::Tag)
    }

    fn seal(
        &mut self,
        magic: &[u8; 8],
        head: &Head,
        name: &str,
        secret: &[u8],
    ) -> Result<Vec<u8>, Unreadable> {
        let mut record = magic.to_vec();
        record.extend([1, 1]);
        for number in [head.memory_kib, head.iterations, head.lanes] {
            record.extend(number.to_le_bytes());
        }
        record.extend(head.salt);
        record.extend(head.nonce);
        let aad = [record.as_slice(), name.as_bytes()].concat();
        let mut sealed = secret.to_vec();
        let nonce = Nonce::assume_unique_for_key(head.nonce);
        self.key(head)?
            .seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed)
            .map_err(|_unspecified| Unreadable::Format("too long"))?;
        record.extend(sealed);
        Ok(record)
    }

    fn key(&mut self, head: &Head) -> Result<&LessSafeKey, Unreadable> {
        let place = (head.memory_kib, head.iterations, head.lanes, head.salt);
        match self.keys.entry(place) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(derive(head, &self.password)?)),
        }
    }
}

/// Name, secret and what comes after them.
fn first_credential(list: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = list.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    let (length, rest) = rest.split_first_chunk()?;
    let (secret, rest) =
        rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some((name, secret, rest))
}

fn derive(head: &Head, password: &[u8]) -> Result<LessSafeKey, Unreadable> {
    if head.memory_kib > CEILING_KIB {
        return Err(Unreadable::Memory(head.memory_kib));
    }
    let config = Config {
        ad: &[],
        hash_length: 32,
        lanes: head.lanes,
        mem_cost: head.memory_kib,
        secret: &[],
        thread_mode: ThreadMode::Sequential,
        time_cost: head.iterations,
        variant: Variant::Argon2id,
        version: Version::Version13,
    };
    let key = argon2::hash_raw(password, &head.salt, &config)
        .map_err(|error| Unreadable::Derivation(error.to_string()))?;
    UnboundKey::new(&AES_256_GCM, &key)
        .map(LessSafeKey::new)
        .map_err(|_unspecified| Unreadable::Format("key length"))
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), Unreadable> {
    let (number, rest) = bytes.split_first_chunk().ok_or(Unreadable::Format("too short"))?;
    Ok((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(name: &str, password: &[u8], secret: &[u8]) -> Vec<u8> {
        let head = Head { memory_kib: 8, iterations: 1, lanes: 1, salt: [7; 16], nonce: [9; 12] };
        forge(&head, name, password, secret).unwrap()
    }

    #[test]
    fn opens_a_record_with_its_password_and_name_alone() {
        let record = sealed("openai", b"correct horse", b"canary");
        assert_eq!(open(&record, "openai", b"correct horse").unwrap(), b"canary");
        assert!(matches!(open(&record, "openai", b"wrong"), Err(Unreadable::Tag)));
        assert!(matches!(open(&record, "other", b"correct horse"), Err(Unreadable::Tag)));
    }

    #[test]
    fn refuses_every_flipped_byte_and_every_cut() {
        let record = sealed("k", b"p", b"secret");
        for at in 0..record.len() {
            // A flipped parameter byte may ask for gigabytes; those are the ceiling's test.
            if (10..22).contains(&at) {
                continue;
            }
            let mut changed = record.clone();
            changed[at] ^= 1;
            assert!(open(&changed, "k", b"p").is_err(), "byte {at}");
        }
        for length in 0..record.len() {
            assert!(open(&record[..length], "k", b"p").is_err(), "length {length}");
        }
    }

    #[test]
    fn an_export_is_read_back_and_no_record_is_an_export() {
        let head = Head { memory_kib: 8, iterations: 1, lanes: 1, salt: [7; 16], nonce: [9; 12] };
        let list = [("a".to_owned(), "one".to_owned()), ("b/c".to_owned(), String::new())];
        let mut reader = Reader::new(*b"p");
        let file = reader.export(&head, &list).unwrap();
        let read = reader.open_export(&file).unwrap();
        assert_eq!(read, [(b"a".to_vec(), b"one".to_vec()), (b"b/c".to_vec(), Vec::new())]);
        assert!(reader.open(&file, "").is_err());
        assert!(reader.open_export(&sealed("", b"p", b"x")).is_err());
        assert!(Reader::new(*b"q").open_export(&file).is_err());
    }

    #[test]
    fn refuses_absurd_memory_before_it_is_taken() {
        let mut record = sealed("k", b"p", b"secret");
        record[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(open(&record, "k", b"p"), Err(Unreadable::Memory(_))));
    }
}
