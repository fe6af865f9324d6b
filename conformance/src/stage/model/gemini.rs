//! The hostile model's `generateContent` face, streamed or not: the request turned into the
//! messages that the rest of the stage reads, and an answer turned into its bytes.

use serde_json::{Value, json};

use crate::target::template::json_literal;

use super::DEFAULT_TEXT;
use super::answer::{Answer, ToolCall, Wire};

/// The request in the shape of chat completions: `messages` and `tools`.
pub(super) fn normalise(request: &Value) -> Value {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut messages = Vec::new();
    for content in list(request.get("contents")) {
        let role = match content.get("role").and_then(Value::as_str) {
            Some("model") => "assistant",
            _ => "user",
        };
        let mut text = String::new();
        for part in list(content.get("parts")) {
            if let Some(piece) = part.get("text").and_then(Value::as_str) {
                text.push_str(piece);
            }
            if let Some(response) = part.pointer("/functionResponse/response") {
                messages.push(json!({ "role": "tool", "content": response }));
            }
        }
        if !text.is_empty() {
            messages.push(json!({ "role": role, "content": text }));
        }
    }
    let tools: Vec<Value> = list(request.get("tools"))
        .iter()
        .flat_map(|tool| list(tool.get("functionDeclarations")))
        .filter_map(|tool| Some(json!({ "function": { "name": tool.get("name")? } })))
        .collect();
    json!({ "messages": messages, "tools": tools })
}

/// An answer on the wire.
pub(super) fn wire(answer: &Answer, stream: bool) -> Wire {
    let (parts, finish) = match answer {
        Answer::Verbatim { status, body } => return Wire::json(*status, body.clone()),
        Answer::Late(_, answer) | Answer::Pieces(_, answer) => return wire(answer, stream),
        Answer::Broken(_, broken) => (vec![called(broken)], "MAX_TOKENS"),
        Answer::Text(text) => (vec![said(text)], "STOP"),
        Answer::Stall(_) => (vec![said(DEFAULT_TEXT.as_bytes())], "STOP"),
        Answer::Calls(calls) => (calls.iter().map(called).collect(), "STOP"),
        Answer::Unfinished(calls) => (calls.iter().map(called).collect(), "MAX_TOKENS"),
    };
    let tail = format!(
        r#"]}},"finishReason":"{finish}","index":0}}],"usageMetadata":{{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2}},"modelVersion":"hostile"}}"#
    );
    let whole = [
        br#"{"candidates":[{"content":{"role":"model","parts":["#.as_slice(),
        &parts.join(b",".as_slice()),
        tail.as_bytes(),
    ]
    .concat();
    if !stream {
        return Wire::json(200, whole);
    }
    let body = [b"data: ".as_slice(), &whole, b"\n\n"].concat();
    Wire::events(body)
}

fn said(text: &[u8]) -> Vec<u8> {
    [br#"{"text":"#.as_slice(), &json_literal(text), b"}"].concat()
}

/// The arguments are an object in this API: their raw text is spliced as it is.
fn called(call: &ToolCall) -> Vec<u8> {
    [
        br#"{"functionCall":{"id":"#.as_slice(),
        &json_literal(call.id.as_bytes()),
        br#","name":"#,
        &json_literal(&call.name),
        br#","args":"#,
        &call.arguments,
        b"}}",
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_messages() {
        let request = json!({
            "contents": [
                {"role": "user", "parts": [{"text": "hel"}, {"text": "lo"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "x", "args": {}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "x", "response": {"output": "done"}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "run_shell_command"}]}],
        });
        let seen = normalise(&request);
        assert_eq!(seen.pointer("/messages/0/content"), Some(&json!("hello")));
        assert_eq!(seen.pointer("/messages/1/role"), Some(&json!("tool")));
        assert_eq!(seen.pointer("/tools/0/function/name"), Some(&json!("run_shell_command")));
    }

    #[test]
    fn an_answer_is_json_where_its_arguments_are() {
        let answer = Answer::Calls(vec![ToolCall::new("x", r#"{"command":"id"}"#)]);
        let whole: Value = serde_json::from_slice(&wire(&answer, false).body).unwrap();
        let command = whole.pointer("/candidates/0/content/parts/0/functionCall/args/command");
        assert_eq!(command, Some(&json!("id")));
    }
}
