//! The name of a session. It must never know what a session holds or where.

use super::unavailable::unavailable;
use crate::audit::Rejection;

/// A session's name: 16 random bytes as 32 hex digits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SessionId(String);

impl SessionId {
    /// A fresh id that nobody can guess.
    ///
    /// # Errors
    /// `error.deny` where the system gives no randomness.
    pub fn random() -> Result<Self, Rejection> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).map_err(unavailable)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// The id in `text`, if it has the shape of one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let shaped =
            text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        shaped.then(|| Self(text.to_owned()))
    }

    /// The 32 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_32_hex_digits_name_a_session() {
        assert!(SessionId::parse(SessionId::random().unwrap().as_str()).is_some());
        for wrong in ["", "../x", "ABCDEF0123456789ABCDEF0123456789", &"a".repeat(33)] {
            assert!(SessionId::parse(wrong).is_none());
        }
    }
}
