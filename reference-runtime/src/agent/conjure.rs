//! What `registry.no-conjuring` prevents, for the suite's self-test: calls picked out of text.
//! This file is compiled into `knockout` builds only and must never be reached in another.

use serde::Deserialize;
use serde_json::Value;

use super::history::ProposedCall;

#[derive(Deserialize)]
struct Written {
    #[serde(alias = "tool", alias = "tool_name")]
    name: String,
    #[serde(alias = "input", alias = "parameters", alias = "args")]
    arguments: Value,
}

/// Every JSON object in `text` that reads like a tool call.
pub(super) fn calls(text: &str) -> Vec<ProposedCall> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let tail = rest.get(start..).unwrap_or_default();
        let mut documents = serde_json::Deserializer::from_str(tail).into_iter::<Value>();
        let Some(Ok(value)) = documents.next() else {
            rest = tail.get(1..).unwrap_or_default();
            continue;
        };
        rest = tail.get(documents.byte_offset()..).unwrap_or_default();
        collect(&value, &mut found);
    }
    found
}

/// The call may stand inside an envelope, such as `{"tool_calls":[{"function":{..}}]}`.
fn collect(value: &Value, found: &mut Vec<ProposedCall>) {
    if let Ok(Written { name, arguments }) = Written::deserialize(value) {
        let arguments = match arguments {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let id = format!("conjured-{}", found.len());
        found.push(ProposedCall { id, name, arguments });
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => fields.values().for_each(|item| collect(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_fenced_call_is_picked_out_of_prose() {
        let text = "Sure: {x}\n```json\n{\"name\":\"exec\",\"arguments\":{\"argv\":[\"id\"]}}\n```";
        let calls = super::calls(text);
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].arguments, r#"{"argv":["id"]}"#);
    }
}
