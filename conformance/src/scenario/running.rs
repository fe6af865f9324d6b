//! A running target with the suite's stage beside it, and what it can be asked. It must never know a
//! verdict, nor how the target was started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::driver::http::{Reply, exchange};
use crate::driver::rpc::{CALL_LIMIT, Rpc};
use crate::driver::way::Way;
use crate::driver::{Confine, DriverError, Ran, RunLimits};
use crate::stage::model::{Answer, Exchange, Model, Talk, ToolCall};
use crate::target::instance::Instance;
use crate::target::process::{Ended, Process};
use crate::target::start_error::StartError;
use crate::target::template::{Vars, json_literal};
use crate::target::world::{World, random_hex};

use super::Trouble;
use super::tool_call::{exec_call, tool_call};

impl From<StartError> for Trouble {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Unsupported(_) => Self::Unsupported(error.to_string()),
            StartError::Target(words) => Self::Target(words),
            StartError::Manifest(_) | StartError::World(_) => Self::Harness(error.to_string()),
        }
    }
}

#[derive(Debug)]
struct Inside {
    instance: Instance,
    model: Model,
    rpc: Rpc,
    /// The way to a target that is reached by messages, in place of plain calls.
    way: Option<Way>,
}

/// A running target with its stage. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Target {
    inside: Arc<Inside>,
}

/// What one scripted tool call led to.
#[derive(Clone, Debug)]
pub struct ToolRun {
    /// The answer to the user's message, or why there was none.
    pub reply: Result<Reply, Arc<DriverError>>,
    /// What the target sent to its model in this conversation, in order.
    pub exchanges: Vec<Arc<Exchange>>,
    /// The text of the tool result that came back to the model; `None` if none came.
    pub result: Option<String>,
}

impl ToolRun {
    /// What a run of the exec tool gave: the output that came back, else why there is none.
    ///
    /// # Errors
    /// `Refused` where an answer came without a result; what went wrong where none came.
    pub(super) fn ran(self, elapsed: Duration, limits: RunLimits) -> Result<Ran, DriverError> {
        match (self.result, self.reply) {
            (Some(text), _) => {
                let mut stdout = unfold(&text).into_bytes();
                stdout.truncate(limits.output);
                Ok(Ran { stdout, elapsed, ..Ran::default() })
            }
            (None, Ok(reply)) => Err(DriverError::Refused(reply.summary())),
            (None, Err(error)) => Err(match &*error {
                DriverError::Harness(words) => DriverError::Harness(words.clone()),
                DriverError::Unsupported(words) => DriverError::Unsupported(words.clone()),
                DriverError::Died(words) => DriverError::Died(words.clone()),
                other => DriverError::Died(other.to_string()),
            }),
        }
    }

    /// Whether the target asked its model and so was given the tool call.
    #[must_use]
    pub fn served(&self) -> bool {
        !self.exchanges.is_empty()
    }
}

impl Target {
    /// A target that was started, with its model and the ways to it.
    pub(super) fn new(instance: Instance, model: Model, rpc: Rpc, way: Option<Way>) -> Self {
        Self { inside: Arc::new(Inside { instance, model, rpc, way }) }
    }

    /// The folder tree that it lives in.
    #[must_use]
    pub fn world(&self) -> &World {
        self.inside.instance.world()
    }

    /// The running server: pid, output, stop, kill, start again.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.inside.instance
    }

    /// The hostile model that it asks.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.inside.model
    }

    /// Its HTTP calls, with the token of this run.
    #[must_use]
    pub fn rpc(&self) -> &Rpc {
        &self.inside.rpc
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inside.instance.address()
    }

    /// A variable of the manifest for this run, such as `SECRET` or `TOKEN`.
    #[must_use]
    pub fn var(&self, name: &str) -> String {
        self.inside.instance.vars().text(name)
    }

    /// Whether its process runs and, where it is a server, its health call answers. A one-shot agent
    /// has no process between two messages; an adapter or an agent of an editor that ended is dead.
    pub async fn alive(&self) -> bool {
        self.inside.instance.ended().await.is_none()
            && match &self.inside.way {
                Some(way) => way.alive().await,
                None => self.inside.rpc.alive().await,
            }
    }

    /// Whether it is reached by plain HTTP calls, so that what they carry can be changed.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.inside.way.is_none()
    }

    /// Sends a user message.
    ///
    /// # Errors
    /// As [`Rpc::message`] or [`Way::message`].
    pub async fn message(&self, session: &str, text: &[u8]) -> Result<Reply, DriverError> {
        match &self.inside.way {
            Some(way) => way.message(session, text).await,
            None => self.inside.rpc.message(session, text).await,
        }
    }

    /// Makes a call of the manifest (`[calls.NAME]`) with further variables.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub async fn call(&self, name: &str, vars: &[(&str, &str)]) -> Result<Reply, DriverError> {
        self.inside.rpc.call(name, &vars_of(vars)).await
    }

    /// Writes bytes, in the pieces given, to a fresh connection and reads one HTTP answer.
    ///
    /// # Errors
    /// As [`exchange`].
    pub async fn raw(&self, pieces: &[Vec<u8>]) -> Result<Reply, DriverError> {
        if !self.is_server() {
            return Err(DriverError::Unsupported("HTTP face".to_owned()));
        }
        exchange(self.address(), pieces, Duration::ZERO, CALL_LIMIT).await
    }

    /// Creates a session.
    ///
    /// # Errors
    /// As [`Rpc::session`].
    pub async fn session(&self) -> Result<String, DriverError> {
        match &self.inside.way {
            Some(way) => Ok(way.session()),
            None => self.inside.rpc.session().await,
        }
    }

    /// Sends a user message that holds a fresh nonce (`prefix` and the nonce) in a session, with
    /// scripted model answers. Gives the answer and the talk, which knows what the model received.
    ///
    /// # Errors
    /// As [`Rpc::message`].
    pub async fn say(
        &self,
        session: &str,
        prefix: &str,
        answers: Vec<Answer>,
    ) -> Result<(Reply, Talk), DriverError> {
        let nonce = random_hex(8);
        let talk = self.inside.model.expect(nonce.as_str(), answers);
        let reply = self.message(session, format!("{prefix} {nonce}").as_bytes()).await?;
        Ok((reply, talk))
    }

    /// Lets the hostile model make one tool call in a fresh session and waits for its result.
    ///
    /// # Errors
    /// No session could be created.
    pub async fn tool(&self, call: ToolCall) -> Result<ToolRun, DriverError> {
        self.answer(vec![Answer::Calls(vec![call])]).await
    }

    /// Lets the hostile model give these answers in a fresh session.
    ///
    /// # Errors
    /// No session could be created.
    pub async fn answer(&self, answers: Vec<Answer>) -> Result<ToolRun, DriverError> {
        let session = self.session().await?;
        let nonce = random_hex(8);
        let talk = self.inside.model.expect(nonce.as_str(), answers);
        let text = format!("Please go on with {nonce}.");
        let reply = self.message(&session, text.as_bytes()).await.map_err(Arc::new);
        let result = talk.tool_results().last().cloned();
        Ok(ToolRun { reply, exchanges: talk.exchanges(), result })
    }

    /// A tool call by role (`read`, `write`, `list`) in the target's own naming, with the values of
    /// `path` and `content`; for `exec` use [`Target::exec_call`].
    ///
    /// # Errors
    /// `Unsupported` where the manifest maps no such tool.
    pub fn tool_call(&self, role: &str, values: &[(&str, &str)]) -> Result<ToolCall, DriverError> {
        let values = values.iter().map(|(name, value)| (*name, json_literal(value.as_bytes())));
        tool_call(self.inside.instance.manifest(), role, &values.collect::<Vec<_>>())
    }

    /// A call of the `exec` tool with this command line.
    ///
    /// # Errors
    /// `Unsupported` where the manifest maps no such tool.
    pub fn exec_call<S: AsRef<[u8]>>(&self, argv: &[S]) -> Result<ToolCall, DriverError> {
        exec_call(self.inside.instance.manifest(), argv)
    }

    /// Runs a command of the manifest (`[commands.NAME]`) as the target's uid.
    ///
    /// # Errors
    /// `Unsupported` where the manifest has none of that name.
    pub async fn command(
        &self,
        name: &str,
        vars: &[(&str, &str)],
        stdin: Option<&[u8]>,
    ) -> Result<Ended, Trouble> {
        Ok(self.inside.instance.command(name, &vars_of(vars), stdin).await?)
    }

    /// Starts a command of the manifest and leaves it running, for a scenario that kills it.
    ///
    /// # Errors
    /// `Unsupported` where the manifest has none of that name.
    pub fn begin_command(&self, name: &str, vars: &[(&str, &str)]) -> Result<Process, Trouble> {
        Ok(self.inside.instance.begin_command(name, &vars_of(vars))?)
    }

    /// A place that the manifest names (`[files]`), such as `audit` or `vault`.
    ///
    /// # Errors
    /// `Unsupported` where the manifest names none.
    pub fn file(&self, role: &str) -> Result<PathBuf, Trouble> {
        Ok(self.inside.instance.file(role)?)
    }
}

fn vars_of(pairs: &[(&str, &str)]) -> Vars {
    let mut vars = Vars::new();
    for (name, value) in pairs {
        vars.set(*name, *value);
    }
    vars
}

impl Confine for Target {
    fn run<'a>(
        &'a self,
        argv: &'a [String],
        limits: RunLimits,
    ) -> BoxFuture<'a, Result<Ran, DriverError>> {
        Box::pin(async move {
            let begun = Instant::now();
            let run = self.tool(self.exec_call(argv)?);
            let milliseconds = u64::try_from(limits.time.as_millis()).unwrap_or(u64::MAX);
            let run = tokio::time::timeout(limits.time, run)
                .await
                .map_err(|_| DriverError::Timeout(milliseconds))??;
            run.ran(begun.elapsed(), limits)
        })
    }

    fn workspace(&self) -> &Path {
        self.inside.instance.workspace()
    }
}

/// Every text of a JSON value, in order, whatever holds it.
pub(super) fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// The strings inside a tool result that is JSON, joined by newlines; other text as it is.
#[must_use]
pub(super) fn unfold(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_) | Value::String(_))) => {
            texts(&value).join("\n")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfolds_the_strings_of_a_json_tool_result() {
        assert_eq!(unfold(r#"{"output":"a\nb","code":0,"x":["c"]}"#), "a\nb\nc");
        assert_eq!(unfold("plain"), "plain");
        assert_eq!(unfold("17"), "17");
    }
}
