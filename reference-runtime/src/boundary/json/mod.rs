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

use serde::de::DeserializeOwned;

pub use self::{relaxed::relaxed, scanner::Scanner};
use super::{Checked, Limits};
use crate::{audit::Rejection, requirement};

/// The deepest nesting that any configuration may allow: the parser behind has this limit too.
pub const MAX_DEPTH: usize = 127;

const INVALID: &str = "the JSON is not valid";

/// Parses a whole document: the scan, then duplicate keys (however they are spelled), then `T`.
///
/// # Errors
/// The requirement of Layer 1 that the document breaks; `input.json-strict` also where it is not
/// a `T`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<Checked<T>, Rejection> {
    let text = scanner::scanned(bytes, limits)?;
    let parsed = if requirement::INPUT_JSON_STRICT.enforced() {
        unique::keys(&text).map_err(|key| strict(format!("duplicate key {key:?}")))?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        lenient::parse(&text)
    };
    parsed.map(Checked::new).map_err(strict)
}

/// Scans a whole document without parsing it. Duplicate keys are left to [`parse`]: they cannot be
/// seen without memory.
///
/// # Errors
/// The requirement of Layer 1 that the document breaks first.
pub fn scan(bytes: &[u8], limits: &Limits) -> Result<(), Rejection> {
    scanner::scanned(bytes, limits).map(drop::<Cow<'_, str>>)
}

fn strict(cause: String) -> Rejection {
    requirement::INPUT_JSON_STRICT.refuse(INVALID, cause)
}
