//! The hostile model's `responses` face: the request turned into the messages that the rest of
//! the stage reads, and an answer turned into its bytes. Knows no script.

use serde_json::{Value, json};

use crate::target::template::json_literal;

use super::DEFAULT_TEXT;
use super::answer::{Answer, ToolCall, Wire};

/// The request in the shape of chat completions: `messages` and `tools`.
pub(super) fn normalise(request: &Value) -> Value {
    let items = match request.get("input") {
        Some(Value::Array(items)) => items.as_slice(),
        Some(Value::String(text)) => {
            return json!({ "messages": [{ "role": "user", "content": text }] });
        }
        _ => &[],
    };
    let messages: Vec<Value> = items
        .iter()
        .filter_map(|item| match item.get("type").and_then(Value::as_str).unwrap_or("message") {
            "message" => {
                Some(json!({ "role": item.get("role")?, "content": item.get("content")? }))
            }
            "function_call_output" | "custom_tool_call_output" => Some(json!({
                "role": "tool",
                "tool_call_id": item.get("call_id")?,
                "content": item.get("output")?,
            })),
            _ => None,
        })
        .collect();
    let tools: Vec<Value> = request
        .get("tools")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|tool| Some(json!({ "function": { "name": tool.get("name")? } })))
        .collect();
    json!({ "messages": messages, "tools": tools })
}

/// An answer on the wire.
pub(super) fn wire(answer: &Answer, stream: bool) -> Wire {
    let (items, status) = match answer {
        Answer::Verbatim { status, body } => return Wire::json(*status, body.clone()),
        Answer::Late(_, answer) | Answer::Pieces(_, answer) => return wire(answer, stream),
        Answer::Broken(_, broken) => (vec![call(broken)], "incomplete"),
        Answer::Text(text) => (vec![message(text)], "completed"),
        Answer::Stall(_) => (vec![message(DEFAULT_TEXT.as_bytes())], "completed"),
        Answer::Calls(calls) => (calls.iter().map(call).collect(), "completed"),
        Answer::Unfinished(calls) => (calls.iter().map(call).collect(), "incomplete"),
    };
    if !stream {
        return Wire::json(200, response(&items, status));
    }
    let mut body = Vec::new();
    event(&mut body, "response.created", &[b"\"response\":", &response(&[], "in_progress")]);
    for (index, item) in items.iter().enumerate() {
        let at = format!("\"output_index\":{index},\"item\":");
        event(&mut body, "response.output_item.added", &[at.as_bytes(), item]);
        event(&mut body, "response.output_item.done", &[at.as_bytes(), item]);
    }
    let end = if status == "completed" { "response.completed" } else { "response.incomplete" };
    event(&mut body, end, &[b"\"response\":", &response(&items, status)]);
    Wire::events(body)
}

fn event(body: &mut Vec<u8>, kind: &str, parts: &[&[u8]]) {
    body.extend(format!("event: {kind}\ndata: {{\"type\":\"{kind}\",").bytes());
    for part in parts {
        body.extend_from_slice(part);
    }
    body.extend_from_slice(b"}\n\n");
}

fn message(text: &[u8]) -> Vec<u8> {
    let head = br#"{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","annotations":[],"text":"#;
    [head.as_slice(), &json_literal(text), b"}]}"].concat()
}

fn call(call: &ToolCall) -> Vec<u8> {
    [
        br#"{"type":"function_call","status":"completed","id":"#.as_slice(),
        &json_literal(format!("fc_{}", call.id).as_bytes()),
        br#","call_id":"#,
        &json_literal(call.id.as_bytes()),
        br#","name":"#,
        &json_literal(&call.name),
        br#","arguments":"#,
        &json_literal(&call.arguments),
        b"}",
    ]
    .concat()
}

fn response(items: &[Vec<u8>], status: &str) -> Vec<u8> {
    let head = format!(
        r#"{{"id":"resp_1","object":"response","created_at":1700000000,"model":"hostile","status":"{status}","parallel_tool_calls":true,"tool_choice":"auto","tools":[],"error":null,"incomplete_details":null,"instructions":null,"metadata":{{}},"output":["#
    );
    let tail = br#"],"usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":0},"output_tokens":1,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":2}}"#;
    [head.as_bytes(), &items.join(b",".as_slice()), tail].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_messages() {
        let request = json!({
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
                {"type": "function_call", "call_id": "c", "name": "x", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "done"},
            ],
            "tools": [{"type": "function", "name": "exec_command"}],
        });
        let seen = normalise(&request);
        assert_eq!(seen.pointer("/messages/0/role"), Some(&json!("user")));
        assert_eq!(seen.pointer("/messages/1/content"), Some(&json!("done")));
        assert_eq!(seen.pointer("/tools/0/function/name"), Some(&json!("exec_command")));
    }

    #[test]
    fn every_event_of_a_stream_is_json_and_the_last_completes() {
        let calls = Answer::Calls(vec![ToolCall::new("x", "{\"a\":\"b\\\"\"} trailing")]);
        for answer in [Answer::default(), Answer::Text("\u{0}\"\n".into()), calls] {
            let body = String::from_utf8(wire(&answer, true).body).unwrap();
            let events: Vec<Value> = body
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            let last = events.last().unwrap();
            assert_eq!(last.get("type"), Some(&json!("response.completed")));
            assert!(last.pointer("/response/output/0/type").is_some());
            let whole: Value = serde_json::from_slice(&wire(&answer, false).body).unwrap();
            assert_eq!(whole.get("object"), Some(&json!("response")));
        }
    }
}
