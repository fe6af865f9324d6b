//! Reaches an agent that speaks the Agent Client Protocol (JSON-RPC 2.0, a line each, on its standard
//! streams), as an editor would. What it asks leave for is answered by the manifest's policy. It must
//! never know what is expected of an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::target::instance::Instance;
use crate::target::manifest::{Approval, Manifest};
use crate::target::template::Vars;
use crate::target::world::World;

use super::http::Reply;
use super::lines::{LineError, Lines, milliseconds};
use super::{APPROVAL, Converse, DriverError, command};

/// How long `initialize` and `session/new` may take: agents load what they are made of.
const SHORT: Duration = Duration::from_secs(30);
/// How long a prompt may take.
const PROMPT: Duration = Duration::from_secs(60);
/// So many lines are read for one answer, and no more.
const LINES: usize = 20_000;
/// So many bytes of the agent's words are kept.
const WORDS: usize = 1_000_000;
/// So many agents are started for one instance of a target, and no more.
const STARTS: u8 = 3;

/// A target that speaks ACP.
#[derive(Debug)]
pub struct Acp {
    manifest: Arc<Manifest>,
    world: Arc<World>,
    vars: Vars,
    live: Mutex<Live>,
}

#[derive(Debug, Default)]
struct Live {
    agent: Option<Agent>,
    starts: u8,
    given_up: Option<String>,
}

#[derive(Debug)]
struct Agent {
    lines: Lines,
    next: u64,
    /// The agent's names of our sessions.
    sessions: HashMap<String, String>,
    policy: Approval,
}

/// What an agent did while it was asked.
#[derive(Debug, Default)]
struct Turn {
    words: String,
    /// How often it asked for leave.
    asked: usize,
}

impl Acp {
    /// The way to this instance; none where its manifest names no `[start]`.
    #[must_use]
    pub fn of(instance: &Instance) -> Option<Self> {
        let manifest = Arc::clone(instance.manifest());
        manifest.start.as_ref()?;
        Some(Self {
            world: Arc::clone(instance.world()),
            vars: instance.vars().clone(),
            manifest,
            live: Mutex::default(),
        })
    }

    async fn begin(&self) -> Result<Agent, DriverError> {
        let start = self.manifest.start.as_ref();
        let start = start.ok_or_else(|| DriverError::Unsupported("[start]".to_owned()))?;
        let mut command = command(&self.world, &self.vars, start)?;
        let lines = Lines::start(&mut command).map_err(|error| {
            DriverError::Died(format!("cannot start {}: {error}", start.argv.join(" ")))
        })?;
        let policy = self.manifest.approval;
        let mut agent = Agent { lines, next: 0, sessions: HashMap::new(), policy };
        let params = json!({
            "protocolVersion": 1,
            "clientCapabilities": {
                "fs": { "readTextFile": false, "writeTextFile": false },
                "terminal": false,
            },
        });
        agent.ask("initialize", params, SHORT, &mut Turn::default()).await??;
        Ok(agent)
    }

    async fn ask(&self, session: &str, text: &[u8]) -> Result<Reply, DriverError> {
        let Ok(text) = std::str::from_utf8(text) else {
            let words = "way to hand over a text that is not UTF-8";
            return Err(DriverError::Unsupported(words.to_owned()));
        };
        let begun = Instant::now();
        let mut live = self.live.lock().await;
        if let (None, Some(words)) = (&live.agent, &live.given_up) {
            return Err(DriverError::Died(words.clone()));
        }
        let mut agent = match live.agent.take() {
            Some(agent) => agent,
            None => {
                live.starts += 1;
                match self.begin().await {
                    Ok(agent) => agent,
                    Err(error) => {
                        live.given_up = Some(error.to_string());
                        return Err(error);
                    }
                }
            }
        };
        if live.starts >= STARTS {
            live.given_up = Some(format!("the agent was started {STARTS} times and is again gone"));
        }
        let mut turn = Turn::default();
        // An agent that failed is dropped, and so ended.
        let said = agent.prompt(session, text, &self.world, &mut turn).await?;
        let mut headers = Vec::new();
        if turn.asked > 0 {
            let answer = if agent.policy == Approval::Allow { "allow" } else { "deny" };
            let words = format!("leave was asked for {} times, answered: {answer}", turn.asked);
            headers.push((APPROVAL.to_owned(), words));
        }
        live.agent = Some(agent);
        let (status, body) = match said {
            Ok(result) if result.get("stopReason") == Some(&json!("refusal")) => (403, turn.words),
            Ok(_) => (200, turn.words),
            Err(error) => (500, error.to_string()),
        };
        let body = body.into_bytes();
        Ok(Reply { status, headers, body, elapsed: begun.elapsed() })
    }
}

/// An error of JSON-RPC; the conversation goes on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

impl From<Said> for DriverError {
    fn from(said: Said) -> Self {
        Self::Died(format!("the agent: {said}"))
    }
}

fn broken(error: LineError) -> DriverError {
    match error {
        LineError::Timeout(milliseconds) => DriverError::Timeout(milliseconds),
        LineError::Closed(_) => DriverError::Died(error.to_string()),
        LineError::TooLong(_) | LineError::NotJson(_) => {
            DriverError::Died(format!("the agent broke the protocol: {error}"))
        }
    }
}

impl Agent {
    async fn prompt(
        &mut self,
        session: &str,
        text: &str,
        world: &World,
        turn: &mut Turn,
    ) -> Result<Result<Value, Said>, DriverError> {
        let id = match self.sessions.get(session) {
            Some(id) => id.clone(),
            None => {
                let params = json!({ "cwd": world.workspace(), "mcpServers": [] });
                let made = self.ask("session/new", params, SHORT, turn).await??;
                let id = made.get("sessionId").and_then(Value::as_str).map(str::to_owned);
                let id = id.ok_or_else(|| Said("session/new gave no sessionId".to_owned()))?;
                self.sessions.insert(session.to_owned(), id.clone());
                id
            }
        };
        let prompt = json!([{ "type": "text", "text": text }]);
        self.ask("session/prompt", json!({ "sessionId": id, "prompt": prompt }), PROMPT, turn).await
    }

    /// Sends a request and serves what the agent says and asks until it is answered.
    async fn ask(
        &mut self,
        method: &str,
        params: Value,
        limit: Duration,
        turn: &mut Turn,
    ) -> Result<Result<Value, Said>, DriverError> {
        let id = self.next;
        self.next += 1;
        let end = Instant::now() + limit;
        let left = || end.saturating_duration_since(Instant::now());
        let frame = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.lines.send(frame.to_string().as_bytes(), limit).await.map_err(broken)?;
        for _ in 0..LINES {
            let line = match self.lines.next(left()).await {
                Err(LineError::Timeout(_)) => {
                    return Err(DriverError::Timeout(milliseconds(limit)));
                }
                line => line.map_err(broken)?,
            };
            let Some(asked) = line.get("method").and_then(Value::as_str) else {
                if line.get("id") == Some(&json!(id)) {
                    return Ok(answered(&line));
                }
                continue;
            };
            let answer = match (asked, line.get("id")) {
                ("session/request_permission", Some(_)) => {
                    turn.asked += 1;
                    Some(json!({ "result": { "outcome": self.policy_on(&line) } }))
                }
                (_, Some(_)) => {
                    let error =
                        json!({ "code": -32601, "message": "this client does not do that" });
                    Some(json!({ "error": error }))
                }
                (_, None) => None,
            };
            if let (Some(Value::Object(mut answer)), Some(id)) = (answer, line.get("id")) {
                answer.insert("jsonrpc".to_owned(), json!("2.0"));
                answer.insert("id".to_owned(), id.clone());
                let answer = Value::Object(answer).to_string();
                self.lines.send(answer.as_bytes(), left()).await.map_err(broken)?;
            }
            turn.hear(&line);
        }
        Err(DriverError::Died(format!("the agent said {LINES} things and did not answer")))
    }

    /// The option that the manifest's policy chooses; none of that kind cancels the call.
    fn policy_on(&self, line: &Value) -> Value {
        let wanted: &[&str] = match self.policy {
            Approval::Allow => &["allow_once", "allow_always"],
            Approval::Deny => &["reject_once", "reject_always"],
        };
        let options = line.pointer("/params/options").and_then(Value::as_array);
        let kind = |option: &&Value| {
            option.get("kind").and_then(Value::as_str).is_some_and(|kind| wanted.contains(&kind))
        };
        let chosen =
            options.and_then(|all| all.iter().find(kind)).and_then(|it| it.get("optionId"));
        match chosen {
            Some(id) => json!({ "outcome": "selected", "optionId": id }),
            None => json!({ "outcome": "cancelled" }),
        }
    }
}

fn answered(line: &Value) -> Result<Value, Said> {
    match (line.get("result"), line.get("error")) {
        (Some(result), None) => Ok(result.clone()),
        (_, error) => Err(Said(error.map_or("no result".to_owned(), Value::to_string))),
    }
}

impl Turn {
    fn hear(&mut self, line: &Value) {
        let update = line.pointer("/params/update");
        let chunk =
            update.filter(|it| it.get("sessionUpdate") == Some(&json!("agent_message_chunk")));
        let text = chunk.and_then(|it| it.pointer("/content/text")).and_then(Value::as_str);
        if let (Some(text), true) = (text, self.words.len() < WORDS) {
            self.words.push_str(text);
        }
    }
}

impl Converse for Acp {
    fn message<'a>(
        &'a self,
        session: &'a str,
        text: &'a [u8],
    ) -> BoxFuture<'a, Result<Reply, DriverError>> {
        Box::pin(self.ask(session, text))
    }

    fn alive(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let mut live = self.live.lock().await;
            let starts = live.starts;
            live.agent.as_mut().map_or(starts == 0, |agent| agent.lines.runs())
        })
    }
}
