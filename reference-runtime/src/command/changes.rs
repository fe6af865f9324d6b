//! Changes that an operator makes on the command line, in the same audit log as those that come over
//! the network. It must never be handed a secret.

use std::path::PathBuf;

use clawproof_runtime::audit::{Audit, Correlation, Event, Kind, Outcome, Redactor};

use super::{Failure, State};

/// The open log of a state folder. It is opened before the change: what could not be recorded is
/// not done.
pub(crate) struct Changes {
    pub(crate) state: PathBuf,
    audit: Audit,
}

impl Changes {
    /// Makes the state folder where it does not exist, and opens its log.
    pub(crate) fn of(state: &State) -> Result<Self, Failure> {
        let state = state.make()?;
        let audit = Audit::open(&state, Redactor::new())?;
        Ok(Self { state, audit })
    }

    /// Records a change that was made.
    pub(crate) fn record(&self, action: &str, what: &str) -> Result<(), Failure> {
        let event =
            Event::new(Kind::Config, Outcome::Completed, "operator", action, Correlation::new());
        Ok(self.audit.record_blocking(event.with("what", what))?)
    }
}
