//! The laboratory that scenarios work in: fresh, isolated targets with the suite's stage beside them.
//! It must never know a verdict.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::corpus::payload::{fill, mixed, shell_word};
use crate::driver::http::{Reply, exchange};
use crate::driver::pairing;
use crate::driver::rpc::{CALL_LIMIT, Rpc};
use crate::driver::way::Way;
use crate::driver::{Confine, DriverError, Ran, RunLimits};
use crate::stage::model::{Answer, Exchange, Model, Talk, ToolCall};
use crate::target::instance::{Instance, Plan};
use crate::target::manifest::Manifest;
use crate::target::plugins::Install;
use crate::target::prepared::Once;
use crate::target::process::{Ended, Process};
use crate::target::start_error::StartError;
use crate::target::template::{Vars, json_literal};
use crate::target::world::{World, random_hex};

use super::Trouble;
use super::lent::{Idle, Lent};

/// How a target is to be started; the default is the manifest's own configuration with raised
/// rate limits, so that attacks on other things are not slowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    own_rates: bool,
    patches: Vec<String>,
    environments: Vec<String>,
    merges: Vec<Value>,
    env: BTreeMap<String, String>,
    vars: BTreeMap<String, Vec<u8>>,
    files: Vec<(String, String, Vec<u8>)>,
    wrap: Vec<String>,
    in_memory: bool,
    prepared_anew: bool,
    plugins: Vec<Install>,
}

impl Options {
    /// Keeps the target's own rate limits.
    #[must_use]
    pub fn own_rates(mut self) -> Self {
        self.own_rates = true;
        self
    }

    /// Puts the world on a file system in memory, for cases that save thousands of files and run
    /// no tool ([`World::in_memory`]).
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Has the target's own commands prepare this one, also where the run has a preparation to copy:
    /// for cases that look at what they write.
    #[must_use]
    pub fn prepared_anew(mut self) -> Self {
        self.prepared_anew = true;
        self
    }

    /// Applies a config patch that the manifest names, such as `sandbox-relaxed`; a target whose
    /// manifest has none is `unsupported`.
    #[must_use]
    pub fn patch(mut self, name: &str) -> Self {
        self.patches.push(name.to_owned());
        self
    }

    /// Starts the server with variables that the manifest names, such as
    /// `without-sandbox-helper`; a target whose manifest has none is `unsupported`.
    #[must_use]
    pub fn environment(mut self, name: &str) -> Self {
        self.environments.push(name.to_owned());
        self
    }

    /// Applies a JSON merge patch in the target's own config naming, after the named ones. Named
    /// patches are to be preferred: they work on other targets too.
    #[must_use]
    pub fn merge(mut self, patch: Value) -> Self {
        self.merges.push(patch);
        self
    }

    /// Sets an environment variable of the server.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a variable of the manifest for the config and the start of the server, such as
    /// another `MASTER`; what was prepared before had the manifest's own.
    #[must_use]
    pub fn var(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.vars.insert(name.to_owned(), value.into());
        self
    }

    /// Puts a file of the target's own (mode 0600) into its home folder; the variable is its path.
    #[must_use]
    pub fn file(mut self, variable: &str, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((variable.to_owned(), name.to_owned(), bytes.into()));
        self
    }

    /// Starts with a plugin of the suite's; a target whose manifest has no `[plugins]` is
    /// `unsupported`.
    #[must_use]
    pub fn plugin(mut self, install: Install) -> Self {
        self.plugins.push(install);
        self
    }

    /// Starts the server behind another program, which must in the end become it: a shell that
    /// sets a limit and then `exec`s its arguments.
    #[must_use]
    pub fn wrap<S: Into<String>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.wrap = argv.into_iter().map(Into::into).collect();
        self
    }
}

#[derive(Debug)]
struct Inner {
    manifest: Arc<Manifest>,
    binary: PathBuf,
    knockout: Option<String>,
    prepared: Once,
    idle: Arc<Idle>,
}

/// Makes targets. Cheap to clone; every target ends when its last clone does.
#[derive(Clone, Debug)]
pub struct Lab {
    inner: Arc<Inner>,
}

impl Lab {
    /// A laboratory for one target; `binary` must stand where the target's uid can reach it.
    #[must_use]
    pub fn new(manifest: Arc<Manifest>, binary: PathBuf, knockout: Option<String>) -> Self {
        let (prepared, idle) = (Once::default(), Arc::default());
        Self { inner: Arc::new(Inner { manifest, binary, knockout, prepared, idle }) }
    }

    /// The manifest of the target.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.inner.manifest
    }

    /// The target's program, in a place that its uid can reach.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.inner.binary
    }

    /// The knockout that the target is started with, if any.
    #[must_use]
    pub fn knockout(&self) -> Option<&str> {
        self.inner.knockout.as_deref()
    }

    /// The targets that scenarios hand on to each other.
    pub(super) fn idle(&self) -> &Arc<Idle> {
        &self.inner.idle
    }

    /// A target for a scenario that leaves it as it was: one that others used before it, or a fresh
    /// one. Scenarios that stop, kill or reconfigure their target, look at its memory or spend its
    /// limits take [`Lab::instance`].
    ///
    /// # Errors
    /// As [`Lab::instance`].
    pub async fn lent(&self, options: Options) -> Result<Lent, Trouble> {
        Lent::of(self, options).await
    }

    /// Starts a fresh target: its own world, its own model, ready to be called.
    ///
    /// # Errors
    /// `Unsupported` for a patch that the manifest lacks, `Target` where it does not start.
    pub async fn instance(&self, options: Options) -> Result<Target, Trouble> {
        let model = Model::start().await?;
        let plan = Plan {
            manifest: Arc::clone(&self.inner.manifest),
            binary: self.inner.binary.clone(),
            model_url: model.url(),
            knockout: self.inner.knockout.clone(),
            own_rates: options.own_rates,
            patches: options.patches,
            environments: options.environments,
            merges: options.merges,
            env: options.env,
            vars: options.vars,
            files: options.files,
            wrap: options.wrap,
            in_memory: options.in_memory,
            plugins: options.plugins,
            prepared: (!options.prepared_anew).then(|| Arc::clone(&self.inner.prepared)),
        };
        let mut instance = Instance::start(&plan).await?;
        let paired = pairing::token(&instance).await;
        if let Some(token) = paired.map_err(|error| Trouble::Target(error.to_string()))? {
            instance.learn("TOKEN", token);
        }
        let (rpc, way) = (Rpc::new(&instance), Way::of(&instance));
        Ok(Target { inside: Arc::new(Inside { instance, model, rpc, way }) })
    }
}

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

/// A tool call by role in the target's own naming; values are JSON texts by parameter name.
///
/// # Errors
/// `Unsupported` where the manifest maps no such tool, `Harness` where a value is missing.
pub(super) fn tool_call(
    manifest: &Manifest,
    role: &str,
    values: &[(&str, Vec<u8>)],
) -> Result<ToolCall, DriverError> {
    let tool = manifest.tools.get(role);
    let tool = tool.ok_or_else(|| DriverError::Unsupported(format!("tool `{role}`")))?;
    let mut members = Vec::new();
    for (key, template) in &tool.arguments {
        let value_of = |name: &str| {
            let found = values.iter().find(|(known, _)| *known == name);
            let missing = || DriverError::Harness(format!("tools.{role}: no ${{{name}}}"));
            found.map(|(_, value)| value.clone()).ok_or_else(missing)
        };
        let alone = template.as_str().and_then(|text| text.strip_prefix("${")?.strip_suffix('}'));
        let value = match (mixed(template), alone) {
            // A text in which values stand, such as the command of a runtime that has a shell alone.
            (Some(pieces), _) => json_literal(&fill(&pieces, |name| {
                let literal = value_of(name)?;
                let text = serde_json::from_slice::<String>(&literal);
                let wrong = || DriverError::Unsupported(format!("text for ${{{name}}}"));
                text.map(String::into_bytes).map_err(|_| wrong())
            })?),
            (None, Some(name)) => value_of(name)?,
            (None, None) => template.to_string().into_bytes(),
        };
        members.push([json_literal(key.as_bytes()), value].join(b":".as_slice()));
    }
    let arguments = [b"{".as_slice(), &members.join(b",".as_slice()), b"}"].concat();
    Ok(ToolCall::new(tool.name.as_str(), arguments))
}

/// A call of the `exec` tool with this command line.
///
/// # Errors
/// As [`tool_call`].
pub(super) fn exec_call<S: AsRef<[u8]>>(
    manifest: &Manifest,
    argv: &[S],
) -> Result<ToolCall, DriverError> {
    let literals: Vec<Vec<u8>> = argv.iter().map(|item| json_literal(item.as_ref())).collect();
    let quoted: Vec<Vec<u8>> = argv.iter().map(|item| shell_word(item.as_ref())).collect();
    let list = [b"[".as_slice(), &literals.join(b",".as_slice()), b"]"].concat();
    let command = json_literal(&quoted.join(b" ".as_slice()));
    tool_call(manifest, "exec", &[("argv", list), ("command", command)])
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

    #[test]
    fn a_tool_that_is_a_shell_is_given_one_word() {
        let text = "name = \"a\"\ndriver = \"launcher\"\nlauncher.prefix = [\"x\"]\n\
                    [tools.read]\nname = \"sh\"\narguments = { command = \"cat -- ${path|shell}\" }\n";
        let manifest = Manifest::parse(text, Path::new("t.toml")).unwrap();
        let call = tool_call(&manifest, "read", &[("path", json_literal(b"it's"))]).unwrap();
        assert_eq!(call.arguments, br#"{"command":"cat -- 'it'\\''s'"}"#);
    }
}
