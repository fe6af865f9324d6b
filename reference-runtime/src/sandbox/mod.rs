//! Layer 3: the operating system holds what a tool may do. Every tool call runs in a fresh process
//! of its own; where the level asked for cannot be enforced, the tool does not run. This room must
//! never know who asked for a call or what the answer is for.

mod companion;
mod derive;
#[cfg(unix)]
mod follow;
pub mod launch;
pub mod lines;
mod output;
pub mod plan;
pub mod policy;
mod run;
#[cfg(any(target_os = "macos", test))]
mod seatbelt;
pub mod shim;
mod trusted;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(windows)]
mod windows;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::Duration,
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

pub use companion::{Companion, Gone, Helper, Wanted};
#[cfg(target_os = "linux")]
use linux::Backend;
#[cfg(target_os = "macos")]
use macos::Backend;
pub use policy::Level;
use run::{Job, NOT_BUILT, Ran, Refusal, Setting, Work};
#[cfg(windows)]
use windows::Backend;

use crate::{
    audit::Rejection,
    boundary::{Limits, json as boundary_json},
    config::Config,
    registry::{
        Authorized, Capabilities, Kind, ToolCall,
        protocol::{Request, Response},
    },
    requirement::{self, Requirement},
};

/// The proof that a value came out of a contained run. Only this room can build one.
#[derive(Clone, Debug)]
pub struct Contained<T> {
    value: T,
    level: Level,
}

impl<T> Contained<T> {
    /// The level that was in force.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// The value.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.value
    }

    /// The value, to be used further.
    #[must_use]
    #[cfg_attr(not(unix), expect(dead_code, reason = "plugins run on Unix alone"))]
    pub(crate) const fn get_mut(&mut self) -> &mut T {
        &mut self.value
    }

    /// The value without its proof.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Another value that came out of the same run.
    #[must_use]
    #[cfg_attr(not(unix), expect(dead_code, reason = "plugins run on Unix alone"))]
    pub(crate) fn yields<U>(&self, value: U) -> Contained<U> {
        Contained { value, level: self.level }
    }
}

/// What a tool answered. The tool ran; a tool that did not run is a [`Rejection`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Whether the tool did what it was asked: for `exec`, exit code 0 within the time limit.
    pub completed: bool,
    /// `exec`: `{"exitCode": int or null, "stdout", "stderr", "timedOut": bool, "dropped":
    /// {"stdout", "stderr"} bytes, "removed"?: links out of the workspace, pipes and devices that
    /// it left and that were taken away, and names that other programs trust, put back, "sharedWithOutside"?: files that have another name outside
    /// the workspace (at most 20 of each), "error"?: sentence}`; file tools: their answer, or
    /// `{"error": sentence}`.
    pub output: Value,
}

/// What the sandbox says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The level that the configuration asks for, for tools that it does not name.
    pub level: Level,
    /// The mechanism and its version, such as `bubblewrap 0.8.0`; `none`.
    pub backend: String,
    /// The level in force, as measured by a trial launch: `strict`, `relaxed`, `none`, or
    /// `refused` where no tool runs.
    pub effective: String,
    /// What is missing or only held in part, one sentence each.
    pub missing: Vec<String>,
}

/// What a sandbox may be told beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The runtime's binary, which runs again inside as the shim where `clawproof-contain` does not
    /// stand beside it; none: the running program.
    pub shim: Option<PathBuf>,
    /// Files and folders of the runtime's own that no tool may change, should they lie in the
    /// workspace: the configuration file, the state folder.
    pub protected: Vec<PathBuf>,
    /// Builds no sandbox ahead of the call that it is for.
    pub cold: bool,
}

/// The sandbox of this runtime.
#[derive(Debug)]
pub struct Sandbox {
    config: RwLock<Arc<Config>>,
    backend: Result<Arc<Backend>, Refusal>,
    status: Status,
}

impl Sandbox {
    /// Looks for the backend and tries it once (some 20 ms). Never fails: a sandbox that cannot
    /// hold refuses every run.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self::with(config, Options::default())
    }

    /// As [`Sandbox::new`], with more to know.
    #[must_use]
    pub fn with(config: &Config, options: Options) -> Self {
        let setting = config.workspace.clone().map(|workspace| Setting {
            workspace,
            uid: config.sandbox.uid,
            shim: options.shim,
            ahead: !options.cold,
            protected: options.protected,
        });
        let backend = setting
            .ok_or_else(|| {
                Refusal::new("no workspace is set, so no tool runs", "config.workspace is missing")
            })
            .and_then(|setting| Backend::new(&setting));
        let (backend, status) = measure(config, backend);
        Self {
            config: RwLock::new(Arc::new(config.clone())),
            backend: backend.map(Arc::new),
            status,
        }
    }

    /// What is in force, as it was measured at the start.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Takes over the levels of single tools and the time limit; what was measured stays.
    pub fn reconfigure(&self, config: &Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config.clone());
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The level that a tool runs at.
    ///
    /// # Errors
    /// See [`policy::level`].
    pub fn level(&self, tool: &str) -> Result<Level, Rejection> {
        if !requirement::SANDBOX_HONEST.enforced() {
            // What is prevented: a runtime that says one level and runs at another.
            return Ok(Level::None);
        }
        policy::level(&self.config(), tool)
    }

    /// Runs one authorised call in a fresh sandbox. Dropping the future ends the run.
    ///
    /// # Errors
    /// `sandbox.fail-closed` where the tool did not run; `sandbox.reap` where it could not be
    /// ended; a requirement of Layer 1 that the tool's own checks inside the sandbox refused by.
    pub async fn run(&self, call: Authorized<ToolCall>) -> Result<Contained<Outcome>, Rejection> {
        let backend = self.backend.as_ref().map_err(Refusal::reject)?;
        let config = self.config();
        let tool = call.tool();
        let level = self.level(tool.name)?;
        let capabilities = call.capabilities();
        let call = call.into_inner();
        let work = match tool.kind {
            Kind::Program(argv) => Work::Program(program(argv(&call.arguments))),
            Kind::Worker(_) => Work::Worker(request(tool.name, &call.arguments, &config)?),
            Kind::Plugin(name) => {
                return Err(Refusal::new(NOT_BUILT, format!("the plugin {name} runs it")).reject());
            }
        };
        let job = Job {
            level,
            capabilities,
            work,
            timeout: config.sandbox.timeout,
            pass_on: false,
            stays: None,
        };
        let ran = finish(Arc::clone(backend), job).await?;
        let value = match tool.kind {
            Kind::Program(_) => of_program(&ran),
            Kind::Worker(_) | Kind::Plugin(_) => of_worker(&ran)?,
        };
        Ok(Contained { value, level })
    }
}

/// Runs a job in a task of its own, so that a caller that goes away ends the run in good order:
/// killed, waited for, cleaned up after.
async fn finish(backend: Arc<Backend>, job: Job) -> Result<Ran, Rejection> {
    // Held by this future alone: dropping it is the message.
    let (_alive, stop) = oneshot::channel();
    tokio::spawn(async move { backend.run(job, stop).await }).await.unwrap_or_else(|error| {
        Err(Refusal::new(NOT_BUILT, format!("the run ended early: {error}")).reject())
    })
}

/// What Relaxed does not hold.
const UNFILTERED: &str = "the network is open to every address, a cloud's metadata service and the \
                          services of this machine too";

/// Tries the backend at the level that the configuration asks for, and says what came of it.
fn measure(
    config: &Config,
    backend: Result<Backend, Refusal>,
) -> (Result<Backend, Refusal>, Status) {
    let mut status = Status {
        level: config.sandbox.level,
        backend: "none".to_owned(),
        effective: "refused".to_owned(),
        missing: Vec::new(),
    };
    // The name of no tool: what the configuration asks for where it names none.
    let level = match policy::level(config, "") {
        Ok(level) => level,
        Err(rejection) => {
            status.missing.push(rejection.public().to_owned());
            return (backend, status);
        }
    };
    let tried = backend.and_then(|backend| {
        match backend.name() {
            Ok(name) => status.backend = name,
            // What needs no helper, or a build without this check, goes on.
            Err(_) if level == Level::None => {}
            Err(_) if !requirement::SANDBOX_FAIL_CLOSED.enforced() => {}
            Err(refusal) => return Err(refusal),
        }
        let ran = trial(&backend, level)?;
        Ok((backend, ran))
    });
    match tried {
        Ok((backend, ran)) => {
            status.effective = word(level).to_owned();
            if level != Level::None {
                status.missing.extend(lacks(&backend, &ran));
                if level == Level::Relaxed {
                    status.missing.push(UNFILTERED.to_owned());
                }
            }
            (Ok(backend), status)
        }
        Err(refusal) => {
            status.missing.push(refusal.public.to_owned());
            (Err(refusal), status)
        }
    }
}

/// What a level that holds still lacks on this system.
#[cfg(not(target_os = "linux"))]
fn lacks(backend: &Backend, _: &Ran) -> Vec<String> {
    backend.lacks()
}

/// What a level that holds still lacks on this system.
#[cfg(target_os = "linux")]
fn lacks(backend: &Backend, ran: &Ran) -> Vec<String> {
    let mut missing = Vec::new();
    if ran.landlock != "full" && ran.landlock != "off" {
        missing.push(format!(
            "Landlock holds {}: the kernel lacks some of its rules",
            if ran.landlock == "none" { "nothing" } else { "in part" }
        ));
    }
    missing.extend(backend.lacks());
    missing
}

/// Builds a sandbox around nothing. It runs on a thread and runtime of its own, so that it can be
/// called from anywhere.
fn trial(backend: &Backend, level: Level) -> Result<Ran, Refusal> {
    let job = Job {
        level,
        capabilities: Capabilities::NONE,
        work: Work::Trial,
        timeout: Duration::from_secs(10),
        pass_on: false,
        stays: None,
    };
    let (_alive, stop) = oneshot::channel();
    let ran = block_on(|| backend.run(job, stop))
        .and_then(|ran| ran.map_err(|rejection| rejection.cause().to_owned()))
        .map_err(|cause| Refusal::new(NOT_BUILT, cause))?;
    match ran.code {
        Some(0) => Ok(ran),
        code => Err(Refusal::new(NOT_BUILT, format!("the trial launch ended with {code:?}"))),
    }
}

/// Runs a future to its end on a thread of its own.
fn block_on<F: Future>(future: impl FnOnce() -> F + Send) -> Result<F::Output, String>
where
    F::Output: Send,
{
    thread::scope(|scope| {
        scope
            .spawn(|| on_this_thread(future))
            .join()
            .unwrap_or_else(|_| Err("the thread of the launch ended early".to_owned()))
    })
}

/// Runs a future to its end here; not to be called where a runtime is at work already.
fn on_this_thread<F: Future>(future: impl FnOnce() -> F) -> Result<F::Output, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(future()))
        .map_err(|error| error.to_string())
}

fn word(level: Level) -> &'static str {
    match level {
        Level::None => "none",
        Level::Relaxed => "relaxed",
        Level::Strict => "strict",
    }
}

fn program(argv: Vec<String>) -> Vec<std::ffi::OsString> {
    if requirement::REGISTRY_NO_SHELL.enforced() {
        return argv.into_iter().map(Into::into).collect();
    }
    // What is prevented: arguments that a shell reads again.
    vec!["/bin/sh".into(), "-c".into(), argv.join(" ").into()]
}

fn request(tool: &str, arguments: &Value, config: &Config) -> Result<Vec<u8>, Rejection> {
    let refuse = |cause: String| Refusal::new(NOT_BUILT, cause).reject();
    let workspace = config.workspace.clone().unwrap_or_default();
    let workspace = workspace.canonicalize().map_err(|error| refuse(error.to_string()))?;
    let request = Request { tool: tool.to_owned(), workspace, arguments: arguments.clone() };
    serde_json::to_vec(&request).map_err(|error| refuse(error.to_string()))
}

fn of_program(ran: &Ran) -> Outcome {
    let mut output = json!({
        "exitCode": ran.code,
        "stdout": ran.stdout.text(),
        "stderr": ran.stderr.text(),
        "timedOut": ran.code.is_none(),
        "dropped": {"stdout": ran.stdout.dropped, "stderr": ran.stderr.dropped},
    });
    for (field, paths) in [("removed", &ran.removed), ("sharedWithOutside", &ran.shared)] {
        if let (false, Some(fields)) = (paths.is_empty(), output.as_object_mut()) {
            let names = paths.iter().take(NAMED).map(|path| path.to_string_lossy().into_owned());
            fields.insert(field.into(), names.map(Value::String).collect());
        }
    }
    if let (Some(missing), Some(fields)) = (&ran.missing, output.as_object_mut()) {
        fields.insert("error".into(), format!("the program cannot be executed: {missing}").into());
    }
    Outcome { completed: ran.code == Some(0), output }
}

/// How many files are named where there may be many.
const NAMED: usize = 20;

/// Reads a worker's answer as what it is: bytes from inside a sandbox.
fn of_worker(ran: &Ran) -> Result<Outcome, Rejection> {
    if ran.code.is_none() {
        let output = json!({"error": "the time of the tool was over"});
        return Ok(Outcome { completed: false, output });
    }
    let limits = Limits {
        body_bytes: derive::ANSWER_BYTES,
        message_bytes: derive::ANSWER_BYTES,
        ..Limits::default()
    };
    let response = boundary_json::parse::<Response>(&ran.stdout.bytes, &limits)?.into_inner();
    match response {
        Response::Output(output) => Ok(Outcome { completed: true, output }),
        Response::Failed(sentence) => {
            Ok(Outcome { completed: false, output: json!({"error": sentence}) })
        }
        Response::Rejected { requirement, public, cause } => {
            let requirement =
                Requirement::named(&requirement).unwrap_or(requirement::SANDBOX_FAIL_CLOSED);
            Err(requirement.refuse(sentence(requirement), format!("inside: {public}: {cause}")))
        }
    }
}

/// The caller's sentence of a refusal from inside: a constant, whatever the inside said.
fn sentence(requirement: Requirement) -> &'static str {
    match requirement {
        requirement::PATH_TRAVERSAL => "the path leaves the workspace",
        requirement::PATH_ABSOLUTE => "the path is absolute and not in the workspace",
        requirement::PATH_LINK => "the path leads through a link out of the workspace",
        requirement::PATH_OS_ALIAS => "the path is an alias of another name",
        requirement::INPUT_NULL_BYTE => "the text holds a null byte",
        _ => "the tool refused the call",
    }
}
