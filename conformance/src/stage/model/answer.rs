//! What the hostile model can say. Payloads are spliced as bytes, so that an answer can be malformed
//! exactly as a case asks. Knows no server and no protocol.

use std::time::Duration;

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
    /// Tool calls of an answer that says of itself that it was cut off.
    Unfinished(Vec<ToolCall>),
    /// Another answer, its body sent in pieces of that many bytes.
    Pieces(usize, Box<Answer>),
    /// A streamed tool call that is broken in one way; to who asked for no stream, one that was cut
    /// off.
    Broken(Break, ToolCall),
}

/// How a streamed call is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The stream ends, politely, before it says that the answer is finished.
    NoEnd,
    /// A later piece of the call gives it another id.
    OtherId,
    /// A first piece names another tool than the later ones.
    OtherName,
    /// The call comes after the answer was said to be finished.
    AfterEnd,
}

impl Break {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NoEnd, Self::OtherId, Self::OtherName, Self::AfterEnd];
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
    /// The size of the pieces in which it is sent; as a whole without one.
    pub(super) piece: Option<usize>,
}

impl Wire {
    pub(super) fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, content_type: "application/json", body, piece: None }
    }

    pub(super) fn events(body: Vec<u8>) -> Self {
        Self { status: 200, content_type: "text/event-stream", body, piece: None }
    }
}

/// What is said, once waiting and cutting are done with.
pub(super) enum Said<'answer> {
    /// Text.
    Text(&'answer [u8]),
    /// Calls, and whether the answer says that it is finished.
    Calls(&'answer [ToolCall], bool),
    /// A broken call.
    Broken(Break, &'answer ToolCall),
}

impl Answer {
    /// How long the model waits before it begins.
    pub(super) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Stall(pause) | Self::Late(pause, _) => Some(*pause),
            Self::Pieces(_, answer) => answer.pause(),
            _ => None,
        }
    }

    /// What is said in the end; none where a body is given as it is.
    pub(super) fn said(&self) -> Option<Said<'_>> {
        Some(match self {
            Self::Verbatim { .. } => return None,
            Self::Late(_, answer) | Self::Pieces(_, answer) => return answer.said(),
            Self::Text(text) => Said::Text(text),
            Self::Stall(_) => Said::Text(DEFAULT_TEXT.as_bytes()),
            Self::Calls(calls) => Said::Calls(calls, true),
            Self::Unfinished(calls) => Said::Calls(calls, false),
            Self::Broken(how, call) => Said::Broken(*how, call),
        })
    }
}

/// The two halves of bytes.
pub(super) fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len() / 2)
}

#[cfg(test)]
mod tests {
    use super::super::dialect::Dialect;
    use super::*;

    fn call() -> ToolCall {
        ToolCall::new("read", r#"{"path":"a\"b"}"#)
    }

    #[test]
    fn answers_are_json_where_their_payload_is_text() {
        for dialect in [Dialect::ChatCompletions, Dialect::Messages] {
            for answer in [
                Answer::default(),
                Answer::Text("\u{0}\"\n".into()),
                Answer::Calls(vec![call()]),
                Answer::Broken(Break::NoEnd, call()),
            ] {
                let wire = dialect.wire(&answer, false);
                serde_json::from_slice::<serde_json::Value>(&wire.body).unwrap();
            }
        }
    }

    #[test]
    fn every_event_of_a_stream_is_json() {
        let broken = Break::ALL.map(|how| Answer::Broken(how, call()));
        let plain = [Answer::default(), Answer::Calls(vec![call(), call()])];
        for answer in plain.into_iter().chain(broken) {
            for dialect in [Dialect::ChatCompletions, Dialect::Messages] {
                let body = String::from_utf8(dialect.wire(&answer, true).body).unwrap();
                let mut events = 0;
                for line in body.lines().filter_map(|line| line.strip_prefix("data: {")) {
                    let event = format!("{{{line}");
                    serde_json::from_str::<serde_json::Value>(&event).unwrap();
                    events += 1;
                }
                assert!(events >= 2, "{body}");
            }
        }
    }

    #[test]
    fn arguments_travel_as_a_string_of_their_exact_bytes() {
        let calls = vec![ToolCall::new("x", "{\"a\":1} trailing")];
        let wire = Dialect::ChatCompletions.wire(&Answer::Calls(calls), false);
        let json: serde_json::Value = serde_json::from_slice(&wire.body).unwrap();
        let arguments = json.pointer("/choices/0/message/tool_calls/0/function/arguments");
        assert_eq!(arguments.unwrap(), "{\"a\":1} trailing");
    }

    #[test]
    fn a_stream_that_ends_says_so_and_a_broken_one_does_not() {
        let ends = |answer: &Answer, dialect: Dialect| {
            let body = String::from_utf8(dialect.wire(answer, true).body).unwrap();
            body.contains("[DONE]") || body.contains("message_stop")
        };
        for dialect in [Dialect::ChatCompletions, Dialect::Messages] {
            assert!(ends(&Answer::default(), dialect));
            assert!(!ends(&Answer::Broken(Break::NoEnd, call()), dialect));
        }
    }
}
