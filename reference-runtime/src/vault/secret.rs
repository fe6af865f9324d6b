//! Secrets in memory: wiped on drop, shown as `[REDACTED]`. It must never print one.

use std::fmt;

use secrecy::{ExposeSecret, SecretBox};
use serde::{Serialize, Serializer};

const REDACTED: &str = "[REDACTED]";

/// A credential. Every way to show it but [`ApiKey::expose`] says `[REDACTED]`.
pub struct ApiKey(SecretBox<str>);

impl ApiKey {
    /// Takes a secret in; the string's memory is taken over, or wiped where it must move.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(SecretBox::new(secret.into_boxed_str()))
    }

    /// The secret itself. Every caller is a place to look at in review.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl Clone for ApiKey {
    fn clone(&self) -> Self {
        Self::new(self.expose().to_owned())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for ApiKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// The password that the vault's key is derived from.
pub struct MasterPassword(SecretBox<str>);

impl MasterPassword {
    /// Takes a password in.
    #[must_use]
    pub fn new(password: String) -> Self {
        Self(SecretBox::new(password.into_boxed_str()))
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
