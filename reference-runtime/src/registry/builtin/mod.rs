//! The built-in tools as data, one file each, and what the file tools do inside the sandbox. It
//! must never know how a tool is contained.

mod edit_file;
mod exec;
mod http_fetch;
mod list_files;
mod read_file;
mod search_files;
mod shell;
mod write_file;

use serde_json::Value;

use super::Tool;
use crate::boundary::path::{FileError, Workspace};

/// How a tool runs.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The runtime's own code, in a sandboxed process of its own.
    Worker(Operation),
    /// A program that the arguments name is executed in the sandbox.
    Program(Argv),
    /// The plugin of this name answers it, in a sandboxed process that stays.
    Plugin(&'static str),
}

/// What a file tool does, inside the sandbox: arguments to an answer.
pub type Operation = fn(&Workspace, &Value) -> Result<Value, FileError>;

/// The program and its arguments, of the arguments of a call.
pub type Argv = fn(&Value) -> Vec<String>;

/// Every built-in tool. The order is the order in which models see them.
pub const ALL: &[&Tool] = &[
    &read_file::TOOL,
    &write_file::TOOL,
    &edit_file::TOOL,
    &list_files::TOOL,
    &search_files::TOOL,
    &exec::TOOL,
    &shell::TOOL,
    &http_fetch::TOOL,
];

/// The built-in tool with exactly this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Tool> {
    ALL.iter().copied().find(|tool| tool.name == name)
}

/// What `registry.only-registered` prevents: a tool picked by guess, from a name that is not
/// registered or from the shape of the arguments.
pub(super) fn guess(name: &str, arguments: &Value) -> Option<&'static Tool> {
    let has = |key: &str| arguments.get(key).is_some();
    find(name).or_else(|| {
        if has("argv") {
            Some(&exec::TOOL)
        } else if has("path") && has("content") {
            Some(&write_file::TOOL)
        } else if has("path") {
            Some(&read_file::TOOL)
        } else {
            None
        }
    })
}

/// The text of an argument.
fn text<'call>(arguments: &'call Value, name: &str) -> Result<&'call str, FileError> {
    arguments.get(name).and_then(Value::as_str).ok_or_else(|| {
        FileError::Failed(
            "an argument is missing or is no text",
            std::io::ErrorKind::InvalidInput.into(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_compiles_and_closes_its_objects() {
        for tool in ALL {
            let schema = super::super::schema::Schema::new(tool.schema).unwrap();
            assert_eq!(schema.document()["additionalProperties"], false, "{}", tool.name);
            assert_eq!(schema.document()["type"], "object", "{}", tool.name);
            for path in tool.paths {
                assert_eq!(schema.document()["properties"][path]["type"], "string");
            }
        }
    }

    #[test]
    fn every_file_of_this_folder_is_a_tool_of_the_same_name() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/registry/builtin");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "mod.rs")
            .map(|name| name.trim_end_matches(".rs").to_owned())
            .collect();
        let mut names: Vec<String> = ALL.iter().map(|tool| tool.name.to_owned()).collect();
        files.sort();
        names.sort();
        assert_eq!(files, names);
    }
}
