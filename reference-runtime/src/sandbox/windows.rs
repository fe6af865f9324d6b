//! Windows: this system's mechanism (Job Objects with AppContainer) is not implemented yet, so no tool runs. It must never
//! run a tool with less than the level asked for.

use super::run::{Job, Ran, Refusal, Setting, Stop};
use crate::audit::Rejection;

/// No value of this type exists: there is nothing to run a tool with.
#[derive(Debug)]
pub(super) enum Backend {}

impl Backend {
    /// Always refuses.
    pub(super) fn new(_setting: &Setting) -> Result<Self, Refusal> {
        Err(Refusal::new(
            "tools do not run on Windows: its sandbox is not implemented yet",
            "no backend for Windows (Job Objects with AppContainer)",
        ))
    }

    /// The mechanism and its version.
    pub(super) fn name(&self) -> Result<String, Refusal> {
        match *self {}
    }

    /// Runs a job, until it ends or `stop` resolves.
    #[expect(clippy::unused_async, reason = "the same face as the backend that exists")]
    pub(super) async fn run(&self, _job: Job, _stop: Stop) -> Result<Ran, Rejection> {
        match *self {}
    }
}
