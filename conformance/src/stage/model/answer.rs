//! What the hostile model can say, and its bytes on the wire. Payloads are spliced as bytes, so
//! that an answer can be malformed exactly as a case asks. Knows no server.

use std::time::Duration;

use crate::target::template::json_literal;

use super::DEFAULT_TEXT;

/// A tool call in the model's words.
#[derive(Clone, Debug, Default)]
pub struct ToolCall {
    /// The call id.
    pub id: String,
    /// The tool's name; escaped as JSON where it is valid UTF-8.
    pub name: Vec<u8>,
    /// The raw text of the arguments: it need not be JSON.
    pub arguments: Vec<u8>,
}

impl ToolCall {
    /// A call with a fresh random id.
    #[must_use]
    pub fn new(name: impl Into<Vec<u8>>, arguments: impl Into<Vec<u8>>) -> Self {
        let id = format!("call_{}", crate::target::world::random_hex(8));
        Self { id, name: name.into(), arguments: arguments.into() }
    }
}

/// One answer of the model.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Plain text.
    Text(Vec<u8>),
    /// Tool calls, in order.
    Calls(Vec<ToolCall>),
    /// Any status and body, for malformed answers.
    Verbatim {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: Vec<u8>,
    },
    /// Nothing for that long, then the default text.
    Stall(Duration),
    /// Nothing for that long, then another answer.
    Late(Duration, Box<Answer>),
    /// Tool calls of an answer that says of itself that it was cut off (`finish_reason: length`).
    Unfinished(Vec<ToolCall>),
}

impl Default for Answer {
    fn default() -> Self {
        Self::Text(DEFAULT_TEXT.into())
    }
}

/// An answer's form on the wire.
pub(super) struct Wire {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

impl Wire {
    pub(super) fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, content_type: "application/json", body }
    }
}

impl Answer {
    pub(super) fn wire(&self, stream: bool) -> Wire {
        let (message, finish) = match self {
            Self::Verbatim { status, body } => return Wire::json(*status, body.clone()),
            Self::Text(text) => (content(&json_literal(text)), "stop"),
            Self::Stall(_) => (content(&json_literal(DEFAULT_TEXT.as_bytes())), "stop"),
            Self::Late(_, answer) => return answer.wire(stream),
            Self::Calls(calls) => (tool_calls(calls), "tool_calls"),
            Self::Unfinished(calls) => (tool_calls(calls), "length"),
        };
        if stream {
            let body = [
                b"data: ".as_slice(),
                &envelope("chat.completion.chunk", "delta", &message, None),
                b"\n\ndata: ",
                &envelope("chat.completion.chunk", "delta", b"{}", Some(finish)),
                b"\n\ndata: [DONE]\n\n",
            ]
            .concat();
            return Wire { status: 200, content_type: "text/event-stream", body };
        }
        let body = envelope("chat.completion", "message", &message, Some(finish));
        Wire::json(200, body)
    }
}

fn content(literal: &[u8]) -> Vec<u8> {
    [br#"{"role":"assistant","content":"#.as_slice(), literal, b"}"].concat()
}

fn tool_calls(calls: &[ToolCall]) -> Vec<u8> {
    let mut out = br#"{"role":"assistant","content":null,"tool_calls":["#.to_vec();
    for (index, call) in calls.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend(format!(r#"{{"index":{index},"id":"#).bytes());
        out.extend(json_literal(call.id.as_bytes()));
        out.extend(br#","type":"function","function":{"name":"#);
        out.extend(json_literal(&call.name));
        out.extend(br#","arguments":"#);
        out.extend(json_literal(&call.arguments));
        out.extend(b"}}");
    }
    out.extend(b"]}");
    out
}

fn envelope(object: &str, part: &str, message: &[u8], finish: Option<&str>) -> Vec<u8> {
    let finish = finish.map_or_else(|| "null".to_owned(), |word| format!("\"{word}\""));
    let head = format!(
        r#"{{"id":"chatcmpl-1","object":"{object}","created":1700000000,"model":"hostile","choices":[{{"index":0,"{part}":"#
    );
    let tail = format!(
        r#","finish_reason":{finish}}}],"usage":{{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}}}"#
    );
    [head.as_bytes(), message, tail.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_json_where_their_payload_is_text() {
        let calls = Answer::Calls(vec![ToolCall::new("read", r#"{"path":"a\"b"}"#)]);
        for answer in [Answer::default(), Answer::Text("\u{0}\"\n".into()), calls] {
            let wire = answer.wire(false);
            let json: serde_json::Value = serde_json::from_slice(&wire.body).unwrap();
            assert!(json.pointer("/choices/0/message/role").is_some());
        }
    }

    #[test]
    fn arguments_travel_as_a_string_of_their_exact_bytes() {
        let wire = Answer::Calls(vec![ToolCall::new("x", "{\"a\":1} trailing")]).wire(false);
        let json: serde_json::Value = serde_json::from_slice(&wire.body).unwrap();
        let arguments = json.pointer("/choices/0/message/tool_calls/0/function/arguments");
        assert_eq!(arguments.unwrap(), "{\"a\":1} trailing");
    }

    #[test]
    fn a_streamed_answer_ends_with_done() {
        let body = String::from_utf8(Answer::default().wire(true).body).unwrap();
        for line in body.lines().filter_map(|line| line.strip_prefix("data: {")) {
            serde_json::from_str::<serde_json::Value>(&format!("{{{line}")).unwrap();
        }
        assert!(body.ends_with("data: [DONE]\n\n"));
    }
}
