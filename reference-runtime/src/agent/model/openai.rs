//! OpenAI chat completions, whole or as a stream. It must never show a word of an answer that the
//! boundary has not seen, nor run anything that an answer asks for.

use std::collections::BTreeMap;

use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
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
pub struct OpenAi {
    server: Server,
    name: String,
    stream: bool,
}

impl OpenAi {
    pub(super) fn new(config: &config::Model, key: Option<&ApiKey>) -> Result<Self, Rejection> {
        let server = Server::new(config, "chat/completions")?;
        let name = config.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let server = server.key(AUTHORIZATION, "Bearer ", key)?;
        Ok(Self { server, name, stream: config.stream })
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
        let mut messages = vec![json!({ "role": "system", "content": SYSTEM })];
        messages.extend(history.iter().map(message));
        let mut request = json!({ "model": self.name, "messages": messages });
        let Some(members) = request.as_object_mut() else { return request };
        if !tools.is_empty() {
            let tools = tools.iter().map(|tool| {
                json!({ "type": "function", "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                }})
            });
            members.insert("tools".to_owned(), tools.collect());
        }
        if self.stream {
            members.insert("stream".to_owned(), true.into());
        }
        request
    }
}

/// One entry in the words of the protocol.
fn message(entry: &Entry) -> Value {
    match entry {
        Entry::User { text, attachments } => {
            json!({ "role": "user", "content": shown(text, attachments) })
        }
        Entry::Assistant { text, calls } if calls.is_empty() => {
            json!({ "role": "assistant", "content": text })
        }
        Entry::Assistant { text, calls } => {
            let calls = calls.iter().map(|call| {
                json!({ "id": call.id, "type": "function", "function": {
                    "name": call.name,
                    "arguments": call.arguments,
                }})
            });
            json!({ "role": "assistant", "content": text, "tool_calls": calls.collect::<Value>() })
        }
        Entry::Tool { call, text } => {
            json!({ "role": "tool", "tool_call_id": call, "content": text })
        }
    }
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    id: String,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: String,
}

/// Reads the body of an answer, after the boundary did.
fn read(bytes: &[u8], limits: &Limits) -> Result<Answer, Rejection> {
    let completion: Completion = boundary_json::parse(bytes, limits)?.into_inner();
    let choice = completion
        .choices
        .into_iter()
        .next()
        .ok_or_else(|| unavailable("the model answered without a choice"))?;
    let calls = choice.message.tool_calls.unwrap_or_default().into_iter();
    Ok(Answer {
        text: choice.message.content.unwrap_or_default(),
        calls: calls
            .map(|Call { id, function }| ProposedCall {
                id,
                name: function.name,
                arguments: function.arguments,
            })
            .collect(),
        cut: !choice.finish_reason.as_deref().is_some_and(finished),
    })
}

fn finished(reason: &str) -> bool {
    matches!(reason, "stop" | "tool_calls" | "function_call")
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    tool_calls: Option<Vec<CallPart>>,
}

#[derive(Deserialize)]
struct CallPart {
    #[serde(default)]
    index: u32,
    id: Option<String>,
    function: Option<FunctionPart>,
}

#[derive(Deserialize)]
struct FunctionPart {
    name: Option<String>,
    arguments: Option<String>,
}

/// Takes a stream to its end. What the stream does not say to be finished is cut.
async fn listen(
    answering: &mut Answering,
    limits: &Limits,
    sink: Sink<'_>,
) -> Result<Answer, Rejection> {
    let mut assembly = Assembly::default();
    while let Some(data) = answering.event().await? {
        if data == b"[DONE]" {
            break;
        }
        let chunk: Chunk = boundary_json::parse(&data, limits)?.into_inner();
        // Other choices than the first were not asked for.
        for part in chunk.choices.into_iter().filter(|part| part.index == 0) {
            assembly.take(part, sink)?;
        }
    }
    Ok(assembly.done())
}

/// An answer that is being put together.
#[derive(Default)]
struct Assembly {
    text: String,
    calls: BTreeMap<u32, ProposedCall>,
    reason: Option<String>,
    /// Something came that makes no sense: none of its calls counts.
    broken: bool,
}

impl Assembly {
    fn take(&mut self, part: Part, sink: Sink<'_>) -> Result<(), Rejection> {
        if let Some(text) = part.delta.content.filter(|text| !text.is_empty()) {
            self.broken |= self.reason.is_some();
            sink(&text);
            self.text.push_str(&text);
        }
        for piece in part.delta.tool_calls.unwrap_or_default() {
            self.broken |= self.reason.is_some();
            self.call(piece)?;
        }
        if let Some(reason) = part.finish_reason {
            self.broken |= self.reason.as_ref().is_some_and(|known| *known != reason);
            self.reason = Some(reason);
        }
        Ok(())
    }

    /// A piece of a call: the first of its index names it, the others may not name another.
    fn call(&mut self, piece: CallPart) -> Result<(), Rejection> {
        if !self.calls.contains_key(&piece.index) && self.calls.len() >= CALLS {
            return Err(unavailable("the model proposes too many calls at once"));
        }
        let known = self.calls.contains_key(&piece.index);
        let call = self.calls.entry(piece.index).or_insert_with(|| ProposedCall {
            id: String::new(),
            name: String::new(),
            arguments: String::new(),
        });
        let (name, arguments) =
            piece.function.map_or((None, None), |function| (function.name, function.arguments));
        let mut broken = false;
        for (slot, given) in [(&mut call.id, piece.id), (&mut call.name, name)] {
            let Some(given) = given.filter(|given| !given.is_empty()) else { continue };
            if known && *slot != given {
                broken = true;
            }
            *slot = given;
        }
        call.arguments.push_str(&arguments.unwrap_or_default());
        self.broken |= broken;
        Ok(())
    }

    fn done(self) -> Answer {
        let finished = self.reason.as_deref().is_some_and(finished);
        let calls = self.calls.into_values().collect();
        Answer { text: self.text, calls, cut: self.broken || !finished }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_did_not_finish_is_cut() {
        let answer = |finish: &str| {
            let body = format!(
                r#"{{"id":"x","choices":[{{"index":0,"finish_reason":{finish},"message":{{"role":"assistant",
                "content":null,"tool_calls":[{{"id":"a","type":"function","function":{{"name":"exec","arguments":"{{}}"}}}}]}}}}]}}"#
            );
            read(body.as_bytes(), &Limits::default()).unwrap()
        };
        assert!(!answer("\"tool_calls\"").cut);
        assert!(answer("\"length\"").cut);
        assert!(answer("null").cut);
        assert_eq!(answer("\"stop\"").calls[0].name, "exec");
    }

    #[test]
    fn an_answer_that_the_boundary_refuses_is_no_answer() {
        for body in ["", "{}", "[]", r#"{"choices":[]}"#, r#"{"choices":[{"message":{}}"#] {
            assert!(read(body.as_bytes(), &Limits::default()).is_err(), "{body}");
        }
    }

    fn assembled(parts: &[Value]) -> Answer {
        let mut assembly = Assembly::default();
        for part in parts {
            assembly.take(serde_json::from_value(part.clone()).unwrap(), &mut |_| ()).unwrap();
        }
        assembly.done()
    }

    fn piece(index: u32, id: &str, name: &str, arguments: &str) -> Value {
        json!({ "delta": { "tool_calls": [{ "index": index, "id": id,
            "function": { "name": name, "arguments": arguments } }] } })
    }

    fn end(reason: &str) -> Value {
        json!({ "delta": {}, "finish_reason": reason })
    }

    #[test]
    fn the_pieces_of_calls_are_joined_by_their_index() {
        let answer = assembled(&[
            json!({ "delta": { "role": "assistant", "content": "so " } }),
            json!({ "delta": { "content": "be it" } }),
            piece(1, "b", "exec", ""),
            piece(0, "a", "read_file", "{\"pa"),
            piece(0, "", "", "th\":1}"),
            piece(1, "b", "exec", "{}"),
            end("tool_calls"),
        ]);
        assert_eq!(answer.text, "so be it");
        let calls: Vec<_> = answer.calls.iter().map(|it| (&*it.id, &*it.arguments)).collect();
        assert_eq!(calls, [("a", "{\"path\":1}"), ("b", "{}")]);
        assert!(!answer.cut);
    }

    #[test]
    fn a_stream_that_breaks_off_or_contradicts_itself_is_cut() {
        let whole = piece(0, "a", "exec", "{}");
        for parts in [
            vec![whole.clone()],
            vec![whole.clone(), end("length")],
            vec![whole.clone(), piece(0, "other", "", ""), end("tool_calls")],
            vec![whole.clone(), piece(0, "", "write_file", ""), end("tool_calls")],
            vec![end("stop"), whole.clone()],
            vec![whole.clone(), end("tool_calls"), piece(0, "", "", " ")],
            vec![whole, end("tool_calls"), end("length")],
        ] {
            assert!(assembled(&parts).cut, "{parts:?}");
        }
    }

    #[test]
    fn more_calls_than_are_ever_taken_up_are_no_answer() {
        let mut assembly = Assembly::default();
        let mut take = |index| {
            let part = serde_json::from_value(piece(index, "a", "exec", "{}")).unwrap();
            assembly.take(part, &mut |_| ())
        };
        for index in 0..u32::try_from(CALLS).unwrap() {
            take(index).unwrap();
        }
        assert!(take(7_000).is_err());
    }
}
