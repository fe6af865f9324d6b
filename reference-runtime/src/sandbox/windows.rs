//! Windows: this system's mechanism (Job Objects with AppContainer) is not implemented yet, so no tool runs. It must never
//! run a tool with less than the level asked for.

use super::run::{Job, Ran, Refusal, Setting, Stop};
use crate::audit::Rejection;

/// There is nothing to run a tool with: every method refuses.
#[derive(Debug)]
pub(super) struct Backend;

impl Backend {
    /// Never fails; what it returns refuses.
    pub(super) fn new(_setting: &Setting) -> Result<Self, Refusal> {
        Ok(Self)
    }

    /// Refuses: there is no mechanism.
    pub(super) fn name(&self) -> Result<String, Refusal> {
        Err(refusal())
    }

    /// Refuses, at every level.
    pub(super) async fn run(&self, _job: Job, _stop: Stop) -> Result<Ran, Rejection> {
        Err(refusal().reject())
    }
}

fn refusal() -> Refusal {
    Refusal::new(
        "tools do not run on Windows: its sandbox is not implemented yet",
        "no backend for Windows (Job Objects with AppContainer)",
    )
}
