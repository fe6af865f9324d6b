//! Lists as they are found: raw lines, JSON arrays of strings, either of them in base64. It must
//! never guess past a fault: the first wrong line is named.

use std::collections::HashSet;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{Entry, List, ListError};

/// The largest file, in bytes.
const MOST_BYTES: usize = 64_000_000;
/// The longest line, in bytes.
const LONGEST: usize = 65_536;
/// A list of fewer lines is not taken for base64 by its looks.
const FEW: usize = 8;

/// How the lines of a list are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One attack on each line, as it is. Empty lines are skipped, and those that are `#` alone or
    /// begin with `#` and a blank.
    Lines,
    /// A JSON array of strings.
    Json,
    /// One attack on each line, in base64.
    Base64,
    /// A JSON array of strings in base64.
    JsonBase64,
}

/// Reads the bytes of a list.
pub(super) fn parse(path: &Path, bytes: &[u8], format: Option<Format>) -> Result<List, ListError> {
    if bytes.len() > MOST_BYTES {
        let message = format!("the file is larger than {MOST_BYTES} bytes: split it");
        return Err(malformed(path, 1, message));
    }
    let raw = match format {
        Some(Format::Json | Format::JsonBase64) => elements(path, bytes)?,
        Some(Format::Lines | Format::Base64) => lines(bytes),
        None if begins_an_array(bytes) => elements(path, bytes)?,
        None => lines(bytes),
    };
    let is_json = format.map_or_else(
        || begins_an_array(bytes),
        |format| matches!(format, Format::Json | Format::JsonBase64),
    );
    let encoded = format.map_or_else(
        || looks_encoded(&raw),
        |format| matches!(format, Format::Base64 | Format::JsonBase64),
    );
    let format = match (is_json, encoded) {
        (true, true) => Format::JsonBase64,
        (true, false) => Format::Json,
        (false, true) => Format::Base64,
        (false, false) => Format::Lines,
    };
    let mut list = List {
        name: slug(path),
        path: path.to_owned(),
        format,
        sha256: hex::encode(Sha256::digest(bytes)),
        entries: Vec::new(),
        repeated: 0,
        surface: None,
    };
    let mut seen = HashSet::new();
    for Entry { line, payload } in raw {
        let payload = if encoded { decoded(path, line, &payload)? } else { payload };
        if payload.len() > LONGEST {
            let message =
                format!("the line is longer than {LONGEST} bytes: no path surface takes it");
            return Err(malformed(path, line, message));
        }
        if seen.insert(payload.clone()) {
            list.entries.push(Entry { line, payload });
        } else {
            list.repeated += 1;
        }
    }
    if list.entries.is_empty() {
        return Err(malformed(path, 1, "the list has no line to play".to_owned()));
    }
    Ok(list)
}

pub(super) fn malformed(path: &Path, line: usize, message: String) -> ListError {
    ListError::Malformed { path: path.to_owned(), line, message }
}

fn begins_an_array(bytes: &[u8]) -> bool {
    // `[` begins many an attack line too; a list of strings goes on with a quote.
    let mut rest = bytes.iter().filter(|byte| !byte.is_ascii_whitespace());
    rest.next() == Some(&b'[') && matches!(rest.next(), Some(b'"' | b']'))
}

fn lines(bytes: &[u8]) -> Vec<Entry> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let all: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // A carriage return is part of an attack, unless every line ends in one.
    let (last, whole) = all.split_last().unwrap_or((&bytes, &[]));
    let windows = !whole.is_empty() && whole.iter().all(|line| line.ends_with(b"\r"));
    let clean = |line: &[u8]| {
        if windows { line.strip_suffix(b"\r").unwrap_or(line).to_vec() } else { line.to_vec() }
    };
    let numbered = whole.iter().chain([last]).zip(1..);
    let entries = numbered.map(|(line, number)| Entry { line: number, payload: clean(line) });
    entries.filter(|entry| !entry.payload.is_empty() && !is_comment(&entry.payload)).collect()
}

fn is_comment(line: &[u8]) -> bool {
    matches!(line, [b'#'] | [b'#', b' ' | b'\t', ..])
}

/// The strings of a JSON array, each with the line that it begins on.
fn elements(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>, ListError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        malformed(path, line_of(before), "the JSON is not UTF-8".to_owned())
    })?;
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
        malformed(path, error.line().max(1), format!("not a JSON array: {error}"))
    })?;
    let (mut entries, mut place, mut line) = (Vec::new(), 0, 1);
    for item in items {
        let at = (item.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        line += newlines(bytes.get(place..at).unwrap_or_default());
        place = at;
        let payload = serde_json::from_str::<String>(item.get()).map_err(|_| {
            let kept: String = item.get().chars().take(40).collect();
            malformed(path, line, format!("each element must be a string, and this is `{kept}`"))
        })?;
        entries.push(Entry { line, payload: payload.into_bytes() });
    }
    entries.retain(|entry| !entry.payload.is_empty());
    Ok(entries)
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn line_of(before: &[u8]) -> usize {
    newlines(before) + 1
}

/// Whether each line is base64, and one at least by its padding: words of a language can be base64
/// by chance, but not end in `=`.
fn looks_encoded(entries: &[Entry]) -> bool {
    entries.len() >= FEW
        && entries.iter().any(|entry| entry.payload.ends_with(b"="))
        && entries.iter().all(|entry| from_base64(&entry.payload).is_ok())
}

fn from_base64(text: &[u8]) -> Result<Vec<u8>, base64::DecodeError> {
    let text = text.trim_ascii();
    STANDARD.decode(text).or_else(|error| URL_SAFE.decode(text).map_err(|_| error))
}

fn decoded(path: &Path, line: usize, text: &[u8]) -> Result<Vec<u8>, ListError> {
    from_base64(text).map_err(|error| {
        let words = "if these are the attacks as they are, say --format lines or json";
        malformed(path, line, format!("not base64 ({error}); {words}"))
    })
}

/// The file's name in letters, digits and dashes.
fn slug(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let words = stem.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name: String = words.collect::<Vec<_>>().join("-").chars().take(40).collect();
    if name.is_empty() { "list".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], format: Option<Format>) -> Result<List, String> {
        parse(Path::new("Some List (v2).txt"), text, format).map_err(|error| error.to_string())
    }

    fn payloads(list: &List) -> Vec<(usize, &[u8])> {
        list.entries.iter().map(|entry| (entry.line, entry.payload.as_slice())).collect()
    }

    #[test]
    fn raw_lines_keep_their_bytes_and_their_numbers() {
        let list = read(b"# a comment\n\n../a\n#frag\n..\xc0\xaf\n../a\nend\r\n", None).unwrap();
        assert_eq!((list.name.as_str(), list.format), ("some-list-v2", Format::Lines));
        let expected: [(usize, &[u8]); 4] =
            [(3, b"../a"), (4, b"#frag"), (5, b"..\xc0\xaf"), (7, b"end\r")];
        assert_eq!(payloads(&list), expected);
        assert_eq!(list.repeated, 1);
        let windows = read(b"../a\r\n..\\b\r\nlast", None).unwrap();
        assert_eq!(payloads(&windows)[1], (2, b"..\\b".as_slice()));
    }

    #[test]
    fn json_arrays_keep_the_lines_of_their_elements() {
        let list = read(b"[\"..\\/a\",\n \"b\", \"\\u0000\",\n\n\"\"]\n", None).unwrap();
        assert_eq!(list.format, Format::Json);
        assert_eq!(payloads(&list), [(1, b"../a".as_slice()), (2, b"b"), (2, b"\0")]);
        assert_eq!(read(b"[abc]/../x\n", None).unwrap().format, Format::Lines);
    }

    #[test]
    fn base64_is_found_out_by_its_padding_alone() {
        let coded: Vec<String> = (0..9)
            .map(|n| STANDARD.encode(format!("../{n}")))
            .chain([STANDARD.encode("..")])
            .collect();
        let list = read(coded.join("\n").as_bytes(), None).unwrap();
        assert_eq!((list.format, &list.entries[9].payload), (Format::Base64, &b"..".to_vec()));
        let json = serde_json::to_string(&coded).unwrap();
        assert_eq!(read(json.as_bytes(), None).unwrap().format, Format::JsonBase64);
        let words = ["abcd"; 20].join("\n");
        assert_eq!(read(words.as_bytes(), None).unwrap().format, Format::Lines);
    }

    #[test]
    fn a_fault_is_named_with_its_file_and_line() {
        for (text, format, said) in [
            (&b"Li4=\nnot base64!\n"[..], Some(Format::Base64), ".txt:2: not base64"),
            (b"[\"a\",\n7]", None, ".txt:2: each element must be a string, and this is `7`"),
            (b"[\"a\",\n\n\"b]", None, ".txt:3: not a JSON array"),
            (b"[\"a\",\n\"\xff\"]", None, ".txt:2: the JSON is not UTF-8"),
            (b"x", Some(Format::Json), ".txt:1: not a JSON array"),
            (b"\n# nothing\n", None, ".txt:1: the list has no line"),
        ] {
            let error = read(text, format).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        let long = [b"a\n".to_vec(), vec![b'x'; LONGEST + 1]].concat();
        assert!(read(&long, None).unwrap_err().contains(".txt:2: the line is longer"));
    }
}
