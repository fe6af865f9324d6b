//! An adapter: a program that speaks the suite's open JSON-lines protocol (`docs/adapter.md`) on its
//! standard streams, and what it may say. It must never know what is asked for or expected.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::target::world::World;

use super::lines::{LineError, Lines};

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

/// A string member of a result.
///
/// # Errors
/// `Fault` where it is not there.
pub fn string(result: &Value, key: &str, method: &str) -> Result<String, Problem> {
    let found = result.get(key).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Problem::Fault(format!("the result of {method} has no string `{key}`")))
}
