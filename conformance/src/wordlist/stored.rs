//! A list as it was imported: what it is, whose it is, under which licence, and its lines as data.
//! Such files stay on the machine; the corpus holds none of other people's lists. It must never
//! hold a byte that an editor or a terminal would not show.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::read::malformed;
use super::{Entry, Format, List, ListError};
use crate::corpus::{Surface, today};

/// What such a file calls itself.
const SCHEMA: &str = "clawproof-wordlist-1";

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// `clawproof-wordlist-1`.
    pub schema: String,
    /// The list's short name.
    pub name: String,
    /// The name of the file that it was.
    pub source: String,
    /// How that file was written.
    pub format: Format,
    /// SHA-256 of that file.
    pub sha256: String,
    /// The SPDX licence of that file.
    pub licence: String,
    /// When it was imported, as `YYYY-MM-DD`.
    pub date: String,
    /// Where its lines are delivered.
    pub surface: Surface,
    /// `either`: a line may be refused or taken as a name.
    pub verdict: String,
    /// `no-escape`: and must not lead outside.
    pub oracle: String,
    /// How many of its lines were the same as an earlier one.
    pub repeated: usize,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// `X-<list>-<hash>`.
    pub id: String,
    /// Where it stood, from 1.
    pub line: usize,
    /// The bytes, where they are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in hexadecimal, where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

/// The text of the file for a list.
///
/// # Errors
/// What the writer says.
pub fn text(list: &List, licence: &str, surface: Surface) -> Result<String, serde_json::Error> {
    let lines = list.entries.iter().map(|entry| {
        let text = String::from_utf8(entry.payload.clone()).ok();
        let hex = text.is_none().then(|| hex::encode(&entry.payload));
        Line { id: list.id(entry), line: entry.line, text, hex }
    });
    let source = list.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let imported = Imported {
        schema: SCHEMA.to_owned(),
        name: list.name.clone(),
        source,
        format: list.format,
        sha256: list.sha256.clone(),
        licence: licence.to_owned(),
        date: today(),
        surface,
        verdict: "either".to_owned(),
        oracle: "no-escape".to_owned(),
        repeated: list.repeated,
        lines: lines.collect(),
    };
    Ok(crate::corpus::ascii(&serde_json::to_string_pretty(&imported)?) + "\n")
}

/// Whether a file is an imported list, by its beginning.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes)).into_owned();
    head.trim_start().starts_with('{') && head.contains(SCHEMA)
}

/// Reads an imported list.
pub(super) fn load(path: &Path, bytes: &[u8]) -> Result<List, ListError> {
    let imported: Imported = serde_json::from_slice(bytes)
        .map_err(|error| malformed(path, error.line().max(1), error.to_string()))?;
    let mut entries = Vec::with_capacity(imported.lines.len());
    for line in imported.lines {
        let payload = match (line.text, line.hex.map(hex::decode)) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(Ok(bytes))) => bytes,
            _ => {
                let message = format!("{} needs either `text` or `hex`", line.id);
                return Err(malformed(path, 1, message));
            }
        };
        entries.push(Entry { line: line.line, payload });
    }
    Ok(List {
        name: imported.name,
        path: imported.source.into(),
        format: imported.format,
        sha256: imported.sha256,
        entries,
        repeated: imported.repeated,
        surface: Some(imported.surface),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_imported_reads_back_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("odd.txt");
        std::fs::write(&raw, b"../a\n..\xc0\xafb\n\xe2\x80\xa5/c\n\x7f\n../a\n").unwrap();
        let list = List::load(&raw, None).unwrap();
        let text = text(&list, "MIT", Surface::ToolPathRead).unwrap();
        assert!(text.bytes().all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)));
        let stored = folder.path().join("odd.json");
        std::fs::write(&stored, text).unwrap();
        let again = List::load(&stored, None).unwrap();
        assert_eq!((again.entries, again.repeated, again.name), (list.entries, 1, list.name));
        assert_eq!(again.surface, Some(Surface::ToolPathRead));
    }
}
