//! Templates of a manifest: `${NAME}`, `${NAME|json}` (a JSON string literal), `${NAME|escape}`
//! (the inside of one), `${NAME|percent}` (for a query). Works on bytes, since payloads need not be text. Knows no manifest.

use std::collections::BTreeMap;

/// A template named a variable that has no value here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// The variable is unknown in this place.
    #[error("unknown variable ${{{name}}}{hint}")]
    Unknown {
        /// The name as written.
        name: String,
        /// `; did you mean ${...}?` or nothing.
        hint: String,
    },
    /// The filter behind `|` is unknown.
    #[error("unknown filter `{0}` (known: json, escape, percent)")]
    Filter(String),
    /// `${` without its `}`.
    #[error("a `${{` has no `}}`")]
    Unclosed,
}

/// A variable's value.
#[derive(Clone, Debug)]
struct Value {
    bytes: Vec<u8>,
    spliced: bool,
}

/// Values for templates.
#[derive(Clone, Debug, Default)]
pub struct Vars {
    values: BTreeMap<String, Value>,
}

impl Vars {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value that filters escape.
    pub fn set(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.values.insert(name.into(), Value { bytes: bytes.into(), spliced: false });
        self
    }

    /// Sets a value that filters leave as it is: an attack on the syntax around it. The quotes of
    /// `|json` are still written.
    pub fn splice(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.values.insert(name.into(), Value { bytes: bytes.into(), spliced: true });
        self
    }

    /// These values, and those of `other` where both have one.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.values.extend(other.values.clone());
        both
    }

    /// Whether it has a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value as text (lossy); empty when unset.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.values
            .get(name)
            .map(|value| String::from_utf8_lossy(&value.bytes).into_owned())
            .unwrap_or_default()
    }

    /// Fills a template.
    ///
    /// # Errors
    /// An unknown variable or filter, or an unclosed `${`.
    pub fn fill(&self, template: &str) -> Result<Vec<u8>, TemplateError> {
        let mut out = Vec::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, behind)) = rest.split_once("${") {
            out.extend_from_slice(before.as_bytes());
            let (inside, after) = behind.split_once('}').ok_or(TemplateError::Unclosed)?;
            let (name, filter) = inside.split_once('|').unwrap_or((inside, ""));
            let value = self.values.get(name).ok_or_else(|| self.unknown(name))?;
            match filter {
                "" => out.extend_from_slice(&value.bytes),
                "escape" if value.spliced => out.extend_from_slice(&value.bytes),
                "escape" => out.extend_from_slice(&json_escape(&value.bytes)),
                "json" => {
                    out.push(b'"');
                    if value.spliced {
                        out.extend_from_slice(&value.bytes);
                    } else {
                        out.extend_from_slice(&json_escape(&value.bytes));
                    }
                    out.push(b'"');
                }
                "percent" if value.spliced => out.extend_from_slice(&value.bytes),
                "percent" => out.extend_from_slice(percent(&value.bytes).as_bytes()),
                other => return Err(TemplateError::Filter(other.to_owned())),
            }
            rest = after;
        }
        out.extend_from_slice(rest.as_bytes());
        Ok(out)
    }

    /// Fills a template whose result is text (lossy).
    ///
    /// # Errors
    /// As [`Vars::fill`].
    pub fn fill_text(&self, template: &str) -> Result<String, TemplateError> {
        self.fill(template).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn unknown(&self, name: &str) -> TemplateError {
        let hint = nearest(name, self.values.keys().map(String::as_str))
            .map(|near| format!("; did you mean ${{{near}}}?"))
            .unwrap_or_default();
        TemplateError::Unknown { name: name.to_owned(), hint }
    }
}

/// The known word nearest to a mistyped one, if one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The inside of a JSON string literal. Valid UTF-8 is escaped as JSON asks; bytes that are not
/// valid UTF-8 are left as they are, so that they arrive malformed as they were meant to.
#[must_use]
pub fn json_escape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    for &byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out
}

/// Percent-encoded: all but the unreserved characters of RFC 3986.
fn percent(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A whole JSON string literal, quotes included; see [`json_escape`].
#[must_use]
pub fn json_literal(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    out.extend(json_escape(bytes));
    out.push(b'"');
    out
}

/// How many JSON containers stand open where `marker` stands in `text`; strings are skipped.
#[must_use]
pub fn depth_before(text: &str, marker: &str) -> usize {
    let end = text.find(marker).unwrap_or(0);
    let (mut depth, mut inside, mut escaped) = (0_usize, false, false);
    // A `${NAME}` outside a string would count as a container, so its braces are skipped.
    let mut bytes = text.bytes().take(end).peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b'$' if !inside && bytes.peek() == Some(&b'{') => {
                bytes.by_ref().find(|byte| *byte == b'}');
            }
            b'{' | b'[' if !inside => depth += 1,
            b'}' | b']' if !inside => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_for_json_and_keeps_malformed_bytes() {
        let mut vars = Vars::new();
        vars.set("T", "a\"b\n").set("B", vec![0xff, b'"']).splice("R", "\"}");
        assert_eq!(vars.fill("{${T|json}}").unwrap(), br#"{"a\"b\n"}"#);
        assert_eq!(vars.fill("${B|escape}").unwrap(), b"\xff\\\"");
        assert_eq!(vars.fill("${R|json}").unwrap(), b"\"\"}\"");
        assert_eq!(vars.fill("${T}").unwrap(), b"a\"b\n");
        vars.set("Q", "../ä b");
        assert_eq!(vars.fill("${Q|percent}").unwrap(), b"..%2F%C3%A4%20b");
    }

    #[test]
    fn names_the_nearest_variable() {
        let mut vars = Vars::new();
        vars.set("WORKSPACE", "x");
        let error = vars.fill("${WORKSPCE}").unwrap_err().to_string();
        assert_eq!(error, "unknown variable ${WORKSPCE}; did you mean ${WORKSPACE}?");
    }

    #[test]
    fn counts_the_containers_around_a_marker() {
        let text = r#"{"a":"[[","id":${ID},"params":{"metadata":${JSON}}}"#;
        assert_eq!(depth_before(text, "${JSON}"), 2);
    }
}
