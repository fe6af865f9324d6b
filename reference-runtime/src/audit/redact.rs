//! Takes the secrets that it was told out of any text. It must never keep a secret in a form that
//! it shows.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, RwLock},
};

/// What stands where a secret stood.
pub const REDACTED: &str = "[REDACTED]";

/// The shared list of secrets to take out; clones share it.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Arc<RwLock<Vec<String>>>,
}

impl Redactor {
    /// A redactor that knows no secret yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells a secret; from now on it is taken out of every text.
    pub fn add(&self, secret: &str) {
        if let Ok(mut secrets) = self.secrets.write() {
            secrets.push(secret.to_owned());
        }
    }

    /// The text without any known secret.
    #[must_use]
    pub fn redact<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let Ok(secrets) = self.secrets.read() else { return Cow::Borrowed(REDACTED) };
        let mut text = Cow::Borrowed(text);
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), REDACTED));
            }
        }
        text
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}
