//! What became of a call, as a reply and its listeners are told. It must never know how it ran.

use serde::Serialize;

/// What became of one call.
#[derive(Clone, Debug, Serialize)]
pub struct CallReport {
    /// The id that the model gave it.
    pub id: String,
    /// The name that the model gave.
    pub name: String,
    /// How it ended.
    pub outcome: CallOutcome,
    /// The requirement that refused it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requirement: Option<&'static str>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CallOutcome {
    /// The tool did what it was asked.
    Completed,
    /// The tool did not run.
    Refused,
    /// The tool ran and could not do it.
    Failed,
}
