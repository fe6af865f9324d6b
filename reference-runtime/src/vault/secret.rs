//! Secrets in memory: wiped on drop, shown as `[REDACTED]`. It must never print one.

use std::fmt;

use secrecy::{ExposeSecret, SecretBox};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize;

use crate::requirement;

const REDACTED: &str = "[REDACTED]";

/// A credential. Every way to show it but [`ApiKey::expose`] says `[REDACTED]`.
pub struct ApiKey(SecretBox<str>);

impl ApiKey {
    /// Takes a secret in; the string it came in is wiped.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(taken_over(secret))
    }

    /// The secret itself. Every caller is a place to look at in review.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn shown(&self) -> &str {
        if requirement::SECRET_REDACTED.enforced() { REDACTED } else { self.expose() }
    }
}

impl Clone for ApiKey {
    fn clone(&self) -> Self {
        Self::new(self.expose().to_owned())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for ApiKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for ApiKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// The password that the vault's key is derived from. It has no way out of this room.
pub struct MasterPassword(SecretBox<str>);

impl MasterPassword {
    /// Takes a password in; the string it came in is wiped.
    #[must_use]
    pub fn new(password: String) -> Self {
        Self(taken_over(password))
    }

    pub(super) fn expose(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

impl fmt::Debug for MasterPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Copies into a box of the exact size and wipes the string with all of its spare room: shrinking
/// the string in place could leave its old memory behind.
fn taken_over(mut text: String) -> SecretBox<str> {
    let boxed = SecretBox::new(Box::from(text.as_str()));
    if requirement::SECRET_ZEROED.enforced() {
        text.zeroize();
    } else {
        std::mem::forget(text);
    }
    boxed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_show_a_secret_says_redacted() {
        let key = ApiKey::new("sk-canary".into());
        let shown = [
            format!("{key}"),
            format!("{key:?}"),
            format!("{key:#?}"),
            format!("{:?}", Some(vec![key.clone()])),
            serde_json::to_string(&key).unwrap(),
            format!("{:?}", MasterPassword::new("sk-canary".into())),
        ];
        for text in shown {
            assert!(text.contains(REDACTED) && !text.contains("canary"), "{text}");
        }
        assert_eq!(key.expose(), "sk-canary");
    }
}
