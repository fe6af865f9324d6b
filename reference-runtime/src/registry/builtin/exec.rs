//! `exec`: one program with its arguments, no shell. It must never join or split an argument.

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
    kind: Kind::Program,
};
