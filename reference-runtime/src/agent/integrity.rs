//! Call integrity: a tool call counts once, whole, and while its turn lives. It must never know
//! which tools exist or what a call would do.

use std::collections::HashSet;

use serde_json::Value;

use super::history::{Entry, ProposedCall};
use crate::audit::Rejection;
use crate::boundary::{Limits, json, text};
use crate::registry::ToolCall;
use crate::requirement::{REGISTRY_CALL_INTEGRITY, REGISTRY_SCHEMA, Requirement};

const INTEGRITY: Requirement = REGISTRY_CALL_INTEGRITY;

/// The call ids that a session has seen.
#[derive(Debug, Default)]
pub(super) struct Seen(HashSet<String>);

impl Seen {
    /// The ids of a history.
    #[must_use]
    pub(super) fn of(history: &[Entry]) -> Self {
        let calls = history.iter().filter_map(|entry| match entry {
            Entry::Assistant { calls, .. } => Some(calls),
            _ => None,
        });
        Self(calls.flatten().map(|call| call.id.clone()).collect())
    }

    /// A call that is whole, new and an object, ready to be authorised.
    ///
    /// # Errors
    /// `registry.call-integrity`, or the requirement of Layer 1 that its id or arguments break.
    pub(super) fn admit(&mut self, call: &ProposedCall, cut: bool) -> Result<ToolCall, Rejection> {
        INTEGRITY.check(!cut, "the answer was cut off, so its calls do not count", || {
            format!("call {:?} of an unfinished answer", call.id)
        })?;
        text::identifier(&call.id)?;
        let new = self.0.insert(call.id.clone());
        INTEGRITY.check(new, "the call id was used before", || format!("call {:?}", call.id))?;
        // JSON that does not parse is an unfinished call; what else the boundary refuses keeps its
        // own name.
        let arguments: Value = json::parse(call.arguments.as_bytes(), limits())?.into_inner();
        REGISTRY_SCHEMA.check(arguments.is_object(), "the arguments are not an object", || {
            format!("call {:?}", call.id)
        })?;
        Ok(ToolCall { id: call.id.clone(), name: call.name.clone(), arguments: whole(arguments) })
    }
}

/// Arguments may be as large as a body: a file to write is one of them.
fn limits() -> &'static Limits {
    static LIMITS: std::sync::LazyLock<Limits> = std::sync::LazyLock::new(Limits::default);
    &LIMITS
}

/// Where the check is knocked out, an object that came as a string is taken for the object.
fn whole(arguments: Value) -> Value {
    match arguments {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, arguments: &str) -> ProposedCall {
        ProposedCall { id: id.into(), name: "exec".into(), arguments: arguments.into() }
    }

    #[test]
    fn a_call_id_counts_once_in_a_session() {
        let history = [Entry::Assistant { text: String::new(), calls: vec![call("old", "{}")] }];
        let mut seen = Seen::of(&history);
        assert!(seen.admit(&call("new", "{}"), false).is_ok());
        for used in ["old", "new"] {
            let refusal = seen.admit(&call(used, "{}"), false).unwrap_err();
            assert_eq!(refusal.requirement(), INTEGRITY);
        }
    }

    #[test]
    fn calls_of_a_cut_answer_do_not_count() {
        assert!(Seen::default().admit(&call("a", "{}"), true).is_err());
    }

    #[test]
    fn arguments_are_a_whole_object() {
        for (id, arguments) in
            ["", "{", "[]", "null", "\"{}\"", "{\"a\":1}x", "{\"a\":1,\"a\":2}"].iter().enumerate()
        {
            assert!(Seen::default().admit(&call(&id.to_string(), arguments), false).is_err());
        }
    }
}
