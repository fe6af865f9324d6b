//! Reaches a target through an adapter: a program that speaks the suite's open JSON-lines protocol
//! (`docs/adapter.md`) on its standard streams. An adapter that floods, hangs, ends or breaks the
//! protocol costs a bounded time. It must never know what is expected of an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::target::instance::Instance;
use crate::target::manifest::Manifest;
use crate::target::template::Vars;
use crate::target::world::World;

use super::http::Reply;
use super::lines::{LineError, Lines};
use super::{Converse, DriverError, command, toolloop};

/// The protocol's name and version.
pub const PROTOCOL: &str = "clawproof.adapter/1";
/// What an adapter may say that it can do.
pub const CAPABILITIES: &[&str] = &["message", "tool", "status"];
/// How long `hello`, `session.create` and `shutdown` may take.
pub const SHORT: Duration = Duration::from_secs(10);
/// How long a `message` may take.
pub const MESSAGE: Duration = Duration::from_secs(60);
/// How long a `tool` call may take.
pub const TOOL: Duration = Duration::from_secs(30);
/// How long `status` may take.
pub const STATUS: Duration = Duration::from_secs(5);
/// So many adapters are started for one instance of a target, and no more.
const STARTS: u8 = 3;

/// What an adapter says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Hello {
    /// The protocol that it speaks: [`PROTOCOL`].
    pub protocol: String,
    /// The target's name.
    pub name: String,
    /// The target's version; empty where it says none.
    #[serde(default)]
    pub version: String,
    /// What it can do, of [`CAPABILITIES`]; others are ignored.
    pub capabilities: Vec<String>,
    /// With `tool`: the tools that it can run.
    #[serde(default)]
    pub tools: Vec<Offered>,
}

/// A tool that an adapter can run.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Offered {
    /// Its exact name.
    pub name: String,
    /// What it does, for a model.
    #[serde(default)]
    pub description: String,
    /// Its arguments as a JSON Schema.
    #[serde(default)]
    pub parameters: Value,
}

impl Hello {
    /// Whether it says that it can do this.
    #[must_use]
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }
}

/// Why an adapter gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It answered with an error frame.
    #[error("{code}: {message}")]
    Said {
        /// `refused`, `unsupported`, `invalid`, `failed` or `unknown-method`.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// It broke the protocol; one sentence.
    #[error("it broke the protocol: {0}")]
    Fault(String),
    /// No answer in time, in milliseconds.
    #[error("no answer within {0} ms")]
    Silent(u64),
    /// It ended or closed its output.
    #[error("{0}")]
    Gone(String),
}

impl From<LineError> for Problem {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Closed(_) => Self::Gone(error.to_string()),
            LineError::Timeout(milliseconds) => Self::Silent(milliseconds),
            LineError::TooLong(_) | LineError::NotJson(_) => Self::Fault(error.to_string()),
        }
    }
}

/// The codes of an error frame.
pub const CODES: &[&str] = &["refused", "unsupported", "invalid", "failed", "unknown-method"];

/// A running adapter. Dropping it kills its process group.
#[derive(Debug)]
pub struct Adapter {
    lines: Lines,
    next: u64,
}

impl Adapter {
    /// Starts one; nothing is said yet.
    ///
    /// # Errors
    /// The program could not be started.
    pub fn start(command: &mut Command) -> std::io::Result<Self> {
        Ok(Self { lines: Lines::start(command)?, next: 1 })
    }

    /// Introduces the suite and hears what the adapter can do.
    ///
    /// # Errors
    /// As [`Adapter::ask`]; `Fault` for another protocol.
    pub async fn hello(&mut self, params: Value) -> Result<Hello, Problem> {
        let result = self.ask("hello", params, SHORT).await?;
        let hello: Hello = serde_json::from_value(result)
            .map_err(|error| Problem::Fault(format!("the result of hello: {error}")))?;
        if hello.protocol != PROTOCOL {
            let words = format!("it speaks `{}`, not `{PROTOCOL}`", hello.protocol);
            return Err(Problem::Fault(words));
        }
        Ok(hello)
    }

    /// Sends a request and waits for the answer to it.
    ///
    /// # Errors
    /// See [`Problem`]; after `Fault`, `Silent` or `Gone` the adapter is of no more use.
    pub async fn ask(
        &mut self,
        method: &str,
        params: Value,
        limit: Duration,
    ) -> Result<Value, Problem> {
        let id = self.next;
        self.next += 1;
        let frame = json!({ "id": id, "method": method, "params": params }).to_string();
        self.lines.send(frame.as_bytes(), limit).await?;
        let answer = self.lines.next(limit).await?;
        result_of(&answer, &json!(id))
    }

    /// The streams themselves, for what is no proper request.
    pub fn lines(&mut self) -> &mut Lines {
        &mut self.lines
    }
}

/// The result of an answer frame that must be the one to this id.
///
/// # Errors
/// `Said` for an error frame, `Fault` for one that is none.
pub fn result_of(answer: &Value, id: &Value) -> Result<Value, Problem> {
    let fault = |words: String| Err(Problem::Fault(words));
    if answer.get("id") != Some(id) {
        let got = answer.get("id").map_or_else(|| "none".to_owned(), Value::to_string);
        return fault(format!("an answer has the id {got} where {id} was asked"));
    }
    match (answer.get("result"), answer.get("error")) {
        (Some(result @ Value::Object(_)), None) => Ok(result.clone()),
        (Some(_), None) => fault("the result is no object".to_owned()),
        (None, Some(error)) => {
            let text = |key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
            match (text("code"), text("message")) {
                (Some(code), Some(message)) if CODES.contains(&code.as_str()) => {
                    Err(Problem::Said { code, message })
                }
                (Some(code), Some(_)) => {
                    fault(format!("unknown error code `{code}` (known: {})", CODES.join(", ")))
                }
                _ => fault("an error needs `code` and `message`, both strings".to_owned()),
            }
        }
        _ => fault("an answer needs exactly one of `result` and `error`".to_owned()),
    }
}

/// What the suite says of itself in `hello`.
#[must_use]
pub fn introduction(world: &World, model_url: &str, key: &str) -> Value {
    json!({
        "protocol": PROTOCOL,
        "suite": env!("CARGO_PKG_VERSION"),
        "workspace": world.workspace(),
        "home": world.home(),
        "state": world.state(),
        "model": { "url": model_url, "key": key },
    })
}

/// A target behind an adapter.
#[derive(Debug)]
pub struct Adapted {
    manifest: Arc<Manifest>,
    world: Arc<World>,
    vars: Vars,
    live: Mutex<Live>,
}

#[derive(Debug, Default)]
struct Live {
    adapter: Option<(Adapter, Hello)>,
    /// The adapter's names of our sessions.
    sessions: HashMap<String, String>,
    starts: u8,
    /// Why none is started any more.
    given_up: Option<String>,
}

impl Adapted {
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

    async fn begin(&self, live: &mut Live) -> Result<(), DriverError> {
        if live.adapter.is_some() {
            return Ok(());
        }
        if let Some(words) = &live.given_up {
            return Err(DriverError::Died(words.clone()));
        }
        let start = self.manifest.start.as_ref();
        let start = start.ok_or_else(|| DriverError::Unsupported("[start]".to_owned()))?;
        live.starts += 1;
        live.sessions.clear();
        let begun = async {
            let mut command = command(&self.world, &self.vars, start)?;
            let mut adapter = Adapter::start(&mut command).map_err(|error| {
                DriverError::Died(format!("cannot start {}: {error}", start.argv.join(" ")))
            })?;
            let (url, key) = (self.vars.text("MODEL_URL"), self.vars.text("SECRET"));
            let hello = adapter.hello(introduction(&self.world, &url, &key)).await;
            let hello = hello.map_err(|problem| told(&problem, "hello"))?;
            Ok::<_, DriverError>((adapter, hello))
        };
        let begun = begun.await;
        if let Err(error) = &begun {
            live.given_up = Some(error.to_string());
        } else if live.starts >= STARTS {
            live.given_up =
                Some(format!("the adapter was started {STARTS} times and is again gone"));
        }
        live.adapter = Some(begun?);
        Ok(())
    }

    async fn ask(&self, session: &str, text: &[u8]) -> Result<Reply, DriverError> {
        let Ok(text) = std::str::from_utf8(text) else {
            let words = "way to hand over a text that is not UTF-8";
            return Err(DriverError::Unsupported(words.to_owned()));
        };
        let begun = Instant::now();
        let mut live = self.live.lock().await;
        self.begin(&mut live).await?;
        let Live { adapter, sessions, .. } = &mut *live;
        let Some((adapter, hello)) = adapter.as_mut() else {
            return Err(DriverError::Harness("no adapter".to_owned()));
        };
        let said = if hello.can("message") {
            message(adapter, sessions, session, text).await
        } else if hello.can("tool") {
            toolloop::run(adapter, hello, &self.vars.text("MODEL_URL"), text).await
        } else {
            return Err(DriverError::Unsupported("capability `message` or `tool`".to_owned()));
        };
        let (status, body) = match said {
            Ok(reply) => (200, reply),
            Err(Problem::Said { code, message }) => match code.as_str() {
                "refused" => (403, message),
                "invalid" => (400, message),
                "unsupported" => return Err(DriverError::Unsupported(format!("way: {message}"))),
                "failed" => {
                    if hello.can("status") && !alive(adapter).await {
                        live.adapter = None;
                        return Err(DriverError::Died(message));
                    }
                    (500, message)
                }
                _ => {
                    live.adapter = None;
                    let words = format!("the adapter does not know its own capability: {message}");
                    return Err(DriverError::Harness(words));
                }
            },
            Err(problem) => {
                live.adapter = None;
                return Err(told(&problem, "message"));
            }
        };
        let body = body.into_bytes();
        Ok(Reply { status, headers: Vec::new(), body, elapsed: begun.elapsed() })
    }
}

/// One message of a session, which is created with its first one.
async fn message(
    adapter: &mut Adapter,
    sessions: &mut HashMap<String, String>,
    session: &str,
    text: &str,
) -> Result<String, Problem> {
    let id = match sessions.get(session) {
        Some(id) => id.clone(),
        None => {
            let created = adapter.ask("session.create", json!({}), SHORT).await?;
            let id = string(&created, "session", "session.create")?;
            sessions.insert(session.to_owned(), id.clone());
            id
        }
    };
    let answer = adapter.ask("message", json!({ "session": id, "text": text }), MESSAGE).await?;
    string(&answer, "reply", "message")
}

/// Whether the target behind the adapter lives, in the adapter's words.
async fn alive(adapter: &mut Adapter) -> bool {
    let status = adapter.ask("status", json!({}), STATUS).await;
    status.is_ok_and(|status| status.get("alive") == Some(&Value::Bool(true)))
}

/// A string member of a result.
///
/// # Errors
/// `Fault` where it is not there.
pub fn string(result: &Value, key: &str, method: &str) -> Result<String, Problem> {
    let found = result.get(key).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Problem::Fault(format!("the result of {method} has no string `{key}`")))
}

fn told(problem: &Problem, method: &str) -> DriverError {
    match problem {
        Problem::Silent(milliseconds) => DriverError::Timeout(*milliseconds),
        Problem::Gone(words) => DriverError::Died(format!("the adapter, at {method}: {words}")),
        Problem::Fault(_) | Problem::Said { .. } => {
            DriverError::Harness(format!("the adapter, at {method}: {problem}"))
        }
    }
}

impl Converse for Adapted {
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
            match &mut live.adapter {
                Some((adapter, hello)) => {
                    adapter.lines.runs() && (!hello.can("status") || alive(adapter).await)
                }
                None => live.starts == 0,
            }
        })
    }
}
