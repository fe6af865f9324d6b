//! An event as the middle of a record: redacted, bounded, and in printable ASCII alone, so that no
//! newline, escape sequence or direction mark of a value can reach a terminal or split a line. It
//! must never write a value that was not redacted as a whole first.

use std::fmt::Write;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Event, Plain, Redactor};
use crate::requirement;

/// The longest text of one detail that is kept, in bytes.
const LONGEST_VALUE: usize = 4096;
/// The longest subject, action and key.
const LONGEST_NAME: usize = 256;
/// The most members of one container that are kept.
const MOST_MEMBERS: usize = 64;
/// How deep details go.
const DEEPEST: usize = 8;
/// The longest detail as a whole, encoded.
const LONGEST_DETAIL: usize = 48 * 1024;

/// `"kind":...` to `"detail":{...}`: what of a record does not depend on its place in the log.
#[derive(Debug)]
pub(super) enum Middle {
    /// Redacted, bounded and escaped.
    Text(String),
    /// Nothing in it needs that.
    Plain(Plain),
}

impl Middle {
    /// Appends it.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Plain(event) => plain(out, event),
        }
    }
}

fn plain(out: &mut String, event: &Plain) {
    let Plain { kind, outcome, subject, action, correlation, peer } = event;
    let (kind, outcome) = (kind.as_str(), outcome.as_str());
    for piece in [
        "\"kind\":\"",
        kind,
        "\",\"outcome\":\"",
        outcome,
        "\",\"subject\":\"",
        subject.as_str(),
        "\",\"action\":\"",
        action,
        "\",\"correlation\":\"",
        correlation.as_str(),
        "\",\"detail\":{",
    ] {
        out.push_str(piece);
    }
    if let Some(peer) = peer {
        let _ = write!(out, "\"peer\":\"{peer}\"");
    }
    out.push('}');
}

/// The middle of an event's record.
pub(super) fn middle(event: &Event, redactor: &Redactor) -> String {
    let encoder = Encoder { redactor };
    let mut out = String::with_capacity(256);
    out.push_str("\"kind\":\"");
    out.push_str(event.kind.as_str());
    out.push_str("\",\"outcome\":\"");
    out.push_str(event.outcome.as_str());
    out.push_str("\",\"subject\":");
    encoder.text(&mut out, &event.subject, LONGEST_NAME);
    out.push_str(",\"action\":");
    encoder.text(&mut out, &event.action, LONGEST_NAME);
    if let Some(requirement) = event.requirement {
        out.push_str(",\"requirement\":\"");
        out.push_str(requirement.id());
        out.push('"');
    }
    out.push_str(",\"correlation\":\"");
    out.push_str(event.correlation.as_str());
    out.push_str("\",\"detail\":");
    encoder.detail(&mut out, &event.detail);
    out
}

struct Encoder<'a> {
    redactor: &'a Redactor,
}

impl Encoder<'_> {
    /// The whole detail, or as many members as fit; what is left out is named by its digest.
    fn detail(&self, out: &mut String, detail: &Map<String, Value>) {
        let start = out.len();
        let mut left_out = Vec::new();
        out.push('{');
        for (index, (key, value)) in detail.iter().enumerate() {
            let before = out.len();
            if index < MOST_MEMBERS {
                self.member(out, key, value, 1);
            }
            if index >= MOST_MEMBERS || out.len() - start > LONGEST_DETAIL {
                out.truncate(before);
                left_out.push((key, value));
            }
        }
        if !left_out.is_empty() {
            let digest = Sha256::digest(format!("{left_out:?}"));
            let note = format!("{} members, sha256 {}", left_out.len(), hex::encode(digest));
            self.member(out, "left-out", &Value::from(note), 1);
        }
        out.push('}');
    }

    fn member(&self, out: &mut String, key: &str, value: &Value, depth: usize) {
        if !out.ends_with('{') {
            out.push(',');
        }
        self.text(out, key, LONGEST_NAME);
        out.push(':');
        self.value(out, value, depth);
    }

    fn value(&self, out: &mut String, value: &Value, depth: usize) {
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            // A secret may be all digits.
            Value::Number(number) => {
                let plain = number.to_string();
                let shown = self.redactor.redact(&plain);
                if shown == plain { out.push_str(&plain) } else { string(out, &shown) }
            }
            Value::String(text) => self.text(out, text, LONGEST_VALUE),
            Value::Array(_) | Value::Object(_) if depth >= DEEPEST => {
                self.text(out, &value.to_string(), LONGEST_VALUE);
            }
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().take(MOST_MEMBERS).enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.value(out, item, depth + 1);
                }
                if let Some(more) = items.len().checked_sub(MOST_MEMBERS).filter(|more| *more > 0) {
                    // Writing to a string does not fail.
                    let _ = write!(out, ",\"[{more} more]\"");
                }
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (key, value) in members.iter().take(MOST_MEMBERS) {
                    self.member(out, key, value, depth + 1);
                }
                if members.len() > MOST_MEMBERS {
                    let more = members.len() - MOST_MEMBERS;
                    self.member(out, "left-out", &Value::from(more), depth + 1);
                }
                out.push('}');
            }
        }
    }

    /// Redacted as a whole, then cut: a cut through a secret would hide it from the redactor.
    fn text(&self, out: &mut String, text: &str, longest: usize) {
        let shown = self.redactor.redact(text);
        if shown.len() <= longest {
            return string(out, &shown);
        }
        let cut = (0..=longest).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
        let (kept, rest) = shown.split_at(cut);
        let digest = hex::encode(Sha256::digest(rest));
        string(out, &format!("{kept}...[{} bytes more, sha256 {digest}]", rest.len()));
    }
}

/// A JSON string in printable ASCII.
fn string(out: &mut String, text: &str) {
    out.push('"');
    if requirement::AUDIT_INTEGRITY.enforced() {
        escape(out, text);
    } else {
        out.push_str(text);
    }
    out.push('"');
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::{Correlation, Kind, Outcome, Subject};

    fn encoded(event: &Event, redactor: &Redactor) -> Value {
        let line = format!("{{{}}}", middle(event, redactor));
        assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line}");
        serde_json::from_str(&line).unwrap()
    }

    fn event() -> Event {
        Event::new(Kind::Tool, Outcome::Completed, "session", "exec", Correlation::new())
    }

    #[test]
    fn hostile_values_come_back_as_they_were_and_stay_on_one_line() {
        let hostile = "a\"}\n{\"seq\":9}\r\u{1b}[2J\u{9b}\u{202e}\u{2028}\u{e0041}😀\\u0041\u{7f}";
        let record = encoded(&event().with("argv", json!([hostile])), &Redactor::new());
        assert_eq!(record["detail"]["argv"][0], hostile);
        let event = Event { subject: hostile.into(), action: hostile.into(), ..event() };
        assert_eq!(encoded(&event, &Redactor::new())["subject"], hostile);
    }

    #[test]
    fn a_plain_event_is_recorded_like_any_other() {
        let subject = Subject::token("00ff12ab").unwrap();
        for peer in [None, Some("2001:db8::1".parse().unwrap())] {
            let plain = Plain {
                kind: Kind::Auth,
                outcome: Outcome::Allow,
                subject: subject.clone(),
                action: "authenticate",
                correlation: Correlation::new(),
                peer,
            };
            let Plain { kind, outcome, action, correlation, .. } = plain.clone();
            let event = Event::new(kind, outcome, subject.as_str(), action, correlation);
            let event = match peer {
                Some(peer) => event.with("peer", peer.to_string()),
                None => event,
            };
            let mut written = String::new();
            Middle::Plain(plain).write(&mut written);
            assert_eq!(written, middle(&event, &Redactor::new()));
        }
    }

    #[test]
    fn every_value_and_key_is_redacted_before_it_is_cut() {
        let redactor = Redactor::new();
        redactor.add("the-secret-of-this-test");
        redactor.add("123456789");
        let cut = format!("{}the-secret-of-this-test", "x".repeat(LONGEST_VALUE - 10));
        let record = encoded(
            &event()
                .with("cut", cut)
                .with("number", 123_456_789)
                .with("deep", json!({"k-the-secret-of-this-test": ["the-secret-of-this-test"]})),
            &redactor,
        );
        let text = record.to_string();
        assert!(!text.contains("the-secret") && !text.contains("123456789"), "{text}");
    }

    #[test]
    fn ten_megabytes_become_a_few_kilobytes_and_a_digest() {
        let value = "y".repeat(10_000_000);
        let record = encoded(&event().with("content", value.clone()), &Redactor::new());
        let shown = record["detail"]["content"].as_str().unwrap();
        assert!(shown.len() < 5000);
        let digest = hex::encode(Sha256::digest(&value[LONGEST_VALUE..]));
        assert!(shown.ends_with(&format!("...[9995904 bytes more, sha256 {digest}]")));
    }

    #[test]
    fn a_wide_or_deep_detail_is_bounded() {
        let mut wide = event();
        for n in 0..1000 {
            wide = wide.with(&format!("k{n}"), "v".repeat(1000));
        }
        wide = wide.with("array", json!(vec![0; 10_000]));
        let record = encoded(&wide, &Redactor::new());
        assert!(record.to_string().len() < 60_000);
        assert!(record["detail"]["left-out"].as_str().unwrap().contains("sha256"));
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        let record = encoded(&event().with("deep", deep), &Redactor::new());
        assert!(record.to_string().len() < 5000);
    }
}
