//! `edit_file`: one passage of a text file of the workspace, replaced. It must never guess which
//! passage is meant.

use std::io;

use serde_json::{Value, json};

use super::{Kind, read_file::MAX, text};
use crate::{
    boundary::path::{FileError, Workspace},
    registry::{Capabilities, Capability, Tool},
};

pub(super) static TOOL: Tool = Tool {
    name: "edit_file",
    description: "Replaces one passage of a text file of the workspace, at most 1 MB. `old` must \
                  stand in the file exactly once; with `all` every occurrence is replaced. Answers \
                  with replaced and bytes.",
    capabilities: Capabilities::of(&[Capability::Read, Capability::Write]),
    schema: r#"{
        "type": "object",
        "properties": {
            "path": {"type": "string", "minLength": 1, "maxLength": 4096, "description": "relative to the workspace"},
            "old": {"type": "string", "minLength": 1, "description": "the passage, byte for byte"},
            "new": {"type": "string", "description": "what stands there afterwards"},
            "all": {"type": "boolean", "description": "replace every occurrence"}
        },
        "required": ["path", "old", "new"],
        "additionalProperties": false
    }"#,
    paths: &["path"],
    opt_in: false,
    kind: Kind::Worker(run),
};

fn run(workspace: &Workspace, arguments: &Value) -> Result<Value, FileError> {
    let (old, new) = (text(arguments, "old")?, text(arguments, "new")?);
    let all = arguments.get("all").and_then(Value::as_bool).unwrap_or(false);
    let path = workspace.resolve(text(arguments, "path")?)?;
    let failed = |words, kind: io::ErrorKind| FileError::Failed(words, kind.into());
    let content = String::from_utf8(workspace.read(&path, MAX)?)
        .map_err(|_| failed("the file is no UTF-8 text", io::ErrorKind::InvalidData))?;
    let replaced = content.matches(old).count();
    if replaced == 0 {
        return Err(failed("the passage does not stand in the file", io::ErrorKind::NotFound));
    }
    if replaced > 1 && !all {
        let words = "the passage stands in the file more than once: name more of it, or `all`";
        return Err(failed(words, io::ErrorKind::InvalidInput));
    }
    // Known before anything is built: a short passage may stand there a million times.
    let grown = replaced.saturating_mul(new.len()).saturating_add(content.len());
    if grown.saturating_sub(replaced.saturating_mul(old.len())) > MAX {
        return Err(failed("the file would be too large", io::ErrorKind::FileTooLarge));
    }
    let edited = content.replace(old, new);
    workspace.write(&path, edited.as_bytes())?;
    Ok(json!({ "replaced": replaced, "bytes": edited.len() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(content: &str, arguments: Value) -> (Result<Value, String>, String) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), content).unwrap();
        let workspace = Workspace::open(folder.path()).unwrap();
        let result = run(&workspace, &arguments).map_err(|error| match error {
            FileError::Failed(public, _) => public.to_owned(),
            FileError::Refused(refusal) => refusal.requirement().id().to_owned(),
        });
        (result, std::fs::read_to_string(folder.path().join("f")).unwrap())
    }

    #[test]
    fn replaces_a_passage_that_stands_there_once() {
        let (result, after) = edit("a b c", json!({"path": "f", "old": "b", "new": "two"}));
        assert_eq!(result.unwrap(), json!({"replaced": 1, "bytes": 7}));
        assert_eq!(after, "a two c");
    }

    #[test]
    fn leaves_the_file_alone_where_the_passage_is_missing_or_not_unique() {
        for old in ["x", "a"] {
            let (result, after) = edit("a b a", json!({"path": "f", "old": old, "new": "z"}));
            assert!(result.unwrap_err().starts_with("the passage"));
            assert_eq!(after, "a b a");
        }
        let all = json!({"path": "f", "old": "a", "new": "z", "all": true});
        assert_eq!(edit("a b a", all).1, "z b z");
    }

    #[test]
    fn does_not_grow_a_file_beyond_what_is_read() {
        let arguments = json!({"path": "f", "old": "a", "new": "z".repeat(2_000), "all": true});
        let (result, after) = edit(&"a".repeat(1_000), arguments);
        assert_eq!(result.unwrap_err(), "the file would be too large");
        assert_eq!(after.len(), 1_000);
    }

    #[test]
    fn does_not_leave_the_workspace() {
        let arguments = json!({"path": "../f", "old": "a", "new": "b"});
        assert_eq!(edit("a", arguments).0.unwrap_err(), "path.traversal");
    }
}
