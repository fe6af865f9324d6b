//! `list_files`: the entries of one folder of the workspace. It must never follow a link.

use serde_json::{Value, json};

use super::{Kind, text};
use crate::{
    boundary::path::{FileError, Workspace},
    registry::{Capabilities, Capability, Tool},
};

pub(super) static TOOL: Tool = Tool {
    name: "list_files",
    description: "Lists one folder of the workspace; \".\" is the workspace itself. Answers with \
                  entries: name, folder, bytes.",
    capabilities: Capabilities::of(&[Capability::Read]),
    schema: r#"{
        "type": "object",
        "properties": {
            "path": {"type": "string", "minLength": 1, "maxLength": 4096, "description": "relative to the workspace"}
        },
        "required": ["path"],
        "additionalProperties": false
    }"#,
    paths: &["path"],
    opt_in: false,
    kind: Kind::Worker(run),
};

fn run(workspace: &Workspace, arguments: &Value) -> Result<Value, FileError> {
    let path = workspace.resolve(text(arguments, "path")?)?;
    let entries: Vec<Value> = workspace
        .list(&path)?
        .into_iter()
        .map(|entry| json!({"name": entry.name, "folder": entry.folder, "bytes": entry.bytes}))
        .collect();
    Ok(json!({ "entries": entries }))
}
