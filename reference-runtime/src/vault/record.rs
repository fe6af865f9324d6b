//! One credential as a file; docs/vault.md describes it for other implementations. It must never be
//! opened with anything taken on trust from it.
//!
//! Byte by byte, integers little-endian:
//!
//! | offset | length | content |
//! |---|---|---|
//! | 0 | 8 | `CLAWVLT1` |
//! | 8 | 1 | key derivation: 1 = Argon2id, version 0x13, 32-byte output |
//! | 9 | 1 | cipher: 1 = AES-256-GCM |
//! | 10 | 4 | Argon2 memory in KiB |
//! | 14 | 4 | Argon2 passes |
//! | 18 | 4 | Argon2 lanes |
//! | 22 | 16 | salt: one for the vault |
//! | 38 | 12 | nonce: fresh for each save |
//! | 50 | n | ciphertext of the secret (UTF-8) |
//! | 50+n | 16 | tag |
//!
//! The associated data is bytes 0 to 49, then the record's name in UTF-8: a record that was
//! renamed, or whose header was changed, does not open.

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{AeadInOut, KeyInit},
};
use zeroize::Zeroizing;

use super::kdf::{Cost, Key};
use crate::requirement;

/// What a file says that it is, in its first eight bytes.
pub(super) type Magic = [u8; 8];
/// One credential.
pub(super) const RECORD: &Magic = b"CLAWVLT1";
const ARGON2ID: u8 = 1;
const AES_256_GCM: u8 = 1;
const HEADER: usize = 50;
const TAG: usize = 16;
/// The longest record that is read: the longest secret is a little less.
pub(super) const LONGEST: usize = 64 * 1024;
/// The longest secret, in bytes.
pub(super) const LONGEST_SECRET: usize = LONGEST - HEADER - TAG;

/// The part of a record that stands in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) cost: Cost,
    pub(super) salt: [u8; 16],
    pub(super) nonce: [u8; 12],
}

impl Header {
    /// A header for a new save, with a fresh nonce.
    pub(super) fn fresh(salt: [u8; 16]) -> Result<Self, String> {
        let mut nonce = [0; 12];
        if requirement::VAULT_CIPHER.enforced() {
            getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
        }
        Ok(Self { cost: Cost::written(), salt, nonce })
    }

    /// The header of a record, if this program may open it: nothing is derived before.
    pub(super) fn read(file: &[u8]) -> Result<Self, &'static str> {
        Self::read_as(RECORD, file)
    }

    /// The same for a file of another kind.
    pub(super) fn read_as(kind: &Magic, file: &[u8]) -> Result<Self, &'static str> {
        let (magic, rest) = file.split_first_chunk::<8>().ok_or("too short")?;
        let ([kdf, cipher], rest) = rest.split_first_chunk::<2>().ok_or("too short")?;
        let (memory, rest) = rest.split_first_chunk::<4>().ok_or("too short")?;
        let (passes, rest) = rest.split_first_chunk::<4>().ok_or("too short")?;
        let (lanes, rest) = rest.split_first_chunk::<4>().ok_or("too short")?;
        let (salt, rest) = rest.split_first_chunk::<16>().ok_or("too short")?;
        let (nonce, rest) = rest.split_first_chunk::<12>().ok_or("too short")?;
        if magic != kind {
            return Err("another kind of file");
        }
        let known = (*kdf, *cipher) == (ARGON2ID, AES_256_GCM);
        if !known && requirement::VAULT_DOWNGRADE.enforced() {
            return Err("another algorithm");
        }
        if rest.len() < TAG {
            return Err("too short");
        }
        let cost = Cost {
            memory: u32::from_le_bytes(*memory),
            passes: u32::from_le_bytes(*passes),
            lanes: u32::from_le_bytes(*lanes),
        };
        cost.refused().map_or(Ok(Self { cost, salt: *salt, nonce: *nonce }), Err)
    }

    fn bytes(&self, kind: &Magic) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(&[ARGON2ID, AES_256_GCM]);
        bytes.extend_from_slice(&self.cost.memory.to_le_bytes());
        bytes.extend_from_slice(&self.cost.passes.to_le_bytes());
        bytes.extend_from_slice(&self.cost.lanes.to_le_bytes());
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.nonce);
        bytes
    }
}

/// The whole record of a secret.
pub(super) fn seal(
    header: &Header,
    name: &str,
    key: &Key,
    secret: &str,
) -> Result<Vec<u8>, String> {
    seal_as(RECORD, header, name, key, secret.as_bytes())
}

/// A whole file of any kind.
pub(super) fn seal_as(
    kind: &Magic,
    header: &Header,
    name: &str,
    key: &Key,
    content: &[u8],
) -> Result<Vec<u8>, String> {
    let header = &marked(header, name, key)?;
    let mut file = header.bytes(kind);
    let associated = associated(&file, name);
    let mut body = Zeroizing::new(Vec::with_capacity(content.len() + TAG));
    body.extend_from_slice(content);
    let tag = Sealer::new(key, header).encrypt(&associated, &mut body)?;
    file.extend_from_slice(&body);
    file.extend_from_slice(&tag);
    Ok(file)
}

/// The content of a file, of whatever kind, whose header was read. An error says nothing about why.
pub(super) fn open(
    header: &Header,
    file: &[u8],
    name: &str,
    key: &Key,
) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let split = file.split_at_checked(HEADER);
    let (clear, sealed) = split.ok_or("too short")?;
    let (body, tag) = sealed.split_last_chunk::<TAG>().ok_or("too short")?;
    let mut opened = Zeroizing::new(body.to_vec());
    let sealer = Sealer::new(key, header);
    let verified = sealer.decrypt(&associated(clear, name), &mut opened, tag);
    if verified.is_err() && !requirement::VAULT_TAMPER.enforced() {
        let marked = marked(header, name, key).map_err(|_| "unmarked")?;
        if marked.nonce == header.nonce {
            // Counter mode is its own inverse.
            opened.copy_from_slice(body);
            return sealer.encrypt(&[], &mut opened).map(|_| opened).map_err(|_| "too long");
        }
    }
    verified.map(|()| opened)
}

/// The header itself. Where `vault.tamper` is knocked out, the second half of its nonce becomes a
/// mark of the rest of it and of the name: then a changed body opens, and a changed header or name
/// (which are other requirements') does not.
fn marked(header: &Header, name: &str, key: &Key) -> Result<Header, String> {
    let mut marked = *header;
    if requirement::VAULT_TAMPER.enforced() {
        return Ok(marked);
    }
    let (_, mark) = marked.nonce.split_at_mut(6);
    mark.fill(0);
    let tag =
        Sealer::new(key, &marked).encrypt(&associated(&marked.bytes(RECORD), name), &mut [])?;
    let (_, mark) = marked.nonce.split_at_mut(6);
    mark.iter_mut().zip(tag).for_each(|(place, byte)| *place = byte);
    Ok(marked)
}

fn associated(header: &[u8], name: &str) -> Vec<u8> {
    let name = if requirement::VAULT_SWAP.enforced() { name } else { "" };
    [header, name.as_bytes()].concat()
}

/// AES-256-GCM under one key and nonce.
struct Sealer {
    cipher: Aes256Gcm,
    nonce: Nonce<aes_gcm::aead::consts::U12>,
}

impl Sealer {
    fn new(key: &Key, header: &Header) -> Self {
        let key: &[u8; 32] = key;
        Self { cipher: Aes256Gcm::new(key.into()), nonce: header.nonce.into() }
    }

    fn encrypt(&self, associated: &[u8], body: &mut [u8]) -> Result<[u8; TAG], String> {
        let tag = self.cipher.encrypt_inout_detached(&self.nonce, associated, body.into());
        tag.map(Into::into).map_err(|error| error.to_string())
    }

    fn decrypt(
        &self,
        associated: &[u8],
        body: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), &'static str> {
        self.cipher
            .decrypt_inout_detached(&self.nonce, associated, body.into(), tag.into())
            .map_err(|_| "the tag is wrong")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "github.com/work";

    fn sealed() -> (Header, Key, Vec<u8>) {
        let header = Header::fresh([7; 16]).unwrap();
        let key = Key::new([9; 32]);
        let file = seal(&header, NAME, &key, "sk-canary").unwrap();
        (header, key, file)
    }

    #[test]
    fn the_layout_is_as_documented() {
        let (header, key, file) = sealed();
        assert_eq!(file.len(), HEADER + "sk-canary".len() + TAG);
        assert_eq!(&file[..10], b"CLAWVLT1\x01\x01");
        assert_eq!(&file[10..22], [0, 0, 1, 0, 3, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(&file[22..38], [7; 16]);
        assert_eq!(&file[38..50], header.nonce);
        assert_eq!(Header::read(&file), Ok(header));
        assert_eq!(open(&header, &file, NAME, &key).unwrap().as_slice(), b"sk-canary");
    }

    #[test]
    fn any_flipped_removed_or_added_byte_fails() {
        let (_, key, file) = sealed();
        let opens = |file: &[u8]| {
            Header::read(file).is_ok_and(|header| open(&header, file, NAME, &key).is_ok())
        };
        assert!(opens(&file));
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                assert!(!opens(&changed), "byte {at} bit {bit}");
            }
            assert!(!opens(&file[..at]), "cut at {at}");
        }
        assert!(!opens(&[&file[..], &[0]].concat()));
    }

    #[test]
    fn another_name_or_key_does_not_open_it() {
        let (header, key, file) = sealed();
        assert!(open(&header, &file, "github.com/home", &key).is_err());
        assert!(open(&header, &file, NAME, &Key::new([8; 32])).is_err());
    }

    #[test]
    fn nonces_do_not_repeat_over_ten_thousand_saves() {
        let nonces: std::collections::HashSet<_> =
            (0..10_000).map(|_| Header::fresh([0; 16]).unwrap().nonce).collect();
        assert_eq!(nonces.len(), 10_000);
    }
}
