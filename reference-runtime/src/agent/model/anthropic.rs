//! Anthropic messages, whole or as a stream. It must never show a word of an answer that the
//! boundary has not seen, nor run anything that an answer asks for.

use std::collections::BTreeMap;

use reqwest::header::HeaderName;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::{Answering, Server, unavailable};
use super::{Answer, CALLS, DEFAULT_NAME, SYSTEM, Sink};
use crate::agent::history::{Entry, ProposedCall, shown};
use crate::audit::Rejection;
use crate::boundary::{Limits, json as boundary_json};
use crate::config;
use crate::registry::Listing;
use crate::vault::ApiKey;

/// The client for one base URL.
pub struct Anthropic {
    server: Server,
    name: String,
    stream: bool,
    max_tokens: u32,
}

impl Anthropic {
    pub(super) fn new(config: &config::Model, key: Option<&ApiKey>) -> Result<Self, Rejection> {
        let server = Server::new(config, "messages")?.with(&[("anthropic-version", "2023-06-01")]);
        let server = server.key(HeaderName::from_static("x-api-key"), "", key)?;
        let name = config.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        Ok(Self { server, name, stream: config.stream, max_tokens: config.max_tokens })
    }

    pub(super) async fn answer(
        &self,
        history: &[Entry],
        tools: &[Listing],
        limits: &Limits,
        sink: Sink<'_>,
    ) -> Result<Answer, Rejection> {
        let mut answering = self.server.ask(&self.request(history, tools), limits).await?;
        if !answering.streamed() {
            return read(&answering.whole().await?, limits);
        }
        listen(&mut answering, limits, sink).await
    }

    fn request(&self, history: &[Entry], tools: &[Listing]) -> Value {
        let tools = tools.iter().map(|tool| {
            json!({
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.parameters,
            })
        });
        json!({
            "model": self.name,
            "max_tokens": self.max_tokens,
            "system": SYSTEM,
            "messages": messages(history),
            "tools": tools.collect::<Value>(),
            "stream": self.stream,
        })
    }
}

/// The history in the words of the protocol: results of tools stand in one message of the user,
/// and a message without content is left out.
fn messages(history: &[Entry]) -> Vec<Value> {
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::new();
    for entry in history {
        let (role, blocks) = match entry {
            Entry::User { text, attachments } => ("user", vec![said(&shown(text, attachments))]),
            Entry::Assistant { text, calls } => {
                let calls = calls.iter().map(|call| {
                    json!({
                        "type": "tool_use", "id": call.id, "name": call.name,
                        "input": object(&call.arguments),
                    })
                });
                let text = (!text.is_empty()).then(|| said(text));
                ("assistant", text.into_iter().chain(calls).collect())
            }
            Entry::Tool { call, text } => {
                let block = json!({ "type": "tool_result", "tool_use_id": call, "content": text });
                ("user", vec![block])
            }
        };
        match messages.last_mut() {
            Some((last, all)) if *last == role => all.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => messages.push((role, blocks)),
        }
    }
    let message = |(role, content)| json!({ "role": role, "content": content });
    messages.into_iter().map(message).collect()
}

fn said(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

/// The arguments of a call that was proposed before; what was no object was refused then.
fn object(arguments: &str) -> Value {
    serde_json::from_str(arguments).ok().filter(Value::is_object).unwrap_or_else(|| json!({}))
}

#[derive(Deserialize)]
struct Message {
    content: Vec<Kind>,
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Kind {
    Text {
        #[serde(default)]
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
    },
    /// Thoughts and whatever else is neither shown nor run.
    #[serde(other)]
    Other,
}

/// The same document once more, for the raw text of the arguments.
#[derive(Deserialize)]
struct Inputs<'body> {
    #[serde(borrow)]
    content: Vec<Input<'body>>,
}

#[derive(Deserialize)]
struct Input<'body> {
    #[serde(borrow)]
    input: Option<&'body RawValue>,
}

/// Reads the body of an answer, after the boundary did.
fn read(bytes: &[u8], limits: &Limits) -> Result<Answer, Rejection> {
    let document = boundary_json::Document::read(bytes, limits)?;
    let message: Message = document.parse()?.into_inner();
    let inputs: Inputs<'_> = document.parse()?.into_inner();
    let mut answer =
        Answer { cut: !message.stop_reason.as_deref().is_some_and(finished), ..Answer::default() };
    for (kind, input) in message.content.into_iter().zip(inputs.content) {
        match kind {
            Kind::Text { text } => answer.text.push_str(&text),
            Kind::ToolUse { id, name } => {
                let arguments = input.input.map_or_else(String::new, |raw| raw.get().to_owned());
                answer.calls.push(ProposedCall { id, name, arguments });
            }
            Kind::Other => {}
        }
    }
    Ok(answer)
}

fn finished(reason: &str) -> bool {
    matches!(reason, "end_turn" | "tool_use" | "stop_sequence")
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    ContentBlockStart {
        index: u32,
        content_block: Kind,
    },
    ContentBlockDelta {
        index: u32,
        delta: Delta,
    },
    ContentBlockStop {
        index: u32,
    },
    MessageDelta {
        delta: Ending,
    },
    MessageStop,
    Error,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Ending {
    stop_reason: Option<String>,
}

/// Takes a stream to its end. What the stream does not say to be finished is cut.
async fn listen(
    answering: &mut Answering,
    limits: &Limits,
    sink: Sink<'_>,
) -> Result<Answer, Rejection> {
    let mut assembly = Assembly::default();
    while let Some(data) = answering.event().await? {
        let event: Event = boundary_json::parse(&data, limits)?.into_inner();
        if !assembly.take(event, sink)? {
            break;
        }
    }
    Ok(assembly.done())
}

/// An answer that is being put together.
#[derive(Default)]
struct Assembly {
    text: String,
    calls: BTreeMap<u32, Open>,
    reason: Option<String>,
    stopped: bool,
    /// Something came that makes no sense: none of its calls counts.
    broken: bool,
}

struct Open {
    call: ProposedCall,
    closed: bool,
}

impl Assembly {
    /// Takes one event; `false` after the last.
    fn take(&mut self, event: Event, sink: Sink<'_>) -> Result<bool, Rejection> {
        match event {
            Event::ContentBlockStart { index, content_block } => {
                self.broken |= self.reason.is_some();
                match content_block {
                    Kind::Text { text } => self.say(&text, sink),
                    Kind::ToolUse { id, name } => self.begin(index, id, name)?,
                    Kind::Other => {}
                }
            }
            Event::ContentBlockDelta { index, delta } => {
                self.broken |= self.reason.is_some();
                match delta {
                    Delta::Text { text } => self.say(&text, sink),
                    Delta::Input { partial_json } => match self.calls.get_mut(&index) {
                        Some(open) if !open.closed => open.call.arguments.push_str(&partial_json),
                        _ => self.broken = true,
                    },
                    Delta::Other => {}
                }
            }
            Event::ContentBlockStop { index } => {
                if let Some(open) = self.calls.get_mut(&index) {
                    open.closed = true;
                }
            }
            Event::MessageDelta { delta } => {
                if let Some(reason) = delta.stop_reason {
                    self.broken |= self.reason.as_ref().is_some_and(|known| *known != reason);
                    self.reason = Some(reason);
                }
            }
            Event::MessageStop => {
                self.stopped = true;
                return Ok(false);
            }
            Event::Error => return Err(unavailable("the model broke off with an error")),
            Event::Other => {}
        }
        Ok(true)
    }

    fn say(&mut self, text: &str, sink: Sink<'_>) {
        if !text.is_empty() {
            sink(text);
            self.text.push_str(text);
        }
    }

    /// A call begins; an index begins once.
    fn begin(&mut self, index: u32, id: String, name: String) -> Result<(), Rejection> {
        if self.calls.len() >= CALLS {
            return Err(unavailable("the model proposes too many calls at once"));
        }
        let call = ProposedCall { id, name, arguments: String::new() };
        let doubled = self.calls.insert(index, Open { call, closed: false }).is_some();
        self.broken |= doubled;
        Ok(())
    }

    fn done(self) -> Answer {
        let open = self.calls.values().any(|open| !open.closed);
        let finished = self.stopped && self.reason.as_deref().is_some_and(finished);
        let calls = self.calls.into_values().map(|open| {
            let mut call = open.call;
            if call.arguments.is_empty() {
                call.arguments.push_str("{}"); // The protocol's way to call without arguments.
            }
            call
        });
        Answer { text: self.text, calls: calls.collect(), cut: self.broken || open || !finished }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_is_read_with_the_exact_text_of_its_arguments() {
        let body = |reason: &str| {
            format!(
                r#"{{"id":"m","type":"message","role":"assistant","stop_reason":{reason},"content":[
                {{"type":"thinking","thinking":"hm"}},{{"type":"text","text":"so"}},
                {{"type":"tool_use","id":"a","name":"exec","input":{{"argv": ["id"]}}}}]}}"#
            )
        };
        let answer = read(body("\"tool_use\"").as_bytes(), &Limits::default()).unwrap();
        assert_eq!((answer.text.as_str(), answer.cut), ("so", false));
        assert_eq!(answer.calls[0].arguments, r#"{"argv": ["id"]}"#);
        for reason in ["null", "\"max_tokens\"", "\"refusal\""] {
            assert!(read(body(reason).as_bytes(), &Limits::default()).unwrap().cut);
        }
        for body in ["", "{}", "[]", r#"{"content":[{"type":"tool_use"}]}"#] {
            assert!(read(body.as_bytes(), &Limits::default()).is_err(), "{body}");
        }
    }

    #[test]
    fn results_of_tools_stand_in_one_message_of_the_user() {
        let call = |id: &str| ProposedCall {
            id: id.into(),
            name: "exec".into(),
            arguments: "{\"a\":1}".into(),
        };
        let history = [
            Entry::user("go"),
            Entry::Assistant { text: String::new(), calls: vec![call("a"), call("b")] },
            Entry::Tool { call: "a".into(), text: "one".into() },
            Entry::Tool { call: "b".into(), text: "two".into() },
            Entry::Assistant { text: String::new(), calls: Vec::new() },
            Entry::user("again"),
        ];
        let messages = messages(&history);
        let shape: Vec<_> = messages
            .iter()
            .map(|it| (it["role"].as_str().unwrap(), it["content"].as_array().unwrap().len()))
            .collect();
        assert_eq!(shape, [("user", 1), ("assistant", 2), ("user", 3)]);
        assert_eq!(messages[1]["content"][0]["input"], json!({ "a": 1 }));
    }

    fn assembled(events: &[Value]) -> Answer {
        let mut assembly = Assembly::default();
        for event in events {
            let event = serde_json::from_value(event.clone()).unwrap();
            if !assembly.take(event, &mut |_| ()).unwrap() {
                break;
            }
        }
        assembly.done()
    }

    fn start(index: u32, id: &str) -> Value {
        json!({ "type": "content_block_start", "index": index,
            "content_block": { "type": "tool_use", "id": id, "name": "exec", "input": {} } })
    }

    fn more(index: u32, json: &str) -> Value {
        json!({ "type": "content_block_delta", "index": index,
            "delta": { "type": "input_json_delta", "partial_json": json } })
    }

    fn stop(index: u32) -> Value {
        json!({ "type": "content_block_stop", "index": index })
    }

    fn end(reason: &str) -> Value {
        json!({ "type": "message_delta", "delta": { "stop_reason": reason } })
    }

    fn last() -> Value {
        json!({ "type": "message_stop" })
    }

    #[test]
    fn a_stream_is_put_together() {
        let text = json!({ "type": "content_block_delta", "index": 0,
            "delta": { "type": "text_delta", "text": "so" } });
        let answer = assembled(&[
            json!({ "type": "message_start", "message": {} }),
            json!({ "type": "ping" }),
            text,
            start(1, "a"),
            more(1, "{\"argv\":"),
            more(1, "[]}"),
            stop(1),
            end("tool_use"),
            last(),
        ]);
        assert_eq!((answer.text.as_str(), answer.cut), ("so", false));
        assert_eq!(answer.calls[0].arguments, "{\"argv\":[]}");
    }

    #[test]
    fn a_stream_that_breaks_off_or_contradicts_itself_is_cut() {
        for events in [
            vec![start(0, "a"), stop(0), end("tool_use")],
            vec![start(0, "a"), end("tool_use"), last()],
            vec![start(0, "a"), stop(0), last()],
            vec![start(0, "a"), stop(0), end("max_tokens"), last()],
            vec![start(0, "a"), stop(0), start(0, "b"), stop(0), end("tool_use"), last()],
            vec![start(0, "a"), stop(0), more(0, "{}"), end("tool_use"), last()],
            vec![start(0, "a"), stop(0), more(7, "{}"), end("tool_use"), last()],
            vec![end("tool_use"), start(0, "a"), stop(0), last()],
        ] {
            assert!(assembled(&events).cut, "{events:?}");
        }
    }
}
