//! The strict JSON grammar (RFC 8259) as a machine over bytes of valid UTF-8, with the depth and
//! the null bytes counted on the way. It must never look back or allocate.

use super::UNCLOSED;
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

/// Who looks on while a document is scanned. What it shows of keys is whole only where the document
/// comes in one piece.
pub(super) trait Observer<'bytes> {
    /// A container begins.
    fn open(&mut self) {}
    /// It ends.
    fn close(&mut self) {}
    /// A key, as it is spelled between its quotes.
    fn key(&mut self, _raw: &'bytes [u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// Nobody looks on.
impl Observer<'_> for () {}

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
    /// Inside `true`, `false` or `null`: the bytes still to come, the next one lowest.
    Literal(u32),
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

    /// Takes bytes of valid UTF-8, cut between characters, and shows the observer what they hold.
    /// An error says how far it came.
    pub(super) fn run<'bytes, O: Observer<'bytes>>(
        &mut self,
        bytes: &'bytes [u8],
        observer: &mut O,
    ) -> Result<(), (Fault, usize)> {
        let mut at = 0;
        let mut string = 0;
        while let Some(rest) = bytes.get(at..)
            && let Some(byte) = rest.first()
        {
            if let Next::String(key) = self.next {
                at += plain_run(rest);
                if key && bytes.get(at) == Some(&b'"') {
                    let raw = bytes.get(string..at).unwrap_or_default();
                    observer.key(raw).map_err(|fault| (fault, at))?;
                }
                let Some(end) = bytes.get(at) else { break };
                self.string(*end, key).map_err(|fault| (fault, at))?;
                at += 1;
                continue;
            }
            self.step(*byte, observer).map_err(|fault| (fault, at))?;
            at += 1;
            if *byte == b'"' {
                string = at;
            }
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
        } else if matches!(self.next, Next::CommaOrClose | Next::KeyOrClose | Next::ValueOrClose) {
            Err(Fault::Strict(UNCLOSED))
        } else {
            Err(Fault::Strict("the document ends early"))
        }
    }

    #[inline]
    fn step<'bytes, O: Observer<'bytes>>(
        &mut self,
        byte: u8,
        observer: &mut O,
    ) -> Result<(), Fault> {
        if byte == 0 && requirement::INPUT_NULL_BYTE.enforced() {
            return Err(Fault::Null);
        }
        match self.next {
            Next::Number if self.number.push(byte).map_err(Fault::Strict)? => Ok(()),
            Next::Number => {
                self.number.finish().map_err(Fault::Strict)?;
                self.next = Next::CommaOrClose;
                self.between(byte, observer)
            }
            Next::Escape(key) => self.escape(byte, key),
            Next::Unicode(key, left, unit) => self.unicode(byte, key, left, unit),
            Next::LowEscape(key) if byte == b'\\' => self.then(Next::LowMark(key)),
            Next::LowMark(key) if byte == b'u' => self.then(Next::LowDigits(key, 4, 0)),
            Next::LowEscape(_) | Next::LowMark(_) => Err(Fault::Strict("a lone surrogate")),
            Next::LowDigits(key, left, unit) => self.low(byte, key, left, unit),
            Next::Literal(rest) => self.literal(byte, rest),
            _ => self.between(byte, observer),
        }
    }

    fn then(&mut self, next: Next) -> Result<(), Fault> {
        self.next = next;
        Ok(())
    }

    /// Between tokens: white space, or the first byte of a token.
    fn between<'bytes, O: Observer<'bytes>>(
        &mut self,
        byte: u8,
        observer: &mut O,
    ) -> Result<(), Fault> {
        if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            return Ok(());
        }
        match (self.next, byte) {
            (Next::Value | Next::ValueOrClose, _) if self.opens_value(byte, observer)? => Ok(()),
            (Next::KeyOrClose | Next::Key, b'"') => self.then(Next::String(true)),
            (Next::Colon, b':') => self.then(Next::Value),
            (Next::CommaOrClose, b',') if self.depth > 0 => {
                self.then(if self.in_object() { Next::Key } else { Next::Value })
            }
            (Next::CommaOrClose | Next::KeyOrClose, b'}') if self.in_object() => {
                self.close(observer)
            }
            (Next::CommaOrClose | Next::ValueOrClose, b']')
                if self.depth > 0 && !self.in_object() =>
            {
                self.close(observer)
            }
            (Next::CommaOrClose, _) if self.depth == 0 => Err(Fault::Strict("trailing data")),
            _ => Err(Fault::Strict("an unexpected character")),
        }
    }

    fn opens_value<'bytes, O: Observer<'bytes>>(
        &mut self,
        byte: u8,
        observer: &mut O,
    ) -> Result<bool, Fault> {
        match byte {
            b'"' => self.next = Next::String(false),
            b'{' => self.open(true, observer)?,
            b'[' => self.open(false, observer)?,
            b't' => self.next = Next::Literal(u32::from_le_bytes(*b"rue\0")),
            b'f' => self.next = Next::Literal(u32::from_le_bytes(*b"alse")),
            b'n' => self.next = Next::Literal(u32::from_le_bytes(*b"ull\0")),
            b'-' | b'0'..=b'9' => {
                self.number = Number::start(byte);
                self.next = Next::Number;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn open<'bytes, O: Observer<'bytes>>(
        &mut self,
        object: bool,
        observer: &mut O,
    ) -> Result<(), Fault> {
        if self.depth >= self.deepest && requirement::INPUT_JSON_DEPTH.enforced() {
            return Err(Fault::Depth);
        }
        if self.depth >= BITS {
            return Err(Fault::Strict("nesting that no parser here takes"));
        }
        observer.open();
        self.objects = (self.objects << 1) | u128::from(object);
        self.depth += 1;
        self.then(if object { Next::KeyOrClose } else { Next::ValueOrClose })
    }

    fn close<'bytes, O: Observer<'bytes>>(&mut self, observer: &mut O) -> Result<(), Fault> {
        observer.close();
        self.objects >>= 1;
        self.depth -= 1;
        self.then(Next::CommaOrClose)
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.objects & 1 == 1
    }

    /// The byte at which the plain part of a string ends.
    fn string(&mut self, byte: u8, key: bool) -> Result<(), Fault> {
        match byte {
            0 if requirement::INPUT_NULL_BYTE.enforced() => Err(Fault::Null),
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

    fn literal(&mut self, byte: u8, rest: u32) -> Result<(), Fault> {
        match (rest & 0xff == u32::from(byte), rest >> 8) {
            (true, 0) => self.then(Next::CommaOrClose),
            (true, rest) => self.then(Next::Literal(rest)),
            (false, _) => Err(Fault::Strict("an unknown word")),
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

/// How many bytes at the front a string may hold as they are. Whole chunks go through comparisons
/// without branches, which the compiler turns into vector instructions; the place of the first
/// other byte is found a word at a time.
#[inline]
fn plain_run(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<32>();
    let mut plain = 0;
    for chunk in chunks {
        let special = chunk.iter().fold(0, |any, byte| {
            any | u8::from(*byte < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\')
        });
        if special != 0 {
            break;
        }
        plain += chunk.len();
    }
    let rest = bytes.get(plain..).unwrap_or_default();
    let (words, tail) = rest.as_chunks::<8>();
    for word in words {
        let special = specials(u64::from_le_bytes(*word));
        if special != 0 {
            return plain + special.trailing_zeros() as usize / 8;
        }
        plain += word.len();
    }
    plain + tail.iter().take_while(|byte| !matches!(byte, 0..0x20 | b'"' | b'\\')).count()
}

/// The high bit of each byte that is a control character, a quote or a backslash. A borrow can set
/// further bits above the first one, never below it.
#[inline]
fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (control | zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))))
        & HIGH
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
