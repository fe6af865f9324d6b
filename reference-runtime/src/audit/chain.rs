//! The chain of records: each line holds the hash of the one before it and its own. It must never
//! accept a line that it would not have written at that place.
//!
//! A line is `{"seq":N,"time":"...",MIDDLE,"previous":"H","hash":"H"}`. The hash is SHA-256 over the
//! line's bytes from `{` to the end of `"previous":"H"`, in 64 hex digits; the first `previous` is
//! all zeros. Whoever can write the file can also recompute the chain: against that, the head
//! must be kept elsewhere too (`audit verify` prints it).

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// A line that is longer was not written by this program.
pub(super) const LONGEST_LINE: u64 = 1 << 20;

/// What a whole log looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Number of records.
    pub records: u64,
    /// The hash of the last record, 64 hex digits; all zeros for an empty log.
    pub head: String,
}

/// Where a log is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The line, from 1; one more than there are lines if the end is missing.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl Broken {
    pub(super) fn new(line: u64, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for Broken {}

/// The place where the next record goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Number of records so far.
    pub(super) records: u64,
    /// The hash of the last one.
    pub(super) hash: String,
}

impl Default for Link {
    fn default() -> Self {
        Self { records: 0, hash: "0".repeat(64) }
    }
}

/// A line as it may stand in a log; a key more or less is a change.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: u64,
    previous: String,
    hash: String,
    #[serde(rename = "time")]
    _time: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "outcome")]
    _outcome: String,
    #[serde(rename = "subject")]
    _subject: String,
    #[serde(rename = "action")]
    _action: String,
    #[serde(rename = "requirement", default)]
    _requirement: Option<String>,
    #[serde(rename = "correlation")]
    _correlation: String,
    #[serde(rename = "detail")]
    _detail: Map<String, Value>,
}

impl Link {
    /// The place after a line that is whole in itself; none for any other.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let parsed: Line = serde_json::from_slice(line).ok()?;
        let mut before = Self { records: parsed.seq.checked_sub(1)?, hash: parsed.previous };
        before.follow(line).ok()?;
        Some(before)
    }

    /// Appends the next line to `out`, with its newline, and moves on. `middle` writes what does not
    /// depend on the place.
    pub(super) fn append(
        &mut self,
        out: &mut String,
        time: &str,
        middle: impl FnOnce(&mut String),
    ) {
        let start = out.len();
        self.records += 1;
        // Writing to a string does not fail.
        let _ = write!(out, "{{\"seq\":{},\"time\":\"{time}\",", self.records);
        middle(out);
        out.push_str(",\"previous\":\"");
        out.push_str(&self.hash);
        out.push('"');
        let mut digits = [b'0'; 64];
        let digest = Sha256::digest(out.get(start..).unwrap_or_default());
        // The digits of 32 bytes are 64.
        let _ = hex::encode_to_slice(digest, &mut digits);
        self.hash.clear();
        self.hash.push_str(std::str::from_utf8(&digits).unwrap_or_default());
        out.push_str(",\"hash\":\"");
        out.push_str(&self.hash);
        out.push_str("\"}\n");
    }

    /// Checks that `line` (without its newline) is the next one, and moves on.
    pub(super) fn follow(&mut self, line: &[u8]) -> Result<(), Broken> {
        let broken = |reason: String| Broken::new(self.records + 1, reason);
        let parsed: Line = serde_json::from_slice(line)
            .map_err(|error| broken(format!("not a record: {error}")))?;
        if parsed.seq != self.records + 1 {
            return Err(broken(format!("record {} stands here", parsed.seq)));
        }
        if parsed.previous != self.hash {
            return Err(broken("it does not follow the record before it".into()));
        }
        let tail = format!(",\"hash\":\"{}\"}}", parsed.hash);
        let covered = line.strip_suffix(tail.as_bytes());
        let hash = covered.map(|covered| hex::encode(Sha256::digest(covered)));
        if hash.as_ref() != Some(&parsed.hash) {
            return Err(broken("it was changed".into()));
        }
        self.records = parsed.seq;
        self.hash = parsed.hash;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: &str = r#""kind":"auth","outcome":"deny","subject":"s","action":"a","correlation":"c","detail":{}"#;

    #[test]
    fn what_is_appended_is_what_follows() {
        let (mut writer, mut reader) = (Link::default(), Link::default());
        let mut out = String::new();
        for _ in 0..3 {
            writer.append(&mut out, "2026-01-01T00:00:00Z", |out| out.push_str(MIDDLE));
        }
        for line in out.lines() {
            reader.follow(line.as_bytes()).unwrap();
        }
        assert_eq!(reader, writer);
    }

    #[test]
    fn any_changed_byte_breaks_the_line() {
        let mut out = String::new();
        let mut writer = Link::default();
        writer.append(&mut out, "2026-01-01T00:00:00Z", |out| out.push_str(MIDDLE));
        let line = out.trim_end().as_bytes();
        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert!(Link::default().follow(&changed).is_err(), "byte {at}");
        }
        let extended = [line, b" "].concat();
        assert!(Link::default().follow(&extended).is_err());
    }
}
