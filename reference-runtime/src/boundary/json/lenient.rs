//! What is left of the scan and the parse where `input.json-strict` is knocked out: depth and null
//! bytes still count, the grammar does not. It must never be reached in a normal build.

use serde_json::Value;

use super::machine::Fault;
use crate::requirement;

/// Counts brackets outside of double-quoted strings.
#[derive(Clone, Debug)]
pub(super) struct Lenient {
    depth: usize,
    deepest: usize,
    string: bool,
    escaped: bool,
    /// How much of `\u0000` has been seen, from the backslash on.
    null: usize,
}

impl Lenient {
    pub(super) fn new(deepest: usize) -> Self {
        Self { depth: 0, deepest, string: false, escaped: false, null: 0 }
    }

    pub(super) fn run(&mut self, bytes: &[u8]) -> Result<(), (Fault, usize)> {
        bytes
            .iter()
            .enumerate()
            .try_for_each(|(at, byte)| self.step(*byte).map_err(|fault| (fault, at)))
    }

    fn step(&mut self, byte: u8) -> Result<(), Fault> {
        if byte == 0 && requirement::INPUT_NULL_BYTE.enforced() {
            return Err(Fault::Null);
        }
        if self.string {
            return self.inside(byte);
        }
        match byte {
            b'"' => self.string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth > self.deepest && requirement::INPUT_JSON_DEPTH.enforced() {
            return Err(Fault::Depth);
        }
        Ok(())
    }

    fn inside(&mut self, byte: u8) -> Result<(), Fault> {
        self.null = match (self.null, byte) {
            (0, b'\\') if !self.escaped => 1,
            (1, b'u') | (2..=4, b'0') => self.null + 1,
            (5, b'0') if requirement::INPUT_NULL_BYTE.enforced() => return Err(Fault::Null),
            _ => 0,
        };
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.string = false,
            _ => {}
        }
        Ok(())
    }
}

/// Takes the first value and forgets the rest; the last of equal keys wins; JSON5 is welcome. The
/// value is written out as the JSON that it was taken for.
pub(super) fn repaired(text: &str) -> Result<String, String> {
    let first = serde_json::Deserializer::from_str(text).into_iter::<Value>().next();
    match first {
        Some(Ok(value)) => Ok(value.to_string()),
        _ => json5::from_str::<Value>(text)
            .map(|value| value.to_string())
            .map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_null_bytes_still_count() {
        let run = |text: &str| Lenient::new(2).run(text.as_bytes()).map_err(|(fault, _)| fault);
        assert_eq!(run("{a: [1,],} trailing ]]]"), Ok(()));
        assert_eq!(run(r#"{"[[[": ["]\"["]}"#), Ok(()));
        assert_eq!(run("[[[]]]"), Err(Fault::Depth));
        assert_eq!(run(r#""\u0000""#), Err(Fault::Null));
        assert_eq!(run(r#""\\u0000""#), Ok(()));
        assert_eq!(run("'\0'"), Err(Fault::Null));
    }

    #[test]
    fn what_the_strict_parse_refuses_is_taken() {
        assert_eq!(repaired(r#"{"a":1,"a":2} x"#).unwrap(), r#"{"a":2}"#);
        assert_eq!(repaired("{a: 'x', /* c */}").unwrap(), r#"{"a":"x"}"#);
    }
}
