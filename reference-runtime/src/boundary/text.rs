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
    // One fast look; which rule it is that a rare text breaks is asked afterwards.
    if !is_harmless(&text) {
        no_null(&text)?;
        no_controls(&text)?;
    }
    Ok(Checked::new(Message(text)))
}

/// Checks an identifier that a caller names something by: a session, a record, a call. It has 1 to
/// [`MAX_IDENTIFIER`] bytes of ASCII letters, digits, `.`, `_`, `:`, `/`, `@` and `-`.
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
    let plain = |c: char| c == '\0' || c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    requirement::INPUT_CONTROL_CHARS.check(
        text.chars().all(plain),
        "the identifier holds characters that are not allowed",
        || format!("{text:?}"),
    )?;
    Ok(Checked::new(text.to_owned()))
}

/// Refuses U+0000: the rule of every text field, also of those that have no other.
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

/// Refuses C0 (but TAB, LF and CR), DEL and C1. U+0000 is not this check's: it has a requirement
/// of its own.
///
/// # Errors
/// `input.control-chars`.
pub fn no_controls(text: &str) -> Result<(), Rejection> {
    requirement::INPUT_CONTROL_CHARS.check(
        is_harmless(text) || !has_controls(text),
        "the text holds control characters",
        || "C0, DEL or C1 in message text".to_owned(),
    )
}

fn has_controls(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && !matches!(c, '\0' | '\t' | '\n' | '\r'))
}

/// Whether a text surely holds no null byte and no control character. C1 begins with the byte C2
/// in UTF-8, as a few harmless characters do. Comparisons without branches over whole chunks: the
/// compiler turns them into vector instructions.
fn is_harmless(text: &str) -> bool {
    let (chunks, tail) = text.as_bytes().as_chunks::<32>();
    chunks.iter().all(|chunk| chunk.iter().fold(0, |any, byte| any | suspicious(*byte)) == 0)
        && tail.iter().all(|byte| suspicious(*byte) == 0)
}

#[inline]
fn suspicious(byte: u8) -> u8 {
    let spacing = u8::from(byte == b'\t') | u8::from(byte == b'\n') | u8::from(byte == b'\r');
    (u8::from(byte < 0x20) & (spacing ^ 1)) | u8::from(byte == 0x7f) | u8::from(byte == 0xc2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirement::Requirement;

    fn verdict(text: &str) -> Option<Requirement> {
        message(text.to_owned(), &Limits::default()).err().map(|refusal| refusal.requirement())
    }

    #[test]
    fn a_message_is_passed_on_as_it_came() {
        let text = "tab\tline\r\n\u{2067}שלום\u{2069} 👩‍👩‍👧 é ª £ \u{a0}";
        let checked = message(text.to_owned(), &Limits::default()).unwrap();
        assert_eq!(checked.get().as_str(), text);
    }

    #[test]
    fn control_characters_are_refused_at_every_position() {
        for length in [0, 1, 62, 63, 64, 65, 127, 128, 200] {
            for bad in ['\u{1}', '\u{7}', '\u{b}', '\u{1b}', '\u{7f}', '\u{80}', '\u{9b}', '\u{9f}']
            {
                let text = format!("{}{bad}tail", "x".repeat(length));
                assert_eq!(verdict(&text), Some(requirement::INPUT_CONTROL_CHARS), "{length}");
            }
            for good in ['\t', '\n', '\r', '\u{a0}', '\u{bf}', '\u{2028}'] {
                assert_eq!(verdict(&format!("{}{good}tail", "x".repeat(length))), None);
            }
        }
    }

    #[test]
    fn no_text_that_breaks_a_rule_is_called_harmless() {
        for c in (0..=0x2ff).filter_map(char::from_u32) {
            for length in [0, 31, 32, 63] {
                let text = format!("{}{c}", "x".repeat(length));
                let bad = c == '\0' || has_controls(&text);
                assert!(!(bad && is_harmless(&text)), "{c:?}");
                assert!(bad || ('\u{80}'..'\u{c0}').contains(&c) || is_harmless(&text), "{c:?}");
            }
        }
    }

    #[test]
    fn a_null_byte_belongs_to_its_own_requirement() {
        assert_eq!(verdict("a\0b"), Some(requirement::INPUT_NULL_BYTE));
        assert!(no_controls("a\0b").is_ok());
    }

    #[test]
    fn the_size_limit_is_exact_and_counts_bytes() {
        assert_eq!(verdict(&"x".repeat(100_000)), None);
        assert_eq!(verdict(&"x".repeat(100_001)), Some(requirement::INPUT_MESSAGE_SIZE));
        assert_eq!(verdict(&"é".repeat(50_001)), Some(requirement::INPUT_MESSAGE_SIZE));
    }

    #[test]
    fn identifiers_are_plain_ascii() {
        for good in ["a", "github.com/work", "b2f0-11", "user@host:1"] {
            assert!(identifier(good).is_ok(), "{good}");
        }
        let long = "x".repeat(129);
        for bad in ["", "a b", "аdmin", "a\u{200b}", "a\n", "\0", "ﬁ", "\u{3164}", &long] {
            assert!(identifier(bad).is_err(), "{bad:?}");
        }
    }
}
