//! A command line as a manifest writes it. It must never know what it is for, nor run it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// A command line.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment variables on top of PATH, HOME, TMPDIR and LANG.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Standard input; none without it.
    #[serde(default)]
    pub stdin: Option<String>,
}
