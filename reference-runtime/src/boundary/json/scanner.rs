//! The scan of one document, whole or in pieces: bytes in, the first broken requirement out. It
//! allocates nothing, and must never give another verdict for another split of the same bytes.
//!
//! Each piece is cut where its UTF-8 ends; what is valid goes to the [`Machine`], an incomplete
//! character waits for the next piece. So the first violation in byte order decides, always.

use std::borrow::Cow;

use super::{
    super::Limits,
    INVALID, MAX_DEPTH,
    lenient::Lenient,
    machine::{Fault, Machine, Observer},
    unique::Unique,
};
use crate::{audit::Rejection, requirement};

/// The incremental scan: the verdict does not depend on how the input is split.
#[derive(Clone, Debug)]
pub struct Scanner {
    grammar: Grammar,
    depth: usize,
    taken: usize,
    longest: usize,
    carry: Carry,
}

/// The first bytes of a character whose end has not come yet: at most three.
#[derive(Clone, Copy, Debug, Default)]
struct Carry {
    bytes: [u8; 4],
    length: usize,
}

/// The strict grammar, or what is left of it where `input.json-strict` is knocked out.
#[derive(Clone, Debug)]
enum Grammar {
    Strict(Machine),
    Lenient(Lenient),
}

impl Scanner {
    /// A scanner for one document.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let depth = limits.json_depth.min(MAX_DEPTH);
        let grammar = if requirement::INPUT_JSON_STRICT.enforced() {
            Grammar::Strict(Machine::new(depth))
        } else {
            Grammar::Lenient(Lenient::new(depth))
        };
        Self { grammar, depth, taken: 0, longest: limits.body_bytes, carry: Carry::default() }
    }

    /// Takes the next piece of the document.
    ///
    /// # Errors
    /// The requirement that the document breaks; the scanner is of no use after that.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Rejection> {
        let room = self.longest.saturating_sub(self.taken);
        let Some((within, over)) = bytes.split_at_checked(room) else { return self.take(bytes) };
        self.take(within)?;
        requirement::INPUT_BOUNDED_MEMORY.check(
            over.is_empty(),
            "the document is too long",
            || format!("over {} bytes", self.longest),
        )?;
        self.take(over)
    }

    /// Ends the document.
    ///
    /// # Errors
    /// The document stops too early, inside a character or inside a value.
    pub fn finish(mut self) -> Result<(), Rejection> {
        if self.carry.length > 0 {
            return Err(malformed(self.taken));
        }
        let ended = match &mut self.grammar {
            Grammar::Strict(machine) => machine.finish(),
            Grammar::Lenient(_) => Ok(()),
        };
        ended.map_err(|fault| self.refuse(fault, 0))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Rejection> {
        if !requirement::INPUT_UTF8.enforced() {
            return self.run(bytes);
        }
        let rest = self.complete(bytes)?;
        match simdutf8::compat::from_utf8(rest) {
            Ok(_) => self.run(rest),
            Err(error) => {
                let (valid, broken) = rest.split_at(error.valid_up_to());
                self.run(valid)?;
                match error.error_len() {
                    Some(_) => Err(malformed(self.taken)),
                    None => broken.iter().try_for_each(|byte| self.carry(*byte)),
                }
            }
        }
    }

    /// Completes the character that the last piece left open; returns what comes after it.
    fn complete<'piece>(&mut self, bytes: &'piece [u8]) -> Result<&'piece [u8], Rejection> {
        let mut rest = bytes;
        while self.carry.length > 0 {
            let Some((first, after)) = rest.split_first() else { break };
            rest = after;
            self.carry(*first)?;
            let Carry { bytes, length } = self.carry;
            let open = bytes.get(..length).unwrap_or_default();
            match std::str::from_utf8(open) {
                Ok(_) => {
                    self.taken -= length;
                    self.carry = Carry::default();
                    self.run(open)?;
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(malformed(self.taken)),
            }
        }
        Ok(rest)
    }

    fn carry(&mut self, byte: u8) -> Result<(), Rejection> {
        let slot = self.carry.bytes.get_mut(self.carry.length);
        *slot.ok_or_else(|| malformed(self.taken))? = byte;
        self.carry.length += 1;
        self.taken += 1;
        Ok(())
    }

    fn run(&mut self, bytes: &[u8]) -> Result<(), Rejection> {
        self.run_before(bytes, &mut ())
    }

    fn run_before<'bytes>(
        &mut self,
        bytes: &'bytes [u8],
        observer: &mut impl Observer<'bytes>,
    ) -> Result<(), Rejection> {
        let done = match &mut self.grammar {
            Grammar::Strict(machine) => machine.run(bytes, observer),
            Grammar::Lenient(lenient) => lenient.run(bytes),
        };
        done.map_err(|(fault, at)| self.refuse(fault, at))?;
        self.taken += bytes.len();
        Ok(())
    }

    fn refuse(&self, fault: Fault, at: usize) -> Rejection {
        let at = self.taken + at;
        match fault {
            Fault::Null => requirement::INPUT_NULL_BYTE
                .refuse("the JSON holds a null byte", format!("at byte {at}")),
            Fault::Depth => requirement::INPUT_JSON_DEPTH.refuse(
                "the JSON is nested too deeply",
                format!("over {} open containers at byte {at}", self.depth),
            ),
            Fault::Strict(what) => {
                requirement::INPUT_JSON_STRICT.refuse(INVALID, format!("{what} at byte {at}"))
            }
        }
    }
}

/// Scans a whole document, its keys too, and returns its text: borrowed, but where `input.utf8` is
/// knocked out and the text had to be repaired.
pub(super) fn scanned<'bytes>(
    bytes: &'bytes [u8],
    limits: &Limits,
) -> Result<Cow<'bytes, str>, Rejection> {
    let mut scanner = Scanner::new(limits);
    // The common case validates once and keeps the proof; every other case is the scanner's.
    if bytes.len() <= limits.body_bytes
        && let Ok(text) = simdutf8::basic::from_utf8(bytes)
    {
        scanner.run_before(bytes, &mut Unique::default())?;
        scanner.finish()?;
        return Ok(Cow::Borrowed(text));
    }
    scanner.feed(bytes)?;
    scanner.finish()?;
    Ok(String::from_utf8_lossy(bytes))
}

fn malformed(at: usize) -> Rejection {
    requirement::INPUT_UTF8.refuse("the text is not valid UTF-8", format!("at byte {at}"))
}
