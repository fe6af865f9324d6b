//! Duplicate keys of a document whose grammar is already known to be right. Two spellings of one
//! key (`"a"`, `"\u0061"`) are one key. It must never be slower than linear, whatever the keys.

use std::{borrow::Cow, collections::HashSet};

use super::machine::plain_run;

/// Up to this many keys of one object are compared one by one.
const FEW: usize = 12;

/// The keys of one open object, or an open array, which has none.
struct Container {
    /// Where its keys begin in the common list.
    first: usize,
    /// The same keys, once there are more than a few. Hashed with a random key.
    many: Option<HashSet<String>>,
}

/// Looks for an object that has a key twice.
///
/// # Errors
/// The key.
pub(super) fn keys(text: &str) -> Result<(), String> {
    let mut open: Vec<Container> = Vec::new();
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => open.push(Container { first: seen.len(), many: None }),
            b'}' | b']' => {
                if let Some(container) = open.pop() {
                    seen.truncate(container.first);
                }
            }
            b'"' => {
                let end = string_end(bytes, at);
                if is_key(bytes, end)
                    && let Some(container) = open.last_mut()
                {
                    let raw = text.get(at..end.saturating_sub(1)).unwrap_or_default();
                    add(container, &mut seen, decoded(raw))?;
                }
                at = end;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The position after the closing quote of the string whose content begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at += plain_run(bytes.get(at..).unwrap_or_default());
        match bytes.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') | None => return at + 1,
            Some(_) => at += 1,
        }
    }
}

fn is_key(bytes: &[u8], end: usize) -> bool {
    let mut after = bytes.get(end..).unwrap_or_default().iter();
    after.find(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) == Some(&b':')
}

fn decoded(raw: &str) -> Cow<'_, str> {
    if raw.contains('\\') {
        serde_json::from_str(&format!("\"{raw}\"")).map_or(Cow::Borrowed(raw), Cow::Owned)
    } else {
        Cow::Borrowed(raw)
    }
}

fn add<'text>(
    container: &mut Container,
    seen: &mut Vec<Cow<'text, str>>,
    key: Cow<'text, str>,
) -> Result<(), String> {
    let own = seen.get(container.first..).unwrap_or_default();
    if container.many.is_none() && own.len() >= FEW {
        container.many = Some(own.iter().map(|key| key.clone().into_owned()).collect());
    }
    let new = match &mut container.many {
        Some(many) => many.insert(key.clone().into_owned()),
        None => !own.contains(&key),
    };
    if !new {
        return Err(key.into_owned());
    }
    if container.many.is_none() {
        seen.push(key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::keys;

    #[test]
    fn finds_a_key_twice_however_it_is_spelled() {
        assert!(keys(r#"{"a":1,"b":{"a":2},"c":[{"a":1},{"a":2}]}"#).is_ok());
        assert!(keys(r#"{"a":{"x":1,"y":2},"x":1}"#).is_ok());
        assert_eq!(keys(r#"{"a":1,"a":2}"#), Err("a".into()));
        assert_eq!(keys(r#"{"a" : "a:\"", "\u0061" :2}"#), Err("a".into()));
        assert_eq!(keys(r#"[{"b":{"k":1,"z":"}","k":2}}]"#), Err("k".into()));
    }

    #[test]
    fn values_that_look_like_keys_are_not_keys() {
        assert!(keys(r#"{"a":"a","b":["a","a"],"c":"\",\"a\":1"}"#).is_ok());
    }

    #[test]
    fn finds_a_late_duplicate_among_many() {
        let many: Vec<String> = (0..10_000).map(|n| format!("\"k{n}\":{{\"x\":1}}")).collect();
        assert!(keys(&format!("{{{}}}", many.join(","))).is_ok());
        let late = format!("{{{},\"k7\":0}}", many.join(","));
        assert_eq!(keys(&late), Err("k7".into()));
    }
}
