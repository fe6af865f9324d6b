//! Text at the door: message text and identifiers. It must never change a text: it is passed on
//! as it came or refused.

use super::{Checked, Limits};
use crate::{audit::Rejection, requirement};

/// The longest identifier, in bytes.
pub const MAX_IDENTIFIER: usize = 128;

/// The text of a user's message, exactly as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(String);

impl Message {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Checks the decoded text of a message: its size, null bytes and control characters.
///
/// # Errors
/// The requirement of Layer 1 that the text breaks.
pub fn message(text: String, limits: &Limits) -> Result<Checked<Message>, Rejection> {
    requirement::INPUT_MESSAGE_SIZE.check(
        text.len() <= limits.message_bytes,
        "the message is too long",
        || format!("{} bytes, the limit is {}", text.len(), limits.message_bytes),
    )?;
    no_null(&text)?;
    controls(&text)?;
    Ok(Checked::new(Message(text)))
}

/// Checks an identifier that a caller names something by: a session, a record, a call. It has 1 to
/// [`MAX_IDENTIFIER`] bytes of ASCII letters, digits, `.`, `_`, `:`, `/` and `-`.
///
/// # Errors
/// The requirement of Layer 1 that the identifier breaks.
pub fn identifier(text: &str) -> Result<Checked<String>, Rejection> {
    requirement::INPUT_MESSAGE_SIZE.check(
        (1..=MAX_IDENTIFIER).contains(&text.len()),
        "the identifier is empty or too long",
        || format!("{} bytes", text.len()),
    )?;
    no_null(text)?;
    let plain = |c: char| c == '\0' || c.is_ascii_alphanumeric() || "._:/-".contains(c);
    requirement::INPUT_CONTROL_CHARS.check(
        text.chars().all(plain),
        "the identifier holds characters that are not allowed",
        || format!("{text:?}"),
    )?;
    Ok(Checked::new(text.to_owned()))
}

/// Refuses U+0000, for text fields that have no other rule.
///
/// # Errors
/// `input.null-byte`.
pub fn no_null(text: &str) -> Result<(), Rejection> {
    requirement::INPUT_NULL_BYTE.check(
        !text.as_bytes().contains(&0),
        "the text holds a null byte",
        || "U+0000 in a text field".to_owned(),
    )
}

/// U+0000 is not this check's: it has a requirement of its own.
fn controls(text: &str) -> Result<(), Rejection> {
    let bad = |c: char| c.is_control() && !matches!(c, '\0' | '\t' | '\n' | '\r');
    requirement::INPUT_CONTROL_CHARS.check(
        !text.chars().any(bad),
        "the text holds control characters",
        || "C0, DEL or C1 in message text".to_owned(),
    )
}
