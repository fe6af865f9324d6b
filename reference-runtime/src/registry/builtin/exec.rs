//! `exec`: one program with its arguments, no shell. It must never join or split an argument.

use serde_json::Value;

use super::Kind;
use crate::registry::{Capabilities, Capability, Tool};

pub(super) static TOOL: Tool = Tool {
    name: "exec",
    description: "Runs one program in the workspace, without a shell. argv[0] is the program, the \
                  rest its arguments, passed on byte for byte. Answers with exitCode, stdout and \
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
            "argv": {
                "type": "array",
                "items": {"type": "string", "maxLength": 131071},
                "minItems": 1,
                "maxItems": 1024,
                "description": "the program and its arguments"
            }
        },
        "required": ["argv"],
        "additionalProperties": false
    }"#,
    paths: &[],
    opt_in: false,
    kind: Kind::Program(argv),
};

/// Anything that is no string is taken as its JSON text (which a schema never lets through).
fn argv(arguments: &Value) -> Vec<String> {
    let text = |item: &Value| match item {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match arguments.get("argv") {
        Some(Value::Array(items)) => items.iter().map(text).collect(),
        Some(other) => vec![text(other)],
        None => Vec::new(),
    }
}
