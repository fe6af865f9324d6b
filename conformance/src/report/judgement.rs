//! How a run stands against its known failures, as a report holds it. It must never know how it was
//! judged.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a run stands against a baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// The exit code of the process: 0 where everything that is not certified is known.
    pub exit: u8,
    /// One sentence.
    pub sentence: String,
    /// The cases whose failure is known: case id = reason and link.
    pub known: BTreeMap<String, String>,
    /// Entries that no longer hold, each as one sentence.
    pub wrong: Vec<String>,
    /// MUST requirements that are not certified for another reason than a known failure.
    pub other: Vec<String>,
}
