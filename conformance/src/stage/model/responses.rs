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

/// An item of an answer.
enum Item<'answer> {
    Text(&'answer [u8]),
    Call(&'answer ToolCall),
}

/// An answer on the wire.
pub(super) fn wire(answer: &Answer, stream: bool) -> Wire {
    let (items, status) = match answer {
        Answer::Verbatim { status, body } => return Wire::json(*status, body.clone()),
        Answer::Late(_, answer) | Answer::Pieces(_, answer) => return wire(answer, stream),
        Answer::Broken(_, broken) => (vec![Item::Call(broken)], "incomplete"),
        Answer::Text(text) => (vec![Item::Text(text)], "completed"),
        Answer::Stall(_) => (vec![Item::Text(DEFAULT_TEXT.as_bytes())], "completed"),
        Answer::Calls(calls) => (calls.iter().map(Item::Call).collect(), "completed"),
        Answer::Unfinished(calls) => (calls.iter().map(Item::Call).collect(), "incomplete"),
    };
    let done: Vec<Vec<u8>> =
        items.iter().enumerate().map(|(index, item)| item.whole(index, true)).collect();
    if !stream {
        return Wire::json(200, response(&done, status));
    }
    let mut events = Events::default();
    events.add("response.created", &[b"\"response\":", &response(&[], "in_progress")]);
    for (index, item) in items.iter().enumerate() {
        item.told(index, &mut events);
    }
    let end = if status == "completed" { "response.completed" } else { "response.incomplete" };
    events.add(end, &[b"\"response\":", &response(&done, status)]);
    Wire::events(events.body)
}

/// The events of a stream, numbered.
#[derive(Default)]
struct Events {
    body: Vec<u8>,
    count: usize,
}

impl Events {
    fn add(&mut self, kind: &str, parts: &[&[u8]]) {
        let head = format!(
            "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{},",
            self.count
        );
        self.count += 1;
        self.body.extend(head.bytes());
        for part in parts {
            self.body.extend_from_slice(part);
        }
        self.body.extend_from_slice(b"}\n\n");
    }
}

impl Item<'_> {
    fn id(&self, index: usize) -> Vec<u8> {
        match self {
            Self::Text(_) => json_literal(format!("msg_{index}").as_bytes()),
            Self::Call(call) => json_literal(format!("fc_{}", call.id).as_bytes()),
        }
    }

    /// The item as it is in the end, or as it is when it begins.
    fn whole(&self, index: usize, done: bool) -> Vec<u8> {
        let status: &[u8] = if done { b"completed" } else { b"in_progress" };
        let (head, tail) = match self {
            Self::Text(text) => {
                let content = if done { part(text) } else { Vec::new() };
                let head = br#"{"type":"message","role":"assistant","id":"#.to_vec();
                (head, [br#","content":["#.as_slice(), &content, b"]}"].concat())
            }
            Self::Call(call) => {
                let arguments = if done { call.arguments.as_slice() } else { b"" };
                let tail = [
                    br#","call_id":"#.as_slice(),
                    &json_literal(call.id.as_bytes()),
                    br#","name":"#,
                    &json_literal(&call.name),
                    br#","arguments":"#,
                    &json_literal(arguments),
                    b"}",
                ];
                (br#"{"type":"function_call","id":"#.to_vec(), tail.concat())
            }
        };
        [&head, &self.id(index), br#","status":""#.as_slice(), status, b"\"", &tail].concat()
    }

    /// The item as a stream tells it: begun, in a piece, done.
    fn told(&self, index: usize, events: &mut Events) {
        let at = format!("\"output_index\":{index},");
        let item = |done: bool| [at.as_bytes(), b"\"item\":", &self.whole(index, done)].concat();
        let place = [at.as_bytes(), b"\"item_id\":", &self.id(index), b","].concat();
        events.add("response.output_item.added", &[&item(false)]);
        match self {
            Self::Text(text) => {
                let place = [place.as_slice(), b"\"content_index\":0,"].concat();
                let literal = json_literal(text);
                let kept: &[u8] = b",\"logprobs\":[]";
                let opened = part(b"");
                events.add("response.content_part.added", &[&place, b"\"part\":", &opened]);
                let delta = [place.as_slice(), b"\"delta\":", &literal, kept].concat();
                events.add("response.output_text.delta", &[&delta]);
                let said = [place.as_slice(), b"\"text\":", &literal, kept].concat();
                events.add("response.output_text.done", &[&said]);
                events.add("response.content_part.done", &[&place, b"\"part\":", &part(text)]);
            }
            Self::Call(call) => {
                let literal = json_literal(&call.arguments);
                let delta = [place.as_slice(), b"\"delta\":", &literal].concat();
                events.add("response.function_call_arguments.delta", &[&delta]);
                let name = json_literal(&call.name);
                let said =
                    [place.as_slice(), b"\"name\":", &name, b",\"arguments\":", &literal].concat();
                events.add("response.function_call_arguments.done", &[&said]);
            }
        }
        events.add("response.output_item.done", &[&item(true)]);
    }
}

fn part(text: &[u8]) -> Vec<u8> {
    let head = br#"{"type":"output_text","annotations":[],"text":"#;
    [head.as_slice(), &json_literal(text), b"}"].concat()
}

fn response(items: &[Vec<u8>], status: &str) -> Vec<u8> {
    let cut = if status == "incomplete" { r#"{"reason":"max_output_tokens"}"# } else { "null" };
    let head = format!(
        r#"{{"id":"resp_1","object":"response","created_at":1700000000,"model":"hostile","status":"{status}","parallel_tool_calls":true,"tool_choice":"auto","tools":[],"temperature":1,"top_p":1,"error":null,"incomplete_details":{cut},"instructions":null,"metadata":{{}},"output":["#
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
