//! Hands a payload to a target at the surface that its case names, and gathers what came back.
//! It must never judge.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::corpus::payload::Role;
use crate::corpus::{Case, Surface};
use crate::driver::http::{Reply, Request, exchange};
use crate::driver::{DriverError, excerpt};
use crate::scenario::running::unfold;
use crate::scenario::tool_call::{exec_call, tool_call};
use crate::scenario::{Target, Trouble};
use crate::stage::model::{Answer, Talk, ToolCall};
use crate::target::process::contains;
use crate::target::template::{Vars, json_literal};

use super::Stand;

/// How long a raw connection may stay without an answer.
const SILENCE: Duration = Duration::from_secs(3);

/// A model's answer around an unknown member.
const ANSWER_HEAD: &[u8] = br#"{"extension":"#;
const ANSWER_TEXT: &[u8] =
    br#","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":""#;
const ANSWER_TAIL: &[u8] = br#""}}]}"#;

/// What came back of a delivery.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The request was handed to the target.
    pub(super) sent: bool,
    /// It was answered.
    pub(super) answered: bool,
    /// The model was asked in this conversation.
    pub(super) served: bool,
    /// The last user text of each request that reached the model.
    pub(super) received: Vec<String>,
    /// Tool results that reached the model.
    results: Vec<String>,
    /// The body of the answer to the user, and the text that the manifest picks of it.
    body: Vec<u8>,
    picked: Option<String>,
    /// Files that came to be where none should.
    pub(super) beside: Vec<String>,
    pub(super) evidence: Vec<String>,
}

impl Told {
    pub(super) fn silent(words: &str) -> Self {
        Self { sent: true, evidence: vec![words.to_owned()], ..Self::default() }
    }

    /// Whether a tool result holds these bytes: plain, or as JSON text inside it.
    pub(super) fn came_back(&self, bytes: &[u8]) -> bool {
        let lossy = String::from_utf8_lossy(bytes);
        self.results.iter().any(|text| text.contains(&*lossy) || unfold(text).contains(&*lossy))
    }

    /// The same, where control characters may have been taken out on the way back.
    pub(super) fn came_back_printable(&self, bytes: &[u8]) -> bool {
        let printable = |text: &str| -> String {
            text.chars()
                .filter(|it| !it.is_control() && *it != char::REPLACEMENT_CHARACTER)
                .collect()
        };
        let wanted = printable(&String::from_utf8_lossy(bytes));
        self.results.iter().any(|text| {
            printable(text).contains(&wanted) || printable(&unfold(text)).contains(&wanted)
        })
    }

    /// Whether the answer to the user holds these bytes.
    pub(super) fn replied(&self, bytes: &[u8]) -> bool {
        let lossy = String::from_utf8_lossy(bytes);
        self.picked.as_ref().is_some_and(|text| text.contains(&*lossy))
            || contains(&self.body, bytes)
    }

    /// Everything that the target gave out, with its place.
    pub(super) fn returned(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let results = self.results.iter().map(|text| ("a tool result", text.as_bytes()));
        results.chain([("the answer", self.body.as_slice())])
    }

    fn read(&mut self, target: &Target, talk: &Talk, reply: Result<Reply, DriverError>) {
        match reply {
            Ok(reply) => {
                self.answered = true;
                self.picked = target.rpc().pick("message", &reply);
                self.evidence.push(format!("answer: {}", reply.summary()));
                self.body = reply.body;
            }
            Err(error) => self.evidence.push(format!("answer: {error}")),
        }
        let exchanges = talk.exchanges();
        self.served = !exchanges.is_empty();
        self.received = exchanges.iter().filter_map(|it| it.texts("user").pop()).collect();
        self.results = talk.tool_results();
        self.evidence.push(format!("the model was asked {} times", exchanges.len()));
        for text in &self.results {
            self.evidence.push(format!("tool result: {}", excerpt(text.as_bytes(), 300)));
        }
    }
}

pub(super) async fn deliver(target: &Target, case: &Case, stand: &Stand) -> Result<Told, Trouble> {
    match case.surface {
        Surface::HttpRaw => return Ok(raw(target, stand).await),
        Surface::CredentialName => return credential(target, stand).await,
        _ => {}
    }
    let script = script(target, case, stand)?;
    let talk = target.model().expect(stand.nonce.as_str(), script.into_iter().collect());
    let mut told = Told { sent: !stand.session.is_empty(), ..Told::default() };
    let reply = if target.is_server() {
        target.rpc().send(&request(target, case, stand)?).await
    } else {
        target.message(&stand.session, &text(case, stand)?).await
    };
    if let Err(error @ DriverError::Unsupported(_)) = reply {
        return Err(error.into());
    }
    told.read(target, &talk, reply);
    Ok(told)
}

/// The user's message to a target that has no calls to be changed.
fn text(case: &Case, stand: &Stand) -> Result<Vec<u8>, Trouble> {
    match case.surface {
        Surface::MessageText if !case.raw => Ok(stand.payload.clone()),
        surface if super::on_the_wire(surface) => {
            Err(DriverError::Unsupported(format!("way to `{}`", surface.id())).into())
        }
        _ => Ok(format!("Please look into {} now.", stand.nonce).into_bytes()),
    }
}

/// Writes a whole connection. Silence and a closed connection say that nothing was taken.
async fn raw(target: &Target, stand: &Stand) -> Told {
    let talk = target.model().expect(stand.nonce.as_str(), Vec::new());
    let sent = exchange(target.address(), &stand.pieces, Duration::ZERO, SILENCE).await;
    let mut told = Told { sent: true, ..Told::default() };
    told.read(target, &talk, sent);
    told.answered = true;
    told
}

/// Stores a credential of that name and asks for the names.
async fn credential(target: &Target, stand: &Stand) -> Result<Told, Trouble> {
    let mut vars = Vars::new();
    vars.set("NAME", stand.payload.clone()).set("VALUE", stand.marker.as_str());
    let before = beside_the_store(target);
    let stored = target.rpc().send(&target.rpc().request("credentials-put", &vars)?).await;
    let mut told = Told { sent: true, answered: stored.is_ok(), ..Told::default() };
    match &stored {
        Ok(reply) => told.evidence.push(format!("stored: {}", reply.summary())),
        Err(error) => told.evidence.push(format!("stored: {error}")),
    }
    let made = beside_the_store(target).into_iter().filter(|path| !before.contains(path));
    told.beside = made.map(|path| format!("created {}", path.display())).collect();
    if stored.is_ok_and(|reply| !reply.refused()) {
        let listed = target.call("credentials-list", &[]).await?;
        told.evidence.push(format!("listed: {}", listed.summary()));
        told.results.push(String::from_utf8_lossy(&listed.body).into_owned());
        // It is gone again before the next case.
        let removed = target.rpc().request("credentials-delete", &vars);
        if let Ok(request) = removed {
            let _ = target.rpc().send(&request).await;
        }
    }
    Ok(told)
}

/// The files of the target's state but those of its store and its audit log.
fn beside_the_store(target: &Target) -> BTreeSet<PathBuf> {
    let own: Vec<PathBuf> =
        ["vault", "audit"].iter().filter_map(|it| target.file(it).ok()).collect();
    let mut found = BTreeSet::new();
    let mut pending = vec![target.world().state()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            if own.iter().any(|own| path.starts_with(own)) {
                continue;
            }
            if kind.is_ok_and(|kind| kind.is_dir()) {
                pending.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    found
}

/// The request that carries the case, or that makes the target ask its model.
fn request(target: &Target, case: &Case, stand: &Stand) -> Result<Request, Trouble> {
    let rpc = target.rpc();
    let mut vars = Vars::new();
    vars.set("SESSION", stand.session.as_str()).set("TEXT", stand.nonce.as_str());
    let request = match case.surface {
        Surface::MessageText => {
            if case.raw {
                vars.splice("TEXT", stand.payload.clone());
            } else {
                vars.set("TEXT", stand.payload.clone());
            }
            in_pieces(rpc.request("message", &vars)?, stand)
        }
        Surface::HttpJson => {
            vars.set("JSON", stand.payload.clone());
            in_pieces(rpc.request("metadata", &vars)?, stand)
        }
        Surface::HttpBody => {
            let mut request = rpc.request("message", &vars)?;
            request.pieces = vec![stand.payload.clone()];
            in_pieces(request, stand)
        }
        Surface::SessionId => {
            vars.set("SESSION", stand.payload.clone());
            rpc.request("message", &vars)?
        }
        _ => {
            let text = format!("Please look into {} now.", stand.nonce);
            rpc.message_request(&stand.session, text.as_bytes())?
        }
    };
    Ok(request)
}

/// A call of the read or write tool with these bytes as its path.
pub(crate) fn path_call(
    target: &Target,
    role: &str,
    path: &[u8],
    content: &[u8],
) -> Result<ToolCall, DriverError> {
    let values = [("path", json_literal(path)), ("content", json_literal(content))];
    tool_call(target.instance().manifest(), role, &values)
}

/// Splits a body where the payload is delivered in pieces; each becomes one HTTP chunk.
fn in_pieces(mut request: Request, stand: &Stand) -> Request {
    if stand.pieces.len() < 2 {
        return request;
    }
    let body = request.pieces.concat();
    let Some(start) = body.windows(stand.payload.len().max(1)).position(|it| it == stand.payload)
    else {
        return request;
    };
    let (before, rest) = body.split_at(start);
    let after = rest.get(stand.payload.len()..).unwrap_or_default();
    let middle = stand.pieces.iter().map(Vec::as_slice);
    let all = std::iter::once(before).chain(middle).chain(std::iter::once(after));
    request.pieces = all.filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec).collect();
    request.headers.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
    request
}

/// What the model answers to the first request of the conversation, where the case asks for it.
fn script(target: &Target, case: &Case, stand: &Stand) -> Result<Option<Answer>, Trouble> {
    let manifest = target.instance().manifest();
    let path = |role: &str, path: &[u8], content: &[u8]| path_call(target, role, path, content);
    let payload = stand.payload.as_slice();
    let calls = match case.surface {
        Surface::MessageText | Surface::HttpJson | Surface::HttpBody | Surface::SessionId => {
            return Ok(None);
        }
        Surface::ModelProse => return Ok(Some(Answer::Text(payload.to_vec()))),
        Surface::ModelJson => {
            let body = [ANSWER_HEAD, payload, ANSWER_TEXT, stand.nonce.as_bytes(), ANSWER_TAIL];
            return Ok(Some(Answer::Verbatim { status: 200, body: body.concat() }));
        }
        Surface::ModelError => {
            return Ok(Some(Answer::Verbatim { status: 401, body: payload.to_vec() }));
        }
        Surface::AuditLog => {
            let place = format!("logged-{}", stand.nonce);
            let values =
                [("path", json_literal(place.as_bytes())), ("content", json_literal(payload))];
            let named = ToolCall::new(payload, "{}");
            vec![named, tool_call(manifest, "write", &values)?]
        }
        Surface::HttpRaw
        | Surface::CredentialName
        | Surface::PluginFrame
        | Surface::ConfigFile
        | Surface::VaultFile
        | Surface::GatewayRequest => return Ok(None),
        Surface::ToolPathRead => vec![path("read", payload, b"")?],
        Surface::ToolPathWrite => vec![path("write", payload, stand.marker.as_bytes())?],
        Surface::ToolArgument => {
            let format = format!("{}%s", stand.marker);
            vec![exec_call(manifest, &[b"/usr/bin/printf", format.as_bytes(), payload])?]
        }
        Surface::ToolName => {
            let mut call = path("write", stand.effect.as_bytes(), stand.nonce.as_bytes())?;
            call.name = payload.to_vec();
            vec![call]
        }
        Surface::ToolArguments => {
            let role = match case.role.unwrap_or(Role::Write) {
                Role::Read => "read",
                Role::Write => "write",
                Role::Exec => "exec",
            };
            let tool = manifest.tools.get(role);
            let tool = tool.ok_or_else(|| DriverError::Unsupported(format!("tool `{role}`")))?;
            vec![ToolCall::new(tool.name.as_str(), payload)]
        }
        Surface::ToolCall => real_calls(payload)?,
        Surface::ToolResult => {
            let name = format!("note-{}.txt", stand.nonce);
            let world = target.world();
            world.write(&world.workspace().join(&name), payload, 0o644)?;
            vec![path("read", name.as_bytes(), b"")?]
        }
    };
    Ok(Some(Answer::Calls(calls)))
}

/// The tool calls that a payload describes: `{"name", "arguments", "id"?}`, or an array of them.
fn real_calls(payload: &[u8]) -> Result<Vec<ToolCall>, Trouble> {
    let wrong = |words: &str| Trouble::Harness(format!("payload of tool.call: {words}"));
    let json: Value = serde_json::from_slice(payload).map_err(|error| wrong(&error.to_string()))?;
    let items = match json {
        Value::Array(items) => items,
        single => vec![single],
    };
    items
        .iter()
        .map(|item| {
            let name = item.get("name").and_then(Value::as_str);
            let arguments = item.get("arguments").ok_or_else(|| wrong("no arguments"))?;
            let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
            let mut call = ToolCall::new(name.ok_or_else(|| wrong("no name"))?, arguments);
            if let Some(id) = item.get("id").and_then(Value::as_str) {
                id.clone_into(&mut call.id);
            }
            Ok(call)
        })
        .collect()
}
