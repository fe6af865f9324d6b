//! `write_file`: one file of the workspace, replaced as a whole. It must never write elsewhere.

use serde_json::{Value, json};

use super::{Kind, text};
use crate::{
    boundary::path::{FileError, Workspace},
    registry::{Capabilities, Capability, Tool},
};

pub(super) static TOOL: Tool = Tool {
    name: "write_file",
    description: "Writes one text file of the workspace, replacing it, and makes the folders above \
                  it. Answers with bytes.",
    capabilities: Capabilities::of(&[Capability::Read, Capability::Write]),
    schema: r#"{
        "type": "object",
        "properties": {
            "path": {"type": "string", "minLength": 1, "maxLength": 4096, "description": "relative to the workspace"},
            "content": {"type": "string", "description": "the whole new text"}
        },
        "required": ["path", "content"],
        "additionalProperties": false
    }"#,
    paths: &["path"],
    opt_in: false,
    kind: Kind::Worker(run),
};

fn run(workspace: &Workspace, arguments: &Value) -> Result<Value, FileError> {
    let path = workspace.resolve(text(arguments, "path")?)?;
    let content = text(arguments, "content")?.as_bytes();
    workspace.write(&path, content)?;
    Ok(json!({ "bytes": content.len() }))
}
