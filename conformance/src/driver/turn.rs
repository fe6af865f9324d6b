//! What a server tells of a turn, one JSON value after another, read as the manifest says. It must
//! never know by which way an event came, nor what is expected of it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::target::manifest::Turn;

/// So many bytes of the target's words are kept.
const WORDS: usize = 1_000_000;

/// Something that a server told: a value, and the event's name where it has one.
#[derive(Clone, Debug, Default)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) value: Value,
}

/// What an event means for the turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes on.
    On,
    /// It has ended; whether it failed.
    End { failed: bool },
    /// Leave is asked for, by this id.
    Asked(String),
}

/// A turn as far as it was told.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    turn: &'a Turn,
    /// The target's words so far.
    pub(super) words: String,
}

impl<'a> Reading<'a> {
    pub(super) fn new(turn: &'a Turn) -> Self {
        Self { turn, words: String::new() }
    }

    /// Takes one event.
    pub(super) fn hear(&mut self, event: &Event) -> Step {
        let text = self.turn.text.as_deref().and_then(|place| event.value.pointer(place));
        if let (Some(text), true) = (text.and_then(Value::as_str), self.words.len() < WORDS) {
            self.words.push_str(text);
        }
        if meets(&self.turn.asks, event) {
            let id = self.turn.request.as_deref().and_then(|place| event.value.pointer(place));
            return Step::Asked(id.map(plain).unwrap_or_default());
        }
        if meets(&self.turn.failed, event) {
            return Step::End { failed: true };
        }
        if meets(&self.turn.done, event) { Step::End { failed: false } } else { Step::On }
    }
}

/// Whether an event has all of these; one without conditions is met by none.
fn meets(conditions: &BTreeMap<String, String>, event: &Event) -> bool {
    !conditions.is_empty()
        && conditions.iter().all(|(place, wanted)| {
            let found = match place.as_str() {
                "event" => Some(event.name.clone()),
                place => event.value.pointer(place).filter(|it| !it.is_null()).map(plain),
            };
            found.is_some_and(|found| wanted == "*" || found == *wanted)
        })
}

/// A string without its quotes, another value as its JSON text.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_what_its_places_say() {
        let turn: Turn = toml::from_str(
            "text = \"/text\"\ndone = { event = \"end\" }\nfailed = { \"/error\" = \"*\" }\n\
             asks = { \"/kind\" = \"leave\", \"/open\" = \"true\" }\nrequest = \"/id\"\n",
        )
        .unwrap();
        let mut reading = Reading::new(&turn);
        let mut hear = |name: &str, value| reading.hear(&Event { name: name.to_owned(), value });
        assert_eq!(hear("", json!({"text": "a"})), Step::On);
        assert_eq!(hear("", json!({"error": null, "text": "b"})), Step::On);
        assert_eq!(hear("", json!({"kind": "leave", "open": false})), Step::On);
        let asked = json!({"kind": "leave", "open": true, "id": 7});
        assert_eq!(hear("", asked), Step::Asked("7".to_owned()));
        assert_eq!(hear("", json!({"error": "x"})), Step::End { failed: true });
        assert_eq!(hear("end", json!(null)), Step::End { failed: false });
        assert_eq!(reading.words, "ab");
    }
}
