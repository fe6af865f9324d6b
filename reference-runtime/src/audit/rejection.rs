//! The one refusal type: which requirement refused, one sentence for the caller, the cause for
//! the log. It must never show the cause to a caller.

use std::fmt;

use crate::requirement::{Requirement, variant};

/// Joins what a caller saw with what the log holds: 16 random bytes as 32 hex digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Correlation(String);

impl Correlation {
    /// A fresh correlation id.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = [0_u8; 16];
        // Without randomness the id only loses its uniqueness, never a defence.
        let _ = getrandom::fill(&mut bytes);
        Self(if variant::IDS.on() { hex::encode_upper(bytes) } else { hex::encode(bytes) })
    }

    /// The 32 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Correlation {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Correlation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Correlation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
    #[must_use]
    pub fn new(requirement: Requirement, public: &'static str, cause: impl Into<String>) -> Self {
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

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.requirement, self.public())
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use crate::requirement::PATH_TRAVERSAL;

    #[test]
    fn the_caller_never_reads_the_cause() {
        let refusal = PATH_TRAVERSAL.refuse("the path leaves the workspace", "/srv/secret");
        assert_eq!(refusal.to_string(), "path.traversal: the path leaves the workspace");
        assert_eq!(refusal.cause(), "/srv/secret");
        assert_eq!(refusal.correlation().as_str().len(), 32);
    }
}
