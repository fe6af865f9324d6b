//! What a case left in the target's logs: its audit log and its standard streams, from where they
//! stood before. It must never ask the target what it logged.

use std::path::PathBuf;

use serde_json::Value;

use crate::corpus::{Case, Surface};
use crate::driver::excerpt;
use crate::oracle::Observed;
use crate::scenario::{Target, Trouble};
use crate::sensor::audit_log::obeyed;
use crate::sensor::leak;

use super::{Stand, mentions_secret};

/// No line of a log is longer than this, in bytes, whatever it is about.
const LONGEST_LINE: usize = 1_000_000;

/// A part of a payload shorter than this may begin a line by chance.
const SHORTEST_PART: usize = 6;

/// Where the logs stood before a case.
pub(super) struct Written {
    wanted: Option<Wanted>,
}

struct Wanted {
    audit: Option<PathBuf>,
    audit_length: usize,
    output_length: usize,
    lines: bool,
}

impl Written {
    pub(super) async fn before(
        target: &Target,
        case: &Case,
        stand: &Stand,
    ) -> Result<Self, Trouble> {
        let lines = case.surface == Surface::AuditLog;
        let secret = mentions_secret(stand) || case.surface == Surface::ModelError;
        if !lines && !secret {
            return Ok(Self { wanted: None });
        }
        let audit = match target.file("audit") {
            Ok(path) => Some(path),
            Err(trouble) if lines => return Err(trouble),
            Err(_) => None,
        };
        let audit_length = audit.as_ref().map_or(0, |path| read(path).len());
        let output_length = target.instance().output().await.len();
        Ok(Self { wanted: Some(Wanted { audit, audit_length, output_length, lines }) })
    }

    /// Adds what the logs show to what was seen.
    pub(super) async fn judge(&self, target: &Target, stand: &Stand, seen: &mut Observed) {
        let Some(wanted) = &self.wanted else { return };
        let audit = wanted.audit.as_ref().map(read).unwrap_or_default();
        let audit = audit.get(wanted.audit_length..).unwrap_or_default().to_vec();
        let output = target.instance().output().await;
        let output = output.get(wanted.output_length..).unwrap_or_default();
        let history = target.call("session-history", &[("SESSION", &stand.session)]).await;
        let history = history.map(|reply| reply.body).unwrap_or_default();
        let places = [("the audit log", audit.as_slice()), ("its output", output)];
        for (place, bytes) in places.into_iter().chain([("the session's history", &*history)]) {
            for form in leak::found(stand.secret.as_bytes(), bytes) {
                seen.leaked.push(format!("the secret stands in {place} ({form})"));
            }
        }
        if wanted.lines {
            for (place, bytes) in places {
                let wrong = wrong_with(bytes, place == "the audit log", stand);
                seen.leaked.extend(wrong.map(|words| format!("{place}: {words}")));
            }
            let wanted = String::from_utf8_lossy(&stand.payload);
            seen.intact = records(&audit).any(|record| holds(&record, &wanted));
        }
    }
}

fn read(path: &PathBuf) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

fn records(bytes: &[u8]) -> impl Iterator<Item = Value> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

/// Whether a record holds the payload in one of its texts, decoded once or twice.
fn holds(record: &Value, wanted: &str) -> bool {
    match record {
        Value::String(text) => {
            text.contains(wanted)
                || serde_json::from_str::<Value>(text)
                    .is_ok_and(|inner| !inner.is_string() && holds(&inner, wanted))
        }
        Value::Array(items) => items.iter().any(|item| holds(item, wanted)),
        Value::Object(fields) => fields.values().any(|field| holds(field, wanted)),
        _ => false,
    }
}

/// The first thing that is wrong with what was written.
fn wrong_with(bytes: &[u8], is_records: bool, stand: &Stand) -> Option<String> {
    let payload = String::from_utf8_lossy(&stand.payload);
    let parts: Vec<&str> = broken(&payload).skip(1).map(str::trim).collect();
    let begun = |line: &str| {
        parts.iter().find(|part| part.len() >= SHORTEST_PART && line.starts_with(**part)).copied()
    };
    for raw in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if raw.len() > LONGEST_LINE {
            return Some(format!("a line of {} bytes", raw.len()));
        }
        let Ok(line) = std::str::from_utf8(raw) else {
            return Some(format!("malformed UTF-8: {}", excerpt(raw, 120)));
        };
        if let Some(part) = broken(line).find_map(begun) {
            return Some(format!("a line of the payload's own: {}", excerpt(part.as_bytes(), 120)));
        }
        if let Some(bad) = line.chars().find(|it| *it != '\t' && obeyed(*it)) {
            return Some(format!("a raw U+{:04X}: {}", u32::from(bad), excerpt(raw, 120)));
        }
        let own = || format!("a field of the payload's own: {}", excerpt(raw, 120));
        let fault = match serde_json::from_str::<Value>(line) {
            Ok(record @ Value::Object(_)) => has_field(&record, &stand.effect).then(own),
            _ if is_records => Some(format!("no record: {}", excerpt(raw, 120))),
            _ => forged(line, &stand.effect).then(own),
        };
        if fault.is_some() {
            return fault;
        }
    }
    None
}

/// The lines of a text, by whatever some reader takes for a line's end.
fn broken(text: &str) -> impl Iterator<Item = &str> {
    text.split(|it| {
        matches!(it, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    })
}

fn has_field(record: &Value, name: &str) -> bool {
    match record {
        Value::Object(fields) => {
            fields.iter().any(|(key, field)| key.contains(name) || has_field(field, name))
        }
        Value::Array(items) => items.iter().any(|item| has_field(item, name)),
        _ => false,
    }
}

/// Whether a line of text has a field that the payload made: `name=value` of its own, the start of
/// a cell that a spreadsheet computes, or a priority at the line's start.
fn forged(line: &str, name: &str) -> bool {
    let computed = |cell: &str| cell.starts_with(['=', '+', '@']) && cell.contains(name);
    let prioritised = line.starts_with('<') && line.contains(name);
    line.split(',').any(computed)
        || line.split([' ', ',']).any(|word| word.starts_with(&format!("{name}=")))
        || prioritised
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_the_payloads_own_only_where_a_reader_takes_it_for_one() {
        assert!(forged("tool,=effect-1+1,x", "effect-1"));
        assert!(forged("name=x effect-1=yes", "effect-1"));
        assert!(!forged("name=\"x effect-1\"", "effect-1"));
        assert!(has_field(&serde_json::json!({"a": [{"effect-1": 1}]}), "effect-1"));
        assert!(!has_field(&serde_json::json!({"a": "effect-1"}), "effect-1"));
    }

    #[test]
    fn a_payload_is_found_in_a_record_also_inside_json_text() {
        let record = serde_json::json!({"detail": {"arguments": "{\"content\":\"a\\nb\"}"}});
        assert!(holds(&record, "a\nb"));
        assert!(!holds(&record, "a\nc"));
    }
}
