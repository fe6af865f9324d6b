//! The audit log as it lies on disk: lines, records, and which of them a manifest calls an event.
//! It must never know which events ought to be there, nor ask the target for them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::target::manifest::Audit;

/// An audit log of one JSON object a line.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
    form: Audit,
}

impl AuditLog {
    /// The log at `path`, whose records have this form.
    #[must_use]
    pub fn new(path: PathBuf, form: Audit) -> Self {
        Self { path, form }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the manifest says what this event looks like.
    #[must_use]
    pub fn knows(&self, event: &str) -> bool {
        self.form.events.contains_key(event)
    }

    /// What stands in it now; nothing where there is no file.
    #[must_use]
    pub fn read(&self) -> Reading {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        Reading::of(&bytes, &self.form)
    }
}

/// The log at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    form: Audit,
    /// Every line with its number, from 1, without its end.
    lines: Vec<Vec<u8>>,
    records: Vec<Value>,
    broken: Vec<usize>,
}

impl Reading {
    fn of(bytes: &[u8], form: &Audit) -> Self {
        let mut lines: Vec<Vec<u8>> =
            bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        if lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        let (mut records, mut broken) = (Vec::new(), Vec::new());
        for (index, line) in lines.iter().enumerate() {
            match serde_json::from_slice::<Value>(line) {
                Ok(record @ Value::Object(_)) => records.push(record),
                _ => broken.push(index + 1),
            }
        }
        Self { form: form.clone(), lines, records, broken }
    }

    /// The lines as bytes.
    #[must_use]
    pub fn lines(&self) -> &[Vec<u8>] {
        &self.lines
    }

    /// The records, in order.
    #[must_use]
    pub fn records(&self) -> &[Value] {
        &self.records
    }

    /// The numbers of the lines that are no record.
    #[must_use]
    pub fn broken(&self) -> &[usize] {
        &self.broken
    }

    /// The records of an event.
    #[must_use]
    pub fn of_event(&self, event: &str) -> Vec<&Value> {
        let Some(places) = self.form.events.get(event) else { return Vec::new() };
        let holds = |record: &&Value| {
            places.iter().all(|(place, word)| text_at(record, place).as_deref() == Some(word))
        };
        self.records.iter().filter(holds).collect()
    }

    /// How many records of an event there are.
    #[must_use]
    pub fn count(&self, event: &str) -> usize {
        self.of_event(event).len()
    }

    /// The records that came after an earlier reading of the same log.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let fresh = self.lines.get(earlier.lines.len()..).unwrap_or_default();
        Self::of(&fresh.join(b"\n".as_slice()), &self.form)
    }

    /// The correlation id of a record.
    #[must_use]
    pub fn correlation(&self, record: &Value) -> Option<String> {
        text_at(record, self.form.correlation.as_deref()?)
    }

    /// The sandbox level that a record names.
    #[must_use]
    pub fn level(&self, record: &Value) -> Option<String> {
        text_at(record, self.form.level.as_deref()?)
    }

    /// The bytes of these lines that a terminal or a reader of lines would obey: control and bidi
    /// characters, line separators, malformed UTF-8; one sentence for each kind.
    #[must_use]
    pub fn unprintable(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let number = index + 1;
            match std::str::from_utf8(line) {
                Err(_) => found.push(format!("line {number} is not UTF-8")),
                Ok(text) => {
                    if let Some(bad) = text.chars().find(|it| obeyed(*it)) {
                        found.push(format!("line {number} holds a raw U+{:04X}", u32::from(bad)));
                    }
                }
            }
        }
        found
    }
}

/// Whether a character changes how a terminal or viewer shows what stands around it.
pub(crate) fn obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}'
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
}

fn text_at(record: &Value, place: &str) -> Option<String> {
    let value = record.pointer(place)?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Audit {
        let text =
            "correlation = '/c'\n[events.tool-completed]\n'/kind' = 'tool'\n'/ok' = 'true'\n";
        toml::from_str(text).unwrap()
    }

    #[test]
    fn finds_events_by_every_place_that_the_manifest_names() {
        let log =
            b"{\"kind\":\"tool\",\"ok\":true,\"c\":\"1\"}\n{\"kind\":\"tool\",\"ok\":false}\n";
        let reading = Reading::of(log, &form());
        assert_eq!((reading.records().len(), reading.count("tool-completed")), (2, 1));
        assert_eq!(reading.correlation(&reading.records()[0]).as_deref(), Some("1"));
        assert_eq!(reading.count("rate-limit"), 0);
    }

    #[test]
    fn a_split_line_and_raw_controls_are_seen() {
        let reading =
            Reading::of(b"{\"a\":\"b\n{\"c\":1}\n{\"d\":\"\x1b[2J\xe2\x80\xae\"}\n\xff\n", &form());
        assert_eq!(reading.broken(), [1, 3, 4]);
        assert_eq!(reading.unprintable().len(), 2);
    }

    #[test]
    fn tells_what_came_since() {
        let before = Reading::of(b"{\"a\":1}\n", &form());
        let after = Reading::of(b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n", &form());
        assert_eq!(after.since(&before).records().len(), 2);
    }
}
