//! Layer 3: the operating system holds what a tool may do. Every tool call runs in a fresh process
//! of its own; where the level asked for cannot be enforced, the tool does not run. This room must
//! never know who asked for a call or what the answer is for.

pub mod launch;
pub mod policy;
pub mod shim;

use serde::Serialize;
use serde_json::Value;

pub use policy::Level;

use crate::{
    audit::Rejection,
    config::Config,
    registry::{Authorized, ToolCall},
    requirement,
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

    /// The value without its proof.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }
}

/// What a tool answered. The tool ran; a tool that did not run is a [`Rejection`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Whether the tool did what it was asked: for `exec`, exit code 0 within the time limit.
    pub completed: bool,
    /// `exec`: `{"exitCode": int or null, "stdout", "stderr", "timedOut": bool, "dropped": {"stdout",
    /// "stderr"} bytes}`; file tools: their answer, or `{"error": sentence}`.
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

/// The sandbox of this runtime.
#[derive(Debug)]
pub struct Sandbox {
    level: Level,
}

impl Sandbox {
    /// Looks for the backend and tries it once. Never fails: a sandbox that cannot hold refuses
    /// every run.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { level: config.sandbox.level }
    }

    /// What is in force.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            level: self.level,
            backend: "none".into(),
            effective: "refused".into(),
            missing: vec!["the sandbox is not built yet".into()],
        }
    }

    /// The level in force for a tool.
    #[must_use]
    pub fn level(&self, _tool: &str) -> Level {
        self.level
    }

    /// Runs one authorised call in a fresh sandbox.
    ///
    /// # Errors
    /// `sandbox.fail-closed` where the tool did not run; a requirement of Layer 1 that the tool's
    /// own checks inside the sandbox refused by.
    pub async fn run(&self, call: Authorized<ToolCall>) -> Result<Contained<Outcome>, Rejection> {
        Err(requirement::SANDBOX_FAIL_CLOSED.refuse(
            "the sandbox cannot hold this tool, so it did not run",
            format!("{} was refused: the sandbox is not built yet", call.tool().name),
        ))
    }
}
