//! The words between the sandbox and its backends: what a run is, what came of it, and why none
//! was made. It must never know a backend.

use std::{
    ffi::OsString,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use super::{output::Captured, policy::Level};
use crate::{audit::Rejection, registry::Capabilities, requirement};

/// What is to be run.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) level: Level,
    pub(super) capabilities: Capabilities,
    pub(super) work: Work,
    pub(super) timeout: Duration,
    /// Pass what is kept of the output on to this process's own, as it comes.
    pub(super) pass_on: bool,
    /// A process that stays and is spoken to; none: a tool's run.
    #[cfg_attr(windows, expect(dead_code, reason = "Windows runs no plugins"))]
    pub(super) stays: Option<Stays>,
}

/// What a run that stays has besides.
#[derive(Clone, Debug)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux runs plugins"))]
pub(super) struct Stays {
    /// The folder that it sees.
    pub(super) folder: PathBuf,
    /// Where the number of the process is written that was started for it.
    pub(super) helper: Arc<AtomicU32>,
    /// Whether it inherits environment and descriptors: never but in a knockout build.
    pub(super) bare: bool,
}

/// The two kinds of work, and none.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Only build the sandbox, to see that it can be built.
    Trial,
    /// A call to the file tools, as JSON.
    Worker(Vec<u8>),
    /// A program and its arguments.
    Program(Vec<OsString>),
}

/// What came of a run in which the tool did start.
#[derive(Clone, Debug, Default)]
pub(super) struct Ran {
    /// The exit code; 128 + signal where a signal ended it; none where it was ended.
    pub(super) code: Option<i32>,
    pub(super) stdout: Captured,
    pub(super) stderr: Captured,
    /// The reason of the system why the program could not be executed.
    pub(super) missing: Option<String>,
    /// It was ended before its time, because it was told to stop.
    pub(super) stopped: bool,
    /// Links out of the workspace, pipes and devices that it left behind and that were taken away.
    pub(super) removed: Vec<PathBuf>,
    /// Files of the workspace that have a name outside too: what was written into them, if
    /// anything was, changed outside. Relative to the workspace.
    pub(super) shared: Vec<PathBuf>,
    /// How much of Landlock is in force: `full`, `part`, `none`, `off`.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux has it"))]
    pub(super) landlock: String,
}

/// Where and how tools run: what a backend is told once.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// As configured; the backend resolves it.
    pub(super) workspace: PathBuf,
    /// The uid to drop to where this process is root.
    #[cfg_attr(windows, expect(dead_code, reason = "Windows has no uids"))]
    pub(super) uid: Option<u32>,
    /// This program, if it is not the running one (in tests).
    pub(super) shim: Option<PathBuf>,
    /// Whether sandboxes may be built ahead of the calls that they are for.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "the other backends build none ahead")
    )]
    pub(super) ahead: bool,
    /// Paths that must not change although they may lie in the workspace.
    #[cfg_attr(windows, expect(dead_code, reason = "not protected on Windows, and said so"))]
    pub(super) protected: Vec<PathBuf>,
}

/// Resolves when a run is to be ended early: a message, or the sender gone.
pub(super) type Stop = tokio::sync::oneshot::Receiver<()>;

/// Why no tool runs, to be told at every call.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The sentence for the caller.
    pub(super) public: &'static str,
    /// For the log.
    pub(super) cause: String,
}

impl Refusal {
    pub(super) fn new(public: &'static str, cause: impl Into<String>) -> Self {
        Self { public, cause: cause.into() }
    }

    /// As a refusal of this call.
    pub(super) fn reject(&self) -> Rejection {
        requirement::SANDBOX_FAIL_CLOSED.refuse(self.public, self.cause.clone())
    }
}

/// The tool did not run because the sandbox could not be built for it.
pub(super) const NOT_BUILT: &str = "the sandbox could not be built, so the tool did not run";
