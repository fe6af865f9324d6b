//! Where the members of a JSON text stand: JSON pointer to line, and keys that stand twice. The
//! text must be well-formed; must never know what the members mean.

use std::collections::{HashMap, HashSet};

/// The lines of a JSON text's members.
#[derive(Debug, Default)]
pub(super) struct Places {
    lines: HashMap<String, usize>,
    /// Keys that stand twice in one object: the pointer of the object's member, and its line.
    pub(super) repeated: Vec<(String, usize)>,
}

impl Places {
    /// Walks a text that a JSON parser has accepted.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut walk = Walk { text, at: 0, line: 1, places: Self::default() };
        walk.value("");
        walk.places
    }

    /// The line of a member, or of the nearest one around it.
    pub(super) fn line(&self, pointer: &str) -> usize {
        let mut pointer = pointer;
        loop {
            if let Some(line) = self.lines.get(pointer) {
                return *line;
            }
            match pointer.rsplit_once('/') {
                Some((around, _)) => pointer = around,
                None => return 1,
            }
        }
    }
}

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
    places: Places,
}

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.next();
        }
    }

    fn value(&mut self, pointer: &str) {
        self.blanks();
        self.places.lines.entry(pointer.to_owned()).or_insert(self.line);
        match self.peek() {
            Some(b'{') => self.object(pointer),
            Some(b'[') => self.array(pointer),
            Some(b'"') => {
                self.string();
            }
            _ => {
                while self
                    .peek()
                    .is_some_and(|b| !matches!(b, b',' | b']' | b'}') && !b.is_ascii_whitespace())
                {
                    self.next();
                }
            }
        }
        self.blanks();
    }

    fn object(&mut self, pointer: &str) {
        self.next();
        self.blanks();
        let mut keys = HashSet::new();
        while self.peek() == Some(b'"') {
            let line = self.line;
            let key = self.string();
            let member = format!("{pointer}/{key}");
            self.places.lines.entry(member.clone()).or_insert(line);
            if !keys.insert(key) {
                self.places.repeated.push((member.clone(), line));
            }
            self.blanks();
            self.next(); // the colon
            self.value(&member);
            if self.next() != Some(b',') {
                return;
            }
            self.blanks();
        }
        self.next();
    }

    fn array(&mut self, pointer: &str) {
        self.next();
        self.blanks();
        if self.peek() == Some(b']') {
            self.next();
            return;
        }
        for index in 0_usize.. {
            self.value(&format!("{pointer}/{index}"));
            if self.next() != Some(b',') {
                return;
            }
        }
    }

    /// A string, decoded; escapes count, so that a key written in another way is the same key.
    fn string(&mut self) -> String {
        let start = self.at;
        self.next();
        while let Some(byte) = self.next() {
            match byte {
                b'\\' => {
                    self.next();
                }
                b'"' => break,
                _ => {}
            }
        }
        let quoted = self.text.get(start..self.at).unwrap_or_default();
        serde_json::from_slice(quoted).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_line_and_the_missing_by_what_is_around() {
        let places = Places::of(b"{\n \"a\": [1,\n  {\"b\": \"}]\\\"\"}],\n \"c\": {}\n}\n");
        assert_eq!(places.line("/a"), 2);
        assert_eq!(places.line("/a/1/b"), 3);
        assert_eq!(places.line("/a/1/nothing"), 3);
        assert_eq!(places.line("/c"), 4);
        assert_eq!(places.line("/nothing"), 1);
        assert!(places.repeated.is_empty());
    }

    #[test]
    fn a_key_that_stands_twice_is_found_also_by_its_escape() {
        let places =
            Places::of(b"{\"x\": {\"a\": 1,\n\"\\u0061\": 2}, \"y\": [{\"a\": 1}, {\"a\": 1}]}");
        assert_eq!(places.repeated, [("/x/a".to_owned(), 2)]);
    }
}
