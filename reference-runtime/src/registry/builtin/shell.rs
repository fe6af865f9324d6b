//! `shell`: a script that /bin/sh reads. It exists only where the configuration asks for it, and
//! it must never be reached through another tool.

use serde_json::Value;

use super::Kind;
use crate::registry::{Capabilities, Capability, Tool};

pub(super) static TOOL: Tool = Tool {
    name: "shell",
    description: "Runs a script with /bin/sh in the workspace. The whole text is read by a shell: \
                  use exec for a program with given arguments. Answers with exitCode, stdout and \
                  stderr.",
    capabilities: Capabilities::of(&[
        Capability::Read,
        Capability::Write,
        Capability::Network,
        Capability::Process,
    ]),
    schema: r#"{
        "type": "object",
        "properties": {
            "script": {"type": "string", "minLength": 1, "maxLength": 131071, "description": "what the shell reads"}
        },
        "required": ["script"],
        "additionalProperties": false
    }"#,
    paths: &[],
    opt_in: true,
    kind: Kind::Program(argv),
};

fn argv(arguments: &Value) -> Vec<String> {
    let script = arguments.get("script").and_then(Value::as_str).unwrap_or_default();
    vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()]
}
