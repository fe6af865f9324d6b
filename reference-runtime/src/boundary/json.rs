//! JSON at the door: one strict scan over the bytes, then the parse. It must never know what the
//! document is for.

use serde::de::DeserializeOwned;

use super::{Checked, Limits};
use crate::{audit::Rejection, requirement};

/// The deepest nesting that any configuration may allow: the parser behind has this limit too.
pub const MAX_DEPTH: usize = 127;

/// Parses a whole document after the scan.
///
/// # Errors
/// The requirement of Layer 1 that the document breaks.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<Checked<T>, Rejection> {
    scan(bytes, limits)?;
    serde_json::from_slice(bytes).map(Checked::new).map_err(|error| {
        requirement::INPUT_JSON_STRICT.refuse("the JSON is not valid", error.to_string())
    })
}

/// Scans a whole document without parsing it.
///
/// # Errors
/// The requirement of Layer 1 that the document breaks first.
pub fn scan(bytes: &[u8], limits: &Limits) -> Result<(), Rejection> {
    let mut scanner = Scanner::new(limits);
    scanner.feed(bytes)?;
    scanner.finish()
}

/// The incremental scan: the verdict does not depend on how the input is split.
#[derive(Clone, Debug)]
pub struct Scanner {
    limits: Limits,
    bytes: Vec<u8>,
}

impl Scanner {
    /// A scanner for one document.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { limits: *limits, bytes: Vec::new() }
    }

    /// Takes the next piece of the document.
    ///
    /// # Errors
    /// The requirement that the document breaks; the scanner is of no use after that.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Rejection> {
        self.bytes.extend_from_slice(bytes);
        requirement::INPUT_BOUNDED_MEMORY.check(
            self.bytes.len() <= self.limits.body_bytes,
            "the document is too long",
            || format!("over {} bytes", self.limits.body_bytes),
        )
    }

    /// Ends the document.
    ///
    /// # Errors
    /// The document stops too early.
    pub fn finish(self) -> Result<(), Rejection> {
        serde_json::from_slice::<serde_json::Value>(&self.bytes).map(drop).map_err(|error| {
            requirement::INPUT_JSON_STRICT.refuse("the JSON is not valid", error.to_string())
        })
    }
}
