//! A new record to be filled in: the next free number, an attack and its twin. Must never write.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::lint::UNWRITTEN;
use super::record::{Family, Record};
use super::{Corpus, CorpusError, Surface, VERSION};

/// What is known of a record before it is written.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The family.
    pub family: Family,
    /// The surface of the first attack and of its twin.
    pub surface: Surface,
    /// A short name of the technique.
    pub title: String,
    /// Who writes it.
    pub author: String,
    /// When, as `YYYY-MM-DD`.
    pub date: String,
}

/// The date of this day in universal time, as `YYYY-MM-DD`.
#[must_use]
pub fn today() -> String {
    jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now()).date().to_string()
}

/// The file of a new record and its text. What is left to be written says `CHANGE ME`, which lint
/// refuses.
///
/// # Errors
/// When the folder is no corpus.
pub fn scaffold(dir: &Path, outline: &Outline) -> Result<(PathBuf, String), CorpusError> {
    let corpus = Corpus::load(dir)?;
    let family = format!("{:?}", outline.family);
    let prefix = format!("{family}-");
    let numbers = corpus.records.iter().filter_map(|record| record.id.strip_prefix(&prefix));
    let last = numbers.filter_map(|number| number.parse::<u32>().ok()).max().unwrap_or(0);
    let id = format!("{prefix}{:03}", last + 1);
    let (setup, payload) = match outline.surface {
        Surface::ToolPathRead => (
            json!([{"file": {"path": "docs/ok.md", "content": {"var": "MARK"}}}]),
            json!("docs/ok.md"),
        ),
        Surface::MessageText => (json!([]), json!({"concat": [{"var": "NONCE"}, " ", UNWRITTEN]})),
        _ => (json!([]), json!(UNWRITTEN)),
    };
    let role = (outline.surface == Surface::ToolArguments).then_some("write");
    let case = |number: u32, kind: &str| {
        let mut case = json!({"id": format!("{id}.{number:03}"), "kind": kind, "surface": outline.surface, "note": UNWRITTEN});
        if let (Some(role), Some(members)) = (role, case.as_object_mut()) {
            members.insert("role".into(), json!(role));
        }
        case
    };
    let mut benign = case(1, "benign");
    let mut attack = case(2, "attack");
    for (case, twin, verdict) in
        [(&mut benign, None, "accept"), (&mut attack, Some(format!("{id}.001")), "reject")]
    {
        if let Some(members) = case.as_object_mut() {
            twin.map(|twin| members.insert("twin".into(), json!(twin)));
            if verdict == "accept" && setup != json!([]) {
                members.insert("setup".into(), setup.clone());
            }
            let own = verdict == "accept" || outline.surface == Surface::MessageText;
            let bytes = if own { payload.clone() } else { json!(UNWRITTEN) };
            members.insert("payload".into(), bytes);
            members.insert("expect".into(), json!({"verdict": verdict, "reason": UNWRITTEN}));
        }
    }
    let record = json!({
        "id": id, "family": family, "title": outline.title, "definition": UNWRITTEN,
        "status": "active", "since": VERSION, "severity": "medium", "requirement": [UNWRITTEN],
        "licence": "CC0-1.0",
        "provenance": {"kind": "submitted", "author": outline.author, "date": outline.date, "sources": []},
        "cases": [benign, attack],
    });
    let path = dir.join(&family).join(format!("{id}.json"));
    // Through the type, so that members stand in its order.
    let text = serde_json::from_value::<Record>(record)
        .and_then(|record| serde_json::to_string_pretty(&record))
        .map_err(|error| CorpusError::Malformed {
            path: path.clone(),
            line: 1,
            message: error.to_string(),
        })?;
    Ok((path, text + "\n"))
}

/// A JSON text whose characters beyond ASCII are escaped, as records want it.
pub(crate) fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0_u16; 2];
    for character in json.chars() {
        if character.is_ascii() && character != '\u{7f}' {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}
