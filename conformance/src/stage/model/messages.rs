//! Anthropic messages: the bytes of an answer. Knows no script.

use serde_json::{Value, json};

use crate::target::template::json_literal;

use super::answer::{Break, Said, ToolCall, halves};

/// The request in the shape of chat completions: results of tools are of the role `tool`, which
/// this protocol lets the user say.
pub(super) fn normalise(request: &Value) -> Value {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut messages = Vec::new();
    for message in list(request.get("messages")) {
        let role = message.get("role").cloned().unwrap_or(Value::Null);
        let Some(Value::Array(blocks)) = message.get("content") else {
            messages.push(message);
            continue;
        };
        let mut text = Vec::new();
        for block in blocks {
            match block.get("type").and_then(Value::as_str) {
                Some("tool_result") => messages.push(json!({
                    "role": "tool",
                    "tool_call_id": block.get("tool_use_id"),
                    "content": block.get("content"),
                })),
                Some("text") => text.push(block.clone()),
                _ => {}
            }
        }
        if !text.is_empty() {
            messages.push(json!({ "role": role, "content": text }));
        }
    }
    let tools: Vec<Value> = list(request.get("tools"))
        .iter()
        .filter_map(|tool| Some(json!({ "function": { "name": tool.get("name")? } })))
        .collect();
    json!({ "messages": messages, "tools": tools })
}

pub(super) fn whole(said: &Said<'_>) -> Vec<u8> {
    let (content, reason) = match said {
        Said::Text(text) => (block_of_text(text), "end_turn"),
        Said::Calls(calls, finished) => {
            let calls: Vec<Vec<u8>> = calls.iter().map(|call| use_of(call, true)).collect();
            (calls.join(b",".as_slice()), stop(*finished))
        }
        Said::Broken(_, call) => (use_of(call, true), "max_tokens"),
    };
    [
        br#"{"id":"msg_1","type":"message","role":"assistant","model":"hostile","content":["#
            .as_slice(),
        &content,
        format!(r#"],"stop_reason":"{reason}","stop_sequence":null,"usage":{{"input_tokens":1,"output_tokens":1}}}}"#)
            .as_bytes(),
    ]
    .concat()
}

pub(super) fn stream(said: &Said<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    event(
        &mut out,
        "message_start",
        br#""message":{"id":"msg_1","type":"message","role":"assistant","model":"hostile","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}"#,
    );
    match said {
        Said::Text(text) => {
            start(&mut out, 0, &block_of_text(b""));
            let literal = json_literal(text);
            let delta = [br#"{"type":"text_delta","text":"#.as_slice(), &literal, b"}"].concat();
            more(&mut out, 0, &delta);
            end(&mut out, 0);
            finish(&mut out, "end_turn");
        }
        Said::Calls(calls, finished) => {
            for (index, call) in calls.iter().enumerate() {
                start(&mut out, index, &use_of(call, false));
                input(&mut out, index, &call.arguments);
                end(&mut out, index);
            }
            finish(&mut out, stop(*finished));
        }
        Said::Broken(how, call) => {
            let other = ToolCall { name: b"harmless".to_vec(), ..(*call).clone() };
            match how {
                Break::NoEnd => {
                    start(&mut out, 0, &use_of(call, false));
                    input(&mut out, 0, &call.arguments);
                    end(&mut out, 0);
                    return out;
                }
                // The block begins twice.
                Break::OtherId | Break::OtherName => {
                    start(&mut out, 0, &use_of(&other, false));
                    start(&mut out, 0, &use_of(call, false));
                    input(&mut out, 0, &call.arguments);
                    end(&mut out, 0);
                    finish(&mut out, "tool_use");
                }
                Break::AfterEnd => {
                    reason(&mut out, "tool_use");
                    start(&mut out, 0, &use_of(call, false));
                    input(&mut out, 0, &call.arguments);
                    end(&mut out, 0);
                    event(&mut out, "message_stop", b"");
                }
            }
        }
    }
    out
}

fn stop(finished: bool) -> &'static str {
    if finished { "tool_use" } else { "max_tokens" }
}

fn finish(out: &mut Vec<u8>, word: &str) {
    reason(out, word);
    event(out, "message_stop", b"");
}

fn reason(out: &mut Vec<u8>, word: &str) {
    let rest = format!(
        r#""delta":{{"stop_reason":"{word}","stop_sequence":null}},"usage":{{"output_tokens":1}}"#
    );
    event(out, "message_delta", rest.as_bytes());
}

fn start(out: &mut Vec<u8>, index: usize, block: &[u8]) {
    let head = format!(r#""index":{index},"content_block":"#);
    event(out, "content_block_start", &[head.as_bytes(), block].concat());
}

fn more(out: &mut Vec<u8>, index: usize, delta: &[u8]) {
    let head = format!(r#""index":{index},"delta":"#);
    event(out, "content_block_delta", &[head.as_bytes(), delta].concat());
}

/// The arguments in two deltas.
fn input(out: &mut Vec<u8>, index: usize, arguments: &[u8]) {
    let (head, tail) = halves(arguments);
    for part in [head, tail] {
        let literal = json_literal(part);
        let delta =
            [br#"{"type":"input_json_delta","partial_json":"#.as_slice(), &literal, b"}"].concat();
        more(out, index, &delta);
    }
}

fn end(out: &mut Vec<u8>, index: usize) {
    event(out, "content_block_stop", format!(r#""index":{index}"#).as_bytes());
}

fn event(out: &mut Vec<u8>, kind: &str, rest: &[u8]) {
    let comma = if rest.is_empty() { "" } else { "," };
    out.extend(format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{comma}").bytes());
    out.extend(rest);
    out.extend(b"}\n\n");
}

fn block_of_text(text: &[u8]) -> Vec<u8> {
    [br#"{"type":"text","text":"#.as_slice(), &json_literal(text), b"}"].concat()
}

/// A call as a block. Whole, its input is the raw text of the arguments, which need not be JSON.
fn use_of(call: &ToolCall, whole: bool) -> Vec<u8> {
    let input: &[u8] = if whole { &call.arguments } else { b"{}" };
    [
        br#"{"type":"tool_use","id":"#.as_slice(),
        &json_literal(call.id.as_bytes()),
        br#","name":"#,
        &json_literal(&call.name),
        br#","input":"#,
        input,
        b"}",
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_messages() {
        let request = json!({
            "messages": [
                { "role": "user", "content": [{ "type": "text", "text": "go" }] },
                { "role": "assistant", "content": [{ "type": "tool_use", "id": "a" }] },
                { "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "a", "content": "done" },
                    { "type": "text", "text": "on" },
                ] },
            ],
            "tools": [{ "name": "exec" }],
        });
        let seen = normalise(&request);
        let roles: Vec<_> =
            seen["messages"].as_array().unwrap().iter().map(|it| &it["role"]).collect();
        assert_eq!(roles, ["user", "tool", "user"]);
        assert_eq!(seen["messages"][1]["content"], "done");
        assert_eq!(seen["tools"][0]["function"]["name"], "exec");
    }
}
