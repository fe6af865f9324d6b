//! The strict JSON grammar (RFC 8259) as a machine over bytes of valid UTF-8, with the depth and
//! the null bytes counted on the way. It must never look back or allocate.

use super::number::Number;
use crate::requirement;

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// U+0000, raw or as an escape.
    Null,
    /// More open containers than allowed.
    Depth,
    /// Anything that the grammar does not allow.
    Strict(&'static str),
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Value,
    ValueOrClose,
    KeyOrClose,
    Key,
    Colon,
    CommaOrClose,
    /// Inside a string; `true` for a key.
    String(bool),
    Escape(bool),
    /// Inside `\uXXXX`: digits still to come, and the unit so far.
    Unicode(bool, u8, u16),
    /// A high surrogate came: its low half must follow, as an escape.
    LowEscape(bool),
    LowMark(bool),
    LowDigits(bool, u8, u16),
    Literal(&'static [u8]),
    Number,
}

/// The state of a scan. Open containers are bits: one for an object, zero for an array.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    next: Next,
    depth: usize,
    deepest: usize,
    objects: u128,
    number: Number,
}

/// The most containers that `objects` can hold.
const BITS: usize = u128::BITS as usize;

impl Machine {
    pub(super) fn new(deepest: usize) -> Self {
        Self { next: Next::Value, depth: 0, deepest, objects: 0, number: Number::default() }
    }

    /// Takes bytes of valid UTF-8, cut between characters. An error says how far it came.
    pub(super) fn run(&mut self, bytes: &[u8]) -> Result<(), (Fault, usize)> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..)
            && let Some(byte) = rest.first()
        {
            if let Next::String(_) = self.next {
                let plain = plain_run(rest);
                if plain > 0 {
                    at += plain;
                    continue;
                }
            }
            self.step(*byte).map_err(|fault| (fault, at))?;
            at += 1;
        }
        Ok(())
    }

    /// Whether a whole document has been seen.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        if self.next == Next::Number {
            self.number.finish().map_err(Fault::Strict)?;
            self.next = Next::CommaOrClose;
        }
        if self.next == Next::CommaOrClose && self.depth == 0 {
            Ok(())
        } else {
            Err(Fault::Strict("the document ends early"))
        }
    }

    #[inline]
    fn step(&mut self, byte: u8) -> Result<(), Fault> {
        if byte == 0 && requirement::INPUT_NULL_BYTE.enforced() {
            return Err(Fault::Null);
        }
        match self.next {
            Next::String(key) => self.string(byte, key),
            Next::Number if self.number.push(byte).map_err(Fault::Strict)? => Ok(()),
            Next::Number => {
                self.number.finish().map_err(Fault::Strict)?;
                self.next = Next::CommaOrClose;
                self.between(byte)
            }
            Next::Escape(key) => self.escape(byte, key),
            Next::Unicode(key, left, unit) => self.unicode(byte, key, left, unit),
            Next::LowEscape(key) if byte == b'\\' => self.then(Next::LowMark(key)),
            Next::LowMark(key) if byte == b'u' => self.then(Next::LowDigits(key, 4, 0)),
            Next::LowEscape(_) | Next::LowMark(_) => Err(Fault::Strict("a lone surrogate")),
            Next::LowDigits(key, left, unit) => self.low(byte, key, left, unit),
            Next::Literal(rest) => self.literal(byte, rest),
            _ => self.between(byte),
        }
    }

    fn then(&mut self, next: Next) -> Result<(), Fault> {
        self.next = next;
        Ok(())
    }

    /// Between tokens: white space, or the first byte of a token.
    fn between(&mut self, byte: u8) -> Result<(), Fault> {
        if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            return Ok(());
        }
        match (self.next, byte) {
            (Next::Value | Next::ValueOrClose, _) if self.opens_value(byte)? => Ok(()),
            (Next::KeyOrClose | Next::Key, b'"') => self.then(Next::String(true)),
            (Next::Colon, b':') => self.then(Next::Value),
            (Next::CommaOrClose, b',') if self.depth > 0 => {
                self.then(if self.in_object() { Next::Key } else { Next::Value })
            }
            (Next::CommaOrClose | Next::KeyOrClose, b'}') if self.in_object() => self.close(),
            (Next::CommaOrClose | Next::ValueOrClose, b']')
                if self.depth > 0 && !self.in_object() =>
            {
                self.close()
            }
            (Next::CommaOrClose, _) if self.depth == 0 => Err(Fault::Strict("trailing data")),
            _ => Err(Fault::Strict("an unexpected character")),
        }
    }

    fn opens_value(&mut self, byte: u8) -> Result<bool, Fault> {
        match byte {
            b'"' => self.next = Next::String(false),
            b'{' => self.open(true)?,
            b'[' => self.open(false)?,
            b't' => self.next = Next::Literal(b"rue"),
            b'f' => self.next = Next::Literal(b"alse"),
            b'n' => self.next = Next::Literal(b"ull"),
            b'-' | b'0'..=b'9' => {
                self.number = Number::start(byte);
                self.next = Next::Number;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn open(&mut self, object: bool) -> Result<(), Fault> {
        if self.depth >= self.deepest && requirement::INPUT_JSON_DEPTH.enforced() {
            return Err(Fault::Depth);
        }
        if self.depth >= BITS {
            return Err(Fault::Strict("nesting that no parser here takes"));
        }
        self.objects = (self.objects << 1) | u128::from(object);
        self.depth += 1;
        self.then(if object { Next::KeyOrClose } else { Next::ValueOrClose })
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.objects >>= 1;
        self.depth -= 1;
        self.then(Next::CommaOrClose)
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.objects & 1 == 1
    }

    fn string(&mut self, byte: u8, key: bool) -> Result<(), Fault> {
        match byte {
            b'"' => self.then(if key { Next::Colon } else { Next::CommaOrClose }),
            b'\\' => self.then(Next::Escape(key)),
            0x00..=0x1f => Err(Fault::Strict("a raw control character in a string")),
            _ => Ok(()),
        }
    }

    fn escape(&mut self, byte: u8, key: bool) -> Result<(), Fault> {
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.then(Next::String(key)),
            b'u' => self.then(Next::Unicode(key, 4, 0)),
            _ => Err(Fault::Strict("an unknown escape")),
        }
    }

    fn unicode(&mut self, byte: u8, key: bool, left: u8, unit: u16) -> Result<(), Fault> {
        let unit = (unit << 4) | hex_digit(byte)?;
        if left > 1 {
            return self.then(Next::Unicode(key, left - 1, unit));
        }
        match unit {
            0 if requirement::INPUT_NULL_BYTE.enforced() => Err(Fault::Null),
            0xd800..=0xdbff => self.then(Next::LowEscape(key)),
            0xdc00..=0xdfff => Err(Fault::Strict("a lone surrogate")),
            _ => self.then(Next::String(key)),
        }
    }

    fn low(&mut self, byte: u8, key: bool, left: u8, unit: u16) -> Result<(), Fault> {
        let unit = (unit << 4) | hex_digit(byte)?;
        match (left, unit) {
            (2.., _) => self.then(Next::LowDigits(key, left - 1, unit)),
            (_, 0xdc00..=0xdfff) => self.then(Next::String(key)),
            (_, 0) if requirement::INPUT_NULL_BYTE.enforced() => Err(Fault::Null),
            _ => Err(Fault::Strict("a lone surrogate")),
        }
    }

    fn literal(&mut self, byte: u8, rest: &'static [u8]) -> Result<(), Fault> {
        match rest.split_first() {
            Some((first, [])) if *first == byte => self.then(Next::CommaOrClose),
            Some((first, rest)) if *first == byte => self.then(Next::Literal(rest)),
            _ => Err(Fault::Strict("an unknown word")),
        }
    }
}

fn hex_digit(byte: u8) -> Result<u16, Fault> {
    match byte {
        b'0'..=b'9' => Ok(u16::from(byte - b'0')),
        b'a'..=b'f' => Ok(u16::from(byte - b'a') + 10),
        b'A'..=b'F' => Ok(u16::from(byte - b'A') + 10),
        _ => Err(Fault::Strict("an escape without four hex digits")),
    }
}

/// How many bytes at the front a string may hold as they are. Whole chunks go through one
/// comparison without branches, which the compiler turns into vector instructions.
#[inline]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let plain = |byte: u8| (byte >= 0x20) & (byte != b'"') & (byte != b'\\');
    let (chunks, _) = bytes.as_chunks::<32>();
    let whole = chunks
        .iter()
        .take_while(|chunk| chunk.iter().fold(true, |all, byte| all & plain(*byte)))
        .count()
        * 32;
    let rest = bytes.get(whole..).unwrap_or_default();
    whole + rest.iter().take_while(|byte| plain(**byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_run_ends_at_a_quote_an_escape_or_a_control_character() {
        for length in [0, 1, 31, 32, 33, 64, 100] {
            for end in ["\"", "\\", "\n", "\0"] {
                let text = "é".repeat(length) + end + "tail of the text, longer than one chunk";
                assert_eq!(plain_run(text.as_bytes()), 2 * length);
            }
            assert_eq!(plain_run("x".repeat(length).as_bytes()), length);
        }
    }
}
