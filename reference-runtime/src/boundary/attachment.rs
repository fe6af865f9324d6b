//! Attachments at the door: how many, how large, and under which name. Sizes are counted as bytes
//! arrive, whatever length was declared. It must never hold the bytes, nor know where they go.

use super::{
    Checked, Limits,
    path::{Os, RelativePath, lexical},
    text,
};
use crate::{audit::Rejection, requirement};

/// The longest name of an attachment, in bytes.
pub const MAX_NAME: usize = 200;

const TOO_LARGE: &str = "the attachment is too large";

/// Refuses a message that names more attachments than allowed.
///
/// # Errors
/// `input.attachment-count`.
pub fn count(attachments: usize, limits: &Limits) -> Result<(), Rejection> {
    requirement::INPUT_ATTACHMENT_COUNT.check(
        attachments <= limits.attachments,
        "the message has too many attachments",
        || format!("{attachments} attachments, the limit is {}", limits.attachments),
    )
}

/// Counts the bytes of one attachment as they arrive.
#[derive(Clone, Debug)]
pub struct Meter {
    taken: u64,
    most: u64,
}

impl Meter {
    /// Nothing has arrived yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { taken: 0, most: limits.attachment_bytes as u64 }
    }

    /// Refuses by a declared length, so that nothing need arrive. A small one shows nothing.
    ///
    /// # Errors
    /// `input.attachment-size`.
    pub fn declared(&self, bytes: u64) -> Result<(), Rejection> {
        self.fits(bytes)
    }

    /// Counts a piece that arrived.
    ///
    /// # Errors
    /// `input.attachment-size`: with it the attachment is over the limit.
    pub fn take(&mut self, piece: usize) -> Result<(), Rejection> {
        self.taken = self.taken.saturating_add(piece as u64);
        self.fits(self.taken)
    }

    /// How many bytes have arrived.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    fn fits(&self, bytes: u64) -> Result<(), Rejection> {
        let most = if requirement::INPUT_ATTACHMENT_SIZE_EXACT.enforced() {
            self.most
        } else {
            // What is prevented: megabytes of 1,024 times 1,024 bytes.
            self.most.saturating_mul(1_048_576) / 1_000_000
        };
        requirement::INPUT_ATTACHMENT_SIZE.check(bytes <= most, TOO_LARGE, || {
            format!("at least {bytes} bytes, the limit is {most}")
        })
    }
}

/// The name of an attachment: one segment of a path, for people and tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks the name of an attachment: 1 to [`MAX_NAME`] bytes, no control character, and one plain
/// segment under the rules of every system that might read it.
///
/// # Errors
/// The requirement of Layer 1 that the name breaks.
pub fn name(text: &str) -> Result<Checked<FileName>, Rejection> {
    requirement::INPUT_MESSAGE_SIZE.check(
        (1..=MAX_NAME).contains(&text.len()),
        "the name of the attachment is empty or too long",
        || format!("{} bytes", text.len()),
    )?;
    text::no_null(text)?;
    // The name stands on a line of its own before a model, so not even a line break is taken.
    requirement::INPUT_CONTROL_CHARS.check(
        !text.chars().any(char::is_control),
        "the name of the attachment holds control characters",
        || format!("{text:?}"),
    )?;
    lexical(text, Os::current())?;
    let plain = text != "." && text != ".." && !text.contains(['/', '\\']);
    requirement::PATH_TRAVERSAL.check(
        plain,
        "the name of the attachment is not a plain file name",
        || format!("{text:?}"),
    )?;
    if plain {
        lexical(text, Os::Windows)?;
        lexical(text, Os::MacOs)?;
    }
    Ok(Checked::new(FileName(text.to_owned())))
}

/// Where an attachment of this id and name stands in a workspace.
///
/// # Errors
/// What the rules for paths refuse; never for a name that [`name`] accepted.
pub fn place(id: &str, name: &str) -> Result<RelativePath, Rejection> {
    lexical(&format!("{FOLDER}/{id}/{name}"), Os::current())
}

/// The folder that [`place`] puts an attachment of this id in.
///
/// # Errors
/// What the rules for paths refuse; never for an id of hex digits.
pub fn folder(id: &str) -> Result<RelativePath, Rejection> {
    lexical(&format!("{FOLDER}/{id}"), Os::current())
}

const FOLDER: &str = "attachments";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirement::Requirement;

    fn verdict(text: &str) -> Option<Requirement> {
        name(text).err().map(|refusal| refusal.requirement())
    }

    #[test]
    fn the_size_limit_is_exact_whatever_was_declared() {
        let limits = Limits { attachment_bytes: 10, ..Limits::default() };
        let mut meter = Meter::new(&limits);
        assert!(meter.declared(10).is_ok() && meter.declared(11).is_err());
        assert!(meter.take(4).is_ok() && meter.take(6).is_ok());
        let refusal = meter.take(1).unwrap_err();
        assert_eq!(refusal.requirement(), requirement::INPUT_ATTACHMENT_SIZE);
    }

    #[test]
    fn ten_are_accepted_and_eleven_refused() {
        let limits = Limits::default();
        assert!(count(10, &limits).is_ok());
        let refusal = count(11, &limits).unwrap_err();
        assert_eq!(refusal.requirement(), requirement::INPUT_ATTACHMENT_COUNT);
    }

    #[test]
    fn a_name_is_one_plain_segment() {
        for good in ["a.txt", "..hidden", "a..b", "zwölf 👩‍👩‍👧.md", "v1..v2.diff", ".profile"]
        {
            assert_eq!(verdict(good), None, "{good}");
        }
        for (bad, requirement) in [
            ("", requirement::INPUT_MESSAGE_SIZE),
            (&"x".repeat(201), requirement::INPUT_MESSAGE_SIZE),
            ("a\0b", requirement::INPUT_NULL_BYTE),
            ("a\nb", requirement::INPUT_CONTROL_CHARS),
            ("..", requirement::PATH_TRAVERSAL),
            ("../x", requirement::PATH_TRAVERSAL),
            ("a/../../x", requirement::PATH_TRAVERSAL),
            ("..\\x", requirement::PATH_TRAVERSAL),
            ("a/b", requirement::PATH_TRAVERSAL),
            (".", requirement::PATH_TRAVERSAL),
            ("/etc/x", requirement::PATH_ABSOLUTE),
            ("C:x", requirement::PATH_ABSOLUTE),
            ("con.txt", requirement::PATH_OS_ALIAS),
            ("ab:c", requirement::PATH_OS_ALIAS),
        ] {
            assert_eq!(verdict(bad), Some(requirement), "{bad:?}");
        }
    }

    #[test]
    fn what_was_accepted_has_a_place() {
        assert_eq!(place("0f", "a.txt").unwrap().as_str(), "attachments/0f/a.txt");
        assert_eq!(folder("0f").unwrap().as_str(), "attachments/0f");
    }
}
