//! The one refusal type: which requirement refused, one sentence for the caller, the cause for
//! the log. It must never show the cause to a caller.

#![cfg_attr(
    all(windows, target_env = "gnu"),
    expect(
        clippy::missing_const_for_thread_local,
        reason = "it is const, and not seen to be there"
    )
)]

use std::cell::RefCell;
use std::fmt;

use crate::requirement::{Requirement, variant};

/// Joins what a caller saw with what the log holds: 16 random bytes as 32 hex digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Correlation([u8; 32]);

/// Random bytes that a thread has asked for and not used: an id is no secret, and a system call for
/// each would cost more than the rest of it.
struct Pool {
    bytes: [u8; 1024],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; 1024], used: 1024 }) };
}

impl Pool {
    fn take(&mut self) -> [u8; 16] {
        if self.used >= self.bytes.len() {
            // Without randomness the id only loses its uniqueness, never a defence.
            let _ = getrandom::fill(&mut self.bytes);
            self.used = 0;
        }
        let next = self.bytes.get(self.used..).and_then(<[u8]>::first_chunk);
        self.used += 16;
        next.copied().unwrap_or_default()
    }
}

impl Correlation {
    /// A fresh correlation id.
    #[must_use]
    pub fn new() -> Self {
        let digits = if variant::IDS.on() { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
        let digit = |value: u8| digits.get(usize::from(value)).copied().unwrap_or(b'0');
        let mut id = [0; 32];
        let bytes = POOL.with_borrow_mut(Pool::take);
        for (pair, byte) in id.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        Self(id)
    }

    /// The 32 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Default for Correlation {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Correlation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Correlation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What every refusal says where its words are varied.
pub(crate) const OTHER_WORDS: &str = "that is not done here";

/// A refusal. `Display` shows only what a caller may read; `cause` is for the log alone.
#[derive(Debug)]
pub struct Rejection(Box<Inner>);

#[derive(Debug)]
struct Inner {
    requirement: Requirement,
    public: &'static str,
    cause: String,
    correlation: Correlation,
}

impl Rejection {
    /// A refusal by `requirement`. `public` is a constant, so no detail can slip into it.
    fn new(requirement: Requirement, public: &'static str, cause: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            requirement,
            public,
            cause: cause.into(),
            correlation: Correlation::new(),
        }))
    }

    /// The requirement that refused: the stable code of the error.
    #[must_use]
    pub fn requirement(&self) -> Requirement {
        self.0.requirement
    }

    /// The sentence for the caller: constant text, no path, type, address or secret.
    #[must_use]
    pub fn public(&self) -> &'static str {
        if variant::WORDS.on() { OTHER_WORDS } else { self.0.public }
    }

    /// The whole cause, for the log alone.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.0.cause
    }

    /// The id that a caller can quote and an operator can find in the log.
    #[must_use]
    pub fn correlation(&self) -> &Correlation {
        &self.0.correlation
    }

    /// The same refusal under the correlation id of the request that it belongs to.
    #[must_use]
    pub fn correlated(mut self, correlation: Correlation) -> Self {
        self.0.correlation = correlation;
        self
    }
}

impl Requirement {
    /// The one form of a check: refuses with `public` (what the caller reads) and the cause (what
    /// the log reads) unless `holds`.
    ///
    /// # Errors
    /// The rejection that names this requirement.
    #[inline]
    pub fn check(
        self,
        holds: bool,
        public: &'static str,
        cause: impl FnOnce() -> String,
    ) -> Result<(), Rejection> {
        if holds || !self.enforced() { Ok(()) } else { Err(self.refuse(public, cause())) }
    }

    /// A rejection that names this requirement, for refusals that are not a yes-or-no check.
    #[must_use]
    pub fn refuse(self, public: &'static str, cause: impl Into<String>) -> Rejection {
        Rejection::new(self, public, cause)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.requirement, self.public())
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::Correlation;
    use crate::requirement::PATH_TRAVERSAL;

    #[test]
    fn no_id_comes_twice_whichever_thread_made_it() {
        let make = || (0..1000).map(|_| Correlation::new()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(make)).collect();
        let made = threads.into_iter().flat_map(|thread| thread.join().unwrap());
        let ids: std::collections::HashSet<_> = made.collect();
        assert_eq!(ids.len(), 4000);
        let digit = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
        assert!(ids.iter().all(|id| id.as_str().len() == 32 && id.as_str().bytes().all(digit)));
    }

    #[test]
    fn the_caller_never_reads_the_cause() {
        let refusal = PATH_TRAVERSAL.refuse("the path leaves the workspace", "/srv/secret");
        assert_eq!(refusal.to_string(), "path.traversal: the path leaves the workspace");
        assert_eq!(refusal.cause(), "/srv/secret");
        assert_eq!(refusal.correlation().as_str().len(), 32);
    }
}
