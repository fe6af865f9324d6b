//! DSSE: signs bytes and checks signatures with ed25519. It must never know what the bytes mean.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The DSSE payload type of an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The DER head of an ed25519 SubjectPublicKeyInfo; the 32 key bytes follow.
const SPKI_HEAD: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a key or an envelope was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The key file is not what it should be.
    #[error("not an ed25519 {0} key in PEM form")]
    Key(&'static str),
    /// The system gave no randomness.
    #[error("the system gave no randomness for a new key")]
    Randomness,
    /// The file is not a DSSE envelope.
    #[error("not a DSSE envelope: {0}")]
    Envelope(String),
    /// The payload type is another one.
    #[error("the envelope holds `{0}`, not an in-toto statement")]
    PayloadType(String),
    /// No signature in the envelope is by this key.
    #[error("no valid signature by this key: the certificate was changed or signed by another key")]
    Signature,
}

/// A signing key; it has no `Debug`, so that it is in no log.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

/// A public key: 32 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyingKey([u8; 32]);

/// A DSSE envelope as it stands in the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

impl SigningKey {
    /// A new key: the key and its PKCS#8 PEM text, to be kept in a file of mode 0600.
    ///
    /// # Errors
    /// [`Refused::Randomness`] where the system has none.
    pub fn generate() -> Result<(Self, String), Refused> {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_unspecified| Refused::Randomness)?;
        let text = pem("PRIVATE KEY", der.as_ref());
        Ok((Self::from_pem(&text)?, text))
    }

    /// The key of a PKCS#8 PEM file, version 1 or 2.
    ///
    /// # Errors
    /// [`Refused::Key`] where the text is anything else.
    pub fn from_pem(text: &str) -> Result<Self, Refused> {
        let der = unpem("PRIVATE KEY", text).ok_or(Refused::Key("private"))?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map(|pair| Self { pair })
            .map_err(|_rejected| Refused::Key("private"))
    }

    /// The public half.
    ///
    /// # Errors
    /// [`Refused::Key`] should the pair not hold 32 bytes, which ed25519 excludes.
    pub fn verifying(&self) -> Result<VerifyingKey, Refused> {
        self.pair
            .public_key()
            .as_ref()
            .try_into()
            .map(VerifyingKey)
            .map_err(|_length| Refused::Key("public"))
    }

    /// Signs `payload` as an in-toto statement.
    ///
    /// # Errors
    /// As [`SigningKey::verifying`].
    pub fn seal(&self, payload: &[u8]) -> Result<Envelope, Refused> {
        let signature = self.pair.sign(&pre_authentication(IN_TOTO, payload));
        Ok(Envelope {
            payload_type: IN_TOTO.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signature {
                keyid: self.verifying()?.id(),
                sig: STANDARD.encode(signature.as_ref()),
            }],
        })
    }
}

impl VerifyingKey {
    /// The key of a SubjectPublicKeyInfo PEM file.
    ///
    /// # Errors
    /// [`Refused::Key`] where the text is anything else.
    pub fn from_pem(text: &str) -> Result<Self, Refused> {
        let refused = || Refused::Key("public");
        let der = unpem("PUBLIC KEY", text).ok_or_else(refused)?;
        let key = der.strip_prefix(&SPKI_HEAD).ok_or_else(refused)?;
        key.try_into().map(Self).map_err(|_length| refused())
    }

    /// The SubjectPublicKeyInfo PEM text, as other tools read it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &[SPKI_HEAD.as_slice(), &self.0].concat())
    }

    /// The SHA-256 of the key's 32 bytes, in hex: what a certificate calls its signer.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(Sha256::digest(self.0))
    }
}

impl Envelope {
    /// Reads an envelope from a file's text.
    ///
    /// # Errors
    /// [`Refused::Envelope`] with the place where the text is something else.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        serde_json::from_str(text).map_err(|error| Refused::Envelope(error.to_string()))
    }

    /// The payload, given only once a signature by `key` over exactly it has been checked.
    ///
    /// # Errors
    /// [`Refused::PayloadType`] or [`Refused::Signature`]; [`Refused::Envelope`] for bad base64.
    pub fn open(&self, key: &VerifyingKey) -> Result<Vec<u8>, Refused> {
        if self.payload_type != IN_TOTO {
            return Err(Refused::PayloadType(self.payload_type.clone()));
        }
        let payload = STANDARD
            .decode(&self.payload)
            .map_err(|error| Refused::Envelope(format!("payload: {error}")))?;
        let message = pre_authentication(&self.payload_type, &payload);
        let public = UnparsedPublicKey::new(&ED25519, key.0);
        let signed = self
            .signatures
            .iter()
            .filter_map(|signature| STANDARD.decode(&signature.sig).ok())
            .any(|signature| public.verify(&message, &signature).is_ok());
        if signed { Ok(payload) } else { Err(Refused::Signature) }
    }
}

/// DSSE's pre-authentication encoding, which binds the payload's type and length.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut head = String::from("DSSEv1 ");
    // Writing to a String cannot fail.
    let _ = write!(head, "{} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn unpem(label: &str, text: &str) -> Option<Vec<u8>> {
    let body = text
        .trim()
        .strip_prefix(&format!("-----BEGIN {label}-----"))?
        .strip_suffix(&format!("-----END {label}-----"))?;
    let packed: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(packed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate().unwrap().0
    }

    #[test]
    fn what_was_sealed_opens_with_its_key_alone() {
        let (ours, theirs) = (key(), key());
        let envelope = ours.seal(b"{\"a\":1}").unwrap();
        assert_eq!(envelope.open(&ours.verifying().unwrap()).unwrap(), b"{\"a\":1}");
        assert!(matches!(envelope.open(&theirs.verifying().unwrap()), Err(Refused::Signature)));
    }

    #[test]
    fn any_changed_byte_of_the_payload_is_refused() {
        let key = key();
        let envelope = key.seal(b"{\"verdict\":\"fail\"}").unwrap();
        let public = key.verifying().unwrap();
        for at in 0..18 {
            let mut payload = b"{\"verdict\":\"fail\"}".to_vec();
            payload[at] ^= 1;
            let forged = Envelope { payload: STANDARD.encode(payload), ..envelope.clone() };
            assert!(matches!(forged.open(&public), Err(Refused::Signature)), "byte {at}");
        }
    }

    #[test]
    fn another_payload_type_is_refused() {
        let key = key();
        let envelope = Envelope { payload_type: "text/plain".into(), ..key.seal(b"x").unwrap() };
        assert!(matches!(envelope.open(&key.verifying().unwrap()), Err(Refused::PayloadType(_))));
    }

    #[test]
    fn keys_survive_their_files() {
        let (first, text) = SigningKey::generate().unwrap();
        let public = first.verifying().unwrap();
        assert_eq!(SigningKey::from_pem(&text).unwrap().verifying().unwrap(), public);
        assert_eq!(VerifyingKey::from_pem(&public.to_pem()).unwrap(), public);
        assert!(VerifyingKey::from_pem(&text).is_err());
        assert!(SigningKey::from_pem(&public.to_pem()).is_err());
    }

    #[test]
    fn the_encoding_is_the_published_one() {
        assert_eq!(
            pre_authentication("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
