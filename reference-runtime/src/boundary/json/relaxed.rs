//! JSON5, the language of files that people write, under the same limits as JSON from a caller:
//! size, UTF-8, depth, null bytes, duplicate keys, finite numbers. It must never be used for
//! what comes over a network.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{
    super::{Checked, Limits, text::no_null},
    INVALID, MAX_DEPTH, strict,
};
use crate::{audit::Rejection, requirement};

/// Parses a whole JSON5 document.
///
/// # Errors
/// The requirement of Layer 1 that the document breaks.
pub fn relaxed(bytes: &[u8], limits: &Limits) -> Result<Checked<Value>, Rejection> {
    // Where this door is knocked out, the file is taken as it is; the parser's stack alone counts.
    let guarded = requirement::INPUT_ALL_DOORS.enforced();
    let text = String::from_utf8_lossy(bytes);
    if guarded {
        requirement::INPUT_BOUNDED_MEMORY.check(
            bytes.len() <= limits.body_bytes,
            "the document is too long",
            || format!("{} bytes", bytes.len()),
        )?;
        requirement::INPUT_UTF8.check(
            simdutf8::basic::from_utf8(bytes).is_ok(),
            "the text is not valid UTF-8",
            || "in a JSON5 document".to_owned(),
        )?;
        no_null(&text)?;
    }
    let depth = depth(&text);
    requirement::INPUT_JSON_DEPTH.check(
        depth <= limits.json_depth.min(MAX_DEPTH) || !guarded,
        "the JSON is nested too deeply",
        || format!("{depth} open containers"),
    )?;
    if depth > MAX_DEPTH {
        return Err(requirement::INPUT_JSON_STRICT.refuse(INVALID, "deeper than the parser goes"));
    }
    let Tree(value) = json5::from_str(&text).map_err(|error| strict(error.to_string()))?;
    if guarded {
        no_nulls(&value)?;
    }
    Ok(Checked::new(value))
}

/// The most containers that are open at a time, outside of strings and comments. Where the text is
/// not JSON5 the number is of no use, and the parser refuses.
fn depth(text: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' | '\'' => {
                let mut escaped = false;
                let _ = rest.find(|next| {
                    let ends = *next == c && !escaped;
                    escaped = *next == '\\' && !escaped;
                    ends
                });
            }
            '/' if rest.peek() == Some(&'/') => {
                let _ = rest.find(|next| matches!(next, '\n' | '\r' | '\u{2028}' | '\u{2029}'));
            }
            '/' if rest.next_if_eq(&'*').is_some() => {
                let mut star = false;
                let _ = rest.find(|next| {
                    let ends = star && *next == '/';
                    star = *next == '*';
                    ends
                });
            }
            '{' | '[' => {
                open += 1;
                deepest = deepest.max(open);
            }
            '}' | ']' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Null bytes that were spelled as escapes, in keys too.
fn no_nulls(value: &Value) -> Result<(), Rejection> {
    match value {
        Value::String(text) => no_null(text),
        Value::Array(items) => items.iter().try_for_each(no_nulls),
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            no_null(key)?;
            no_nulls(value)
        }),
        _ => Ok(()),
    }
}

/// A value in which no object had a key twice and every number is finite.
struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Tree)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Tree(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let Tree(value) = members.next_value()?;
            if object.contains_key(&key) && requirement::INPUT_JSON_STRICT.enforced() {
                return Err(A::Error::custom(format!("duplicate key {key:?}")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::requirement::Requirement;

    fn verdict(text: &str) -> Option<Requirement> {
        relaxed(text.as_bytes(), &Limits::default()).err().map(|refusal| refusal.requirement())
    }

    #[test]
    fn comments_bare_keys_and_single_quotes_are_welcome() {
        let text = "// a file\n{ /* [[[ */ key: 'a\\'[{', list: [1, -2.5, true, null,], }";
        let value = relaxed(text.as_bytes(), &Limits::default()).unwrap().into_inner();
        assert_eq!(value, json!({"key": "a'[{", "list": [1, -2.5, true, null]}));
    }

    #[test]
    fn the_limits_of_every_door_hold() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(verdict(&nested(32)), None);
        assert_eq!(verdict(&nested(33)), Some(requirement::INPUT_JSON_DEPTH));
        let hidden = format!("'//' , \"'\"{}", "[".repeat(100_000));
        assert_eq!(verdict(&hidden), Some(requirement::INPUT_JSON_DEPTH));
        for text in ["{a: '\0'}", r"{a: '\0'}", r"{a: '\x00'}", r#"{"\u0000": 1}"#] {
            assert_eq!(verdict(text), Some(requirement::INPUT_NULL_BYTE), "{text:?}");
        }
        for text in ["{a: 1, 'a': 2}", "NaN", "[Infinity]", "{a: 1} x", "{", ""] {
            assert_eq!(verdict(text), Some(requirement::INPUT_JSON_STRICT), "{text:?}");
        }
        let broken = relaxed(b"'\xff'", &Limits::default()).unwrap_err();
        assert_eq!(broken.requirement(), requirement::INPUT_UTF8);
        let long = format!("'{}'", "x".repeat(1_000_000));
        assert_eq!(verdict(&long), Some(requirement::INPUT_BOUNDED_MEMORY));
    }
}
