//! JSON at the door: one strict scan over the bytes, then the parse. It must never know what the
//! document is for.
//!
//! The scan stands before every parser because parsers keep their own limits badly: they recurse,
//! skip unknown fields without counting depth, and build trees of 30 to 95 times the input.

mod lenient;
mod machine;
mod number;
mod relaxed;
mod scanner;
mod unique;

use std::borrow::Cow;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

pub use self::{relaxed::relaxed, scanner::Scanner};
use super::{Checked, Limits};
use crate::{audit::Rejection, requirement};

/// The deepest nesting that any configuration may allow: the parser behind has this limit too.
pub const MAX_DEPTH: usize = 127;

/// The cause of a refusal where a document ends with a container open.
pub(crate) const UNCLOSED: &str = "an array or object is not closed";

const INVALID: &str = "the JSON is not valid";

/// Parses a whole document: the scan, with duplicate keys (however they are spelled), then `T`.
///
/// # Errors
/// The requirement of Layer 1 that the document breaks; `input.json-strict` also where it is not
/// a `T`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<Checked<T>, Rejection> {
    let document = Document::read(bytes, limits)?;
    serde_json::from_str(&document.0).map(Checked::new).map_err(|error| strict(error.to_string()))
}

/// A document that was scanned as a whole, its keys too; its parts can be parsed without a copy.
#[derive(Clone, Debug)]
pub struct Document<'bytes>(Cow<'bytes, str>);

impl<'bytes> Document<'bytes> {
    /// Scans a whole document.
    ///
    /// # Errors
    /// The requirement of Layer 1 that it breaks.
    pub fn read(bytes: &'bytes [u8], limits: &Limits) -> Result<Self, Rejection> {
        let text = scanner::scanned(bytes, limits)?;
        if requirement::INPUT_JSON_STRICT.enforced() {
            Ok(Self(text))
        } else {
            lenient::repaired(&text).map(|text| Self(Cow::Owned(text))).map_err(strict)
        }
    }

    /// The document as a `T`, which may borrow from it (`&str`, `&RawValue`).
    ///
    /// # Errors
    /// `input.json-strict`: it is not a `T`.
    pub fn parse<'document, T: Deserialize<'document>>(
        &'document self,
    ) -> Result<Checked<T>, Rejection> {
        serde_json::from_str(&self.0).map(Checked::new).map_err(|error| strict(error.to_string()))
    }

    /// A part of this document, as it was borrowed from it, as a `T`: what was scanned is not
    /// scanned again.
    ///
    /// # Errors
    /// `input.json-strict`: it is not a `T`, or not a part of this document.
    pub fn part<'document, T: Deserialize<'document>>(
        &'document self,
        raw: &'document RawValue,
    ) -> Result<Checked<T>, Rejection> {
        let (whole, part) = (self.0.as_bytes().as_ptr_range(), raw.get().as_bytes().as_ptr_range());
        if part.start < whole.start || whole.end < part.end {
            return Err(strict("a part of another document".to_owned()));
        }
        serde_json::from_str(raw.get()).map(Checked::new).map_err(|error| strict(error.to_string()))
    }

    /// The text of the document.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Scans a whole document without parsing it. Duplicate keys are left to [`parse`]: they cannot be
/// seen without memory.
///
/// # Errors
/// The requirement of Layer 1 that the document breaks first.
pub fn scan(bytes: &[u8], limits: &Limits) -> Result<(), Rejection> {
    let mut scanner = Scanner::new(limits);
    scanner.feed(bytes)?;
    scanner.finish()
}

fn strict(cause: String) -> Rejection {
    requirement::INPUT_JSON_STRICT.refuse(INVALID, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_part_of_the_scanned_document_is_taken_as_checked() {
        let limits = Limits::default();
        let document = Document::read(b"[{\"a\":1},2]", &limits).unwrap();
        let parts: Vec<&RawValue> = document.parse().unwrap().into_inner();
        assert_eq!(document.part::<u8>(parts[1]).unwrap().into_inner(), 2);
        assert!(document.part::<u8>(parts[0]).is_err());
        let stranger = RawValue::from_string("2".to_owned()).unwrap();
        assert!(document.part::<u8>(&stranger).is_err());
    }
}
