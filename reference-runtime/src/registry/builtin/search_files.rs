//! `search_files`: the lines of the workspace's text files that hold a text. It must never follow
//! a link, and never answers with more than it promises.

use serde_json::{Value, json};

use super::{Kind, read_file::MAX, text};
use crate::{
    boundary::path::{FileError, RelativePath, Workspace},
    registry::{Capabilities, Capability, Tool},
};

/// Lines in one answer.
const MATCHES: usize = 200;
/// Entries that are looked at.
const ENTRIES: usize = 20_000;
/// Folders below one another.
const DEPTH: usize = 32;
/// Bytes that are read in all.
const BYTES: usize = 256_000_000;
/// Characters of a line that are shown.
const SHOWN: usize = 400;

pub(super) static TOOL: Tool = Tool {
    name: "search_files",
    description: "Finds the lines of the workspace's text files that hold `text`, byte for byte. \
                  `path` is the folder to begin at (default: the workspace); links are not \
                  followed, files above 1 MB and files that are no text are skipped. Answers with \
                  matches (path, line, text), at most 200, and cut where there was more.",
    capabilities: Capabilities::of(&[Capability::Read]),
    schema: r#"{
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": 1000, "description": "what the line holds"},
            "path": {"type": "string", "minLength": 1, "maxLength": 4096, "description": "relative to the workspace"}
        },
        "required": ["text"],
        "additionalProperties": false
    }"#,
    paths: &["path"],
    opt_in: false,
    kind: Kind::Worker(run),
};

/// What was found, and what it may still cost.
struct Search<'call> {
    workspace: &'call Workspace,
    wanted: &'call str,
    matches: Vec<Value>,
    entries: usize,
    bytes: usize,
    cut: bool,
}

fn run(workspace: &Workspace, arguments: &Value) -> Result<Value, FileError> {
    let wanted = text(arguments, "text")?;
    let named = arguments.get("path").map_or(Ok("."), |_| text(arguments, "path"))?;
    let begin = workspace.resolve(named)?;
    let mut search =
        Search { workspace, wanted, matches: Vec::new(), entries: 0, bytes: 0, cut: false };
    search.folder(&begin, DEPTH)?;
    Ok(json!({ "matches": search.matches, "cut": search.cut }))
}

impl Search<'_> {
    fn folder(&mut self, folder: &RelativePath, depth: usize) -> Result<(), FileError> {
        for entry in self.workspace.list(folder)? {
            self.entries += 1;
            if self.matches.len() >= MATCHES || self.entries > ENTRIES || self.bytes > BYTES {
                self.cut = true;
                return Ok(());
            }
            let path = match folder.as_str() {
                "." | "" => entry.name.clone(),
                above => format!("{above}/{}", entry.name),
            };
            // A name that no path may have, or that is not Unicode, cannot be asked for.
            let Ok(path) = self.workspace.resolve(&path) else { continue };
            if entry.folder {
                match depth.checked_sub(1) {
                    // A folder that may not be read, or went away, holds nothing for us.
                    Some(rest) => drop(self.folder(&path, rest)),
                    None => self.cut = true,
                }
            } else if entry.bytes > 0 && entry.bytes <= MAX as u64 {
                self.file(&path);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &RelativePath) {
        let Ok(bytes) = self.workspace.read(path, MAX) else { return };
        self.bytes += bytes.len();
        let Ok(content) = String::from_utf8(bytes) else { return };
        let found = content.lines().enumerate().filter(|(_, line)| line.contains(self.wanted));
        for (place, line) in found {
            if self.matches.len() >= MATCHES {
                self.cut = true;
                return;
            }
            let shown: String = line.chars().take(SHOWN).collect();
            self.matches.push(json!({"path": path.as_str(), "line": place + 1, "text": shown}));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(folder: &std::path::Path, arguments: &Value) -> Value {
        run(&Workspace::open(folder).unwrap(), arguments).map_err(|_| ()).unwrap()
    }

    #[test]
    fn finds_lines_by_place_and_number() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/deep"), "one\ntwo needle\n").unwrap();
        std::fs::write(folder.path().join("top"), "needle").unwrap();
        std::fs::write(folder.path().join("binary"), b"\xff needle").unwrap();
        let all = search(folder.path(), &json!({"text": "needle"}));
        assert_eq!(
            all,
            json!({"cut": false, "matches": [
                {"path": "a/b/deep", "line": 2, "text": "two needle"},
                {"path": "top", "line": 1, "text": "needle"},
            ]})
        );
        let below = search(folder.path(), &json!({"text": "needle", "path": "a/b"}));
        assert_eq!(below["matches"][0]["path"], "a/b/deep");
        assert_eq!(below["matches"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn says_that_there_was_more() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), "x\n".repeat(MATCHES + 1)).unwrap();
        let found = search(folder.path(), &json!({"text": "x"}));
        assert_eq!(found["matches"].as_array().unwrap().len(), MATCHES);
        assert_eq!(found["cut"], true);
    }

    #[cfg(unix)]
    #[test]
    fn follows_no_link() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "needle").unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("folder")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), folder.path().join("f")).unwrap();
        assert_eq!(search(folder.path(), &json!({"text": "needle"}))["matches"], json!([]));
    }
}
