//! The rules that every record keeps. Each finding names the file, the line and the fix. Must never
//! build what the symbolic size refuses, and never run a case.

mod case;
mod record;
mod strings;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

pub(super) use strings::UNWRITTEN;

use super::catalogue;
use super::places::Places;
use super::record::{Kind, Record};
use super::{Case, files};
use crate::spec::Spec;

/// One thing that is wrong with a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, under the folder that was looked at.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, message, fix } = self;
        write!(f, "{}:{line}: {message}\n    fix: {fix}", file.display())
    }
}

/// Everything that is wrong with the corpus in a folder, sorted by file and line; empty where all
/// is well.
#[must_use]
pub fn lint(dir: &Path, spec: &Spec) -> Vec<Finding> {
    let paths = match files(dir) {
        Ok(paths) => paths,
        Err(error) => {
            return vec![finding(dir, 1, error, "give the folder that holds the families")];
        }
    };
    let mut findings = Vec::new();
    let mut sheets = Vec::new();
    for path in paths {
        sheets.extend(Sheet::read(&path, &mut findings));
    }
    let cases = known_cases(&sheets, &mut findings);
    for sheet in &sheets {
        let mut rules = Rules { sheet, spec, cases: &cases, findings: &mut findings };
        record::check(&mut rules);
        for index in 0..sheet.record.cases.len() {
            case::check(&mut rules, index);
        }
    }
    stale(dir, &mut findings);
    findings.sort_by(|a, b| (&a.file, a.line, &a.message).cmp(&(&b.file, b.line, &b.message)));
    findings
}

fn finding(
    file: &Path,
    line: usize,
    message: impl fmt::Display,
    fix: impl Into<String>,
) -> Finding {
    Finding { file: file.to_owned(), line, message: message.to_string(), fix: fix.into() }
}

/// A record that parsed, with its place.
struct Sheet {
    path: PathBuf,
    places: Places,
    text: serde_json::Value,
    record: Record,
}

impl Sheet {
    fn read(path: &Path, findings: &mut Vec<Finding>) -> Option<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                findings.push(finding(
                    path,
                    1,
                    format!("cannot be read: {error}"),
                    "make it readable",
                ));
                return None;
            }
        };
        plain_bytes(path, &bytes, findings);
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(&bytes) {
            let line = error.line().max(1);
            findings.push(finding(
                path,
                line,
                error,
                "write strict JSON: no comments, no trailing commas",
            ));
            return None;
        }
        let places = Places::of(&bytes);
        for (pointer, line) in &places.repeated {
            let key = pointer.rsplit('/').next().unwrap_or_default();
            let message = format!("the key `{key}` stands twice");
            findings.push(finding(path, *line, message, "keep one of the two"));
        }
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) => {
                let text = serde_json::from_slice(&bytes).unwrap_or_default();
                Some(Self { path: path.to_owned(), places, text, record })
            }
            // Already said above, with a better line.
            Err(error) if error.to_string().starts_with("duplicate field") => None,
            Err(error) => {
                findings.push(unfitting(path, &error));
                None
            }
        }
    }
}

fn plain_bytes(path: &Path, bytes: &[u8], findings: &mut Vec<Finding>) {
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if let Some(byte) = line.iter().find(|byte| !matches!(byte, 0x20..=0x7e)) {
            let message =
                format!("the byte 0x{byte:02x} is neither printable ASCII nor a line feed");
            let fix = "write it as a JSON escape, or as a `hex` expression";
            findings.push(finding(path, index + 1, message, fix));
        }
    }
    if bytes.last() != Some(&b'\n') {
        let lines = bytes.split(|byte| *byte == b'\n').count();
        findings.push(finding(path, lines, "no line feed at the end", "end the file with one"));
    }
}

/// A text that is JSON and no record: an unknown or missing member, or a value of another type.
fn unfitting(path: &Path, error: &serde_json::Error) -> Finding {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
    let mut names = message.split('`').skip(1).step_by(2);
    let given = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    let fix = if message.starts_with("missing field") {
        format!("add the member `{given}`; attacks/schema.json says what it holds")
    } else if let Some(near) = nearest(given, &known) {
        format!("did you mean `{near}`?")
    } else {
        "attacks/schema.json says what stands here".to_owned()
    };
    finding(path, error.line().max(1), message, fix)
}

fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|name| (strsim::damerau_levenshtein(given, name), *name));
    distances
        .min()
        .filter(|(distance, name)| *distance <= name.len().max(3) / 2 + 1)
        .map(|(_, name)| name)
}

/// Every case by its id; an id that stands twice, in one file or two, is a finding.
fn known_cases<'a>(
    sheets: &'a [Sheet],
    findings: &mut Vec<Finding>,
) -> BTreeMap<&'a str, &'a Case> {
    let mut cases = BTreeMap::new();
    let mut records = BTreeMap::new();
    for sheet in sheets {
        if let Some(other) = records.insert(sheet.record.id.as_str(), &sheet.path) {
            let message = format!("the id {} is taken by {}", sheet.record.id, other.display());
            let line = sheet.places.line("/id");
            findings.push(finding(&sheet.path, line, message, "take the next free number"));
        }
        for (index, case) in sheet.record.cases.iter().enumerate() {
            if cases.insert(case.id.as_str(), case).is_some() {
                let line = sheet.places.line(&format!("/cases/{index}/id"));
                let message = format!("the case id {} stands twice", case.id);
                findings.push(finding(&sheet.path, line, message, "take the next free number"));
            }
        }
    }
    cases
}

/// The generated files are those that would be generated now.
fn stale(dir: &Path, findings: &mut Vec<Finding>) {
    let fix = "run `cargo xtask attacks manifest`";
    let Ok(manifest) = catalogue::manifest(dir) else { return };
    for (name, current) in [("MANIFEST.json", manifest), ("schema.json", catalogue::schema())] {
        let path = dir.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) if text == current => {}
            Ok(_) => findings.push(finding(&path, 1, "is not what the records say now", fix)),
            Err(_) => findings.push(finding(&path, 1, "is missing", fix)),
        }
    }
}

/// What a rule looks at, and where it says what it found.
struct Rules<'a> {
    sheet: &'a Sheet,
    spec: &'a Spec,
    cases: &'a BTreeMap<&'a str, &'a Case>,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Rules<'a> {
    fn record(&self) -> &'a Record {
        &self.sheet.record
    }

    /// Says what is wrong with the member at a JSON pointer.
    fn say(&mut self, pointer: &str, message: impl fmt::Display, fix: impl Into<String>) {
        let line = self.sheet.places.line(pointer);
        self.findings.push(finding(&self.sheet.path, line, message, fix));
    }

    /// Says it unless the rule holds.
    fn hold(&mut self, holds: bool, pointer: &str, message: &str, fix: &str) {
        if !holds {
            self.say(pointer, message, fix);
        }
    }

    /// The case that another names as its twin, where it is one.
    fn twin(&self, case: &Case) -> Option<&'a Case> {
        let twin = self.cases.get(case.twin.as_deref()?).copied();
        twin.filter(|twin| twin.kind == Kind::Benign)
    }
}
