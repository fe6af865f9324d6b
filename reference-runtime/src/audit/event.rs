//! What happened, as a value. It must never hold a secret that the redactor does not know.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Correlation;
use crate::requirement::{self, Requirement};

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An attempt to authenticate.
    Auth,
    /// A decision whether something is allowed.
    Authorization,
    /// A tool run.
    Tool,
    /// A change of the configuration.
    Config,
    /// A rate limit that was hit.
    RateLimit,
    /// A plugin's process: started, ended, or something of it that was refused.
    Plugin,
}

impl Kind {
    /// The word in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Authorization => "authorization",
            Self::Tool => "tool",
            Self::Config => "config",
            Self::RateLimit => "rate-limit",
            Self::Plugin => "plugin",
        }
    }

    /// The requirement that asks for records of this kind.
    #[must_use]
    pub const fn requirement(self) -> Requirement {
        match self {
            Self::Auth => requirement::AUDIT_AUTH,
            Self::Authorization => requirement::AUDIT_AUTHORIZATION,
            Self::Tool => requirement::AUDIT_TOOL,
            Self::Config => requirement::AUDIT_CONFIG,
            Self::RateLimit => requirement::AUDIT_RATE_LIMIT,
            Self::Plugin => requirement::AUDIT_TOOL,
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A decision for.
    Allow,
    /// A decision against.
    Deny,
    /// Something ran to its end.
    Completed,
    /// Something ran and failed.
    Failed,
}

impl Outcome {
    /// The word in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// Who something is recorded of, in words of this program alone: nothing in it came from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The holder of a token, by the token's id; none where that is not the 8 hex digits that an id is.
    #[must_use]
    pub fn token(id: &str) -> Option<Self> {
        let digits = id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| Self(format!("token:{id}").into()))
    }

    /// Whoever speaks from an address.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self(format!("address:{address}").into())
    }

    /// The words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same words, shared.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event whose every word is this program's own: constants, a [`Subject`], an address that the
/// kernel told. No secret can be in it, so it needs no redactor and no memory of its own.
#[derive(Clone, Debug)]
pub struct Plain {
    /// What it is about.
    pub kind: Kind,
    /// How it ended.
    pub outcome: Outcome,
    /// Who.
    pub subject: Subject,
    /// What: a method, or a word for it.
    pub action: &'static str,
    /// The request it belongs to.
    pub correlation: Correlation,
    /// Where the request came from, where that is told.
    pub peer: Option<IpAddr>,
}

/// One event, before it is redacted, bounded, numbered and chained.
#[derive(Clone, Debug)]
pub struct Event {
    /// What it is about.
    pub kind: Kind,
    /// How it ended.
    pub outcome: Outcome,
    /// Who: a token's id, a session, an address.
    pub subject: String,
    /// What: a method, a tool, a setting.
    pub action: String,
    /// The requirement that refused, if one did.
    pub requirement: Option<Requirement>,
    /// The request it belongs to.
    pub correlation: Correlation,
    /// Anything else; each value is redacted and bounded.
    pub detail: Map<String, Value>,
}

impl Event {
    /// An event with no requirement and no detail.
    #[must_use]
    pub fn new(
        kind: Kind,
        outcome: Outcome,
        subject: impl Into<String>,
        action: impl Into<String>,
        correlation: Correlation,
    ) -> Self {
        Self {
            kind,
            outcome,
            subject: subject.into(),
            action: action.into(),
            requirement: None,
            correlation,
            detail: Map::new(),
        }
    }

    /// The event with one more detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(key.to_owned(), value.into());
        self
    }

    /// The event with the requirement that refused.
    #[must_use]
    pub fn refused_by(mut self, requirement: Requirement) -> Self {
        self.requirement = Some(requirement);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_holds_nothing_but_an_id_or_an_address() {
        assert_eq!(Subject::token("00ff12ab").unwrap().as_str(), "token:00ff12ab");
        for other in ["", "00ff12a", "00ff12abc", "00ff12ag", "00ff12a\n", "sk-12345"] {
            assert_eq!(Subject::token(other), None, "{other:?}");
        }
        assert_eq!(Subject::address([127, 0, 0, 1].into()).to_string(), "address:127.0.0.1");
    }
}
