//! `read_file`: the text of one file of the workspace. It must never write.

use serde_json::{Value, json};

use super::{Kind, text};
use crate::{
    boundary::path::{FileError, Workspace},
    registry::{Capabilities, Capability, Tool},
};

/// The largest file that is read, in bytes.
pub(super) const MAX: usize = 1_000_000;

pub(super) static TOOL: Tool = Tool {
    name: "read_file",
    description: "Reads one text file of the workspace, at most 1 MB. Answers with content.",
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
    let bytes = workspace.read(&path, MAX)?;
    // A file that is not UTF-8 is still worth reading; what was lost is said, not hidden.
    Ok(match String::from_utf8(bytes) {
        Ok(content) => json!({ "content": content }),
        Err(error) => json!({
            "content": String::from_utf8_lossy(error.as_bytes()),
            "lossy": true,
        }),
    })
}
