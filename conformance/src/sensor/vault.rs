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

use argon2::{Config, ThreadMode, Variant, Version};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const MAGIC: &[u8] = b"CLAWVLT1";
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
    let rest = record.strip_prefix(MAGIC).ok_or(Unreadable::Format("no magic"))?;
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
    let head = head(record)?;
    let key = derive(&head, password)?;
    let (aad, sealed) = record.split_at_checked(HEAD).ok_or(Unreadable::Format("too short"))?;
    let aad = [aad, name.as_bytes()].concat();
    let mut sealed = sealed.to_vec();
    key.open_in_place(Nonce::assume_unique_for_key(head.nonce), Aad::from(aad), &mut sealed)
        .map(|plain| plain.to_vec())
        .map_err(|_unspecified| Unreadable::Tag)
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
    let mut record = MAGIC.to_vec();
    record.extend([1, 1]);
    for number in [head.memory_kib, head.iterations, head.lanes] {
        record.extend(number.to_le_bytes());
    }
    record.extend(head.salt);
    record.extend(head.nonce);
    let aad = [record.as_slice(), name.as_bytes()].concat();
    let mut sealed = secret.to_vec();
    derive(head, password)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(head.nonce),
            Aad::from(aad),
            &mut sealed,
        )
        .map_err(|_unspecified| Unreadable::Format("too long"))?;
    record.extend(sealed);
    Ok(record)
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
    fn refuses_absurd_memory_before_it_is_taken() {
        let mut record = sealed("k", b"p", b"secret");
        record[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(open(&record, "k", b"p"), Err(Unreadable::Memory(_))));
    }
}
