//! Duplicate keys, seen while the document is scanned. Two spellings of one key (`"a"`,
//! `"\u0061"`) are one key. It must never be slower than linear, whatever the keys.

use std::{borrow::Cow, collections::HashSet};

use super::machine::{Fault, Observer};

/// Up to this many keys of one object are compared one by one.
const FEW: usize = 12;

/// Every key of every open container.
#[derive(Default)]
pub(super) struct Unique<'bytes> {
    open: Vec<Container>,
    seen: Vec<Cow<'bytes, [u8]>>,
}

/// The keys of one open object; an open array has none.
struct Container {
    /// Where its keys begin in the common list.
    first: usize,
    /// The same keys, once there are more than a few. Hashed with a random key.
    many: Option<HashSet<Vec<u8>>>,
}

impl<'bytes> Observer<'bytes> for Unique<'bytes> {
    fn open(&mut self) {
        self.open.push(Container { first: self.seen.len(), many: None });
    }

    fn close(&mut self) {
        if let Some(container) = self.open.pop() {
            self.seen.truncate(container.first);
        }
    }

    fn key(&mut self, raw: &'bytes [u8]) -> Result<(), Fault> {
        let key = decoded(raw);
        let Some(container) = self.open.last_mut() else { return Ok(()) };
        let own = self.seen.get(container.first..).unwrap_or_default();
        if container.many.is_none() && own.len() >= FEW {
            container.many = Some(own.iter().map(|key| key.to_vec()).collect());
        }
        let new = match &mut container.many {
            Some(many) => many.insert(key.into_owned()),
            None => {
                let new = !own.contains(&key);
                self.seen.push(key);
                new
            }
        };
        if new { Ok(()) } else { Err(Fault::Strict("a key that stands twice in one object")) }
    }
}

/// The key without its escapes. One whose escapes are wrong is as good as another: the document is
/// refused for it.
fn decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice::<String>(&quoted)
        .map_or(Cow::Borrowed(raw), |key| Cow::Owned(key.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{super::machine::Machine, *};

    const TWICE: Fault = Fault::Strict("a key that stands twice in one object");

    fn keys(text: &str) -> Result<(), Fault> {
        Machine::new(32).run(text.as_bytes(), &mut Unique::default()).map_err(|(fault, _)| fault)
    }

    #[test]
    fn finds_a_key_twice_however_it_is_spelled() {
        assert!(keys(r#"{"a":1,"b":{"a":2},"c":[{"a":1},{"a":2}]}"#).is_ok());
        assert!(keys(r#"{"a":{"x":1,"y":2},"x":1}"#).is_ok());
        assert_eq!(keys(r#"{"a":1,"a":2}"#), Err(TWICE));
        assert_eq!(keys(r#"{"a" : "a:\"", "\u0061" :2}"#), Err(TWICE));
        assert_eq!(keys(r#"[{"b":{"k":1,"z":"}","k":2}}]"#), Err(TWICE));
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
        assert_eq!(keys(&late), Err(TWICE));
    }
}
