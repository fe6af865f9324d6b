//! One JSON number, digit by digit: its grammar, and whether a 64-bit float can hold it. It must
//! never keep the digits: a number may be as long as the document.

/// The digits so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Number {
    part: Part,
    /// The first 19 significant digits.
    significand: u64,
    /// How many of them there are.
    digits: u32,
    /// The power of ten of the first significant digit, before the exponent counts.
    magnitude: i64,
    exponent: i64,
    shrinks: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Mark,
    Sign,
    Exponent,
}

/// The first 19 digits of the smallest number that rounds to infinity, which is a hair above
/// 1.797693134862315807e308.
const INFINITE: u64 = 1_797_693_134_862_315_807;
/// Its power of ten.
const LARGEST: i64 = 308;
const TOO_LARGE: &str = "a number that no float can hold";

impl Number {
    /// A number that begins with `-` or a digit.
    pub(super) fn start(byte: u8) -> Self {
        let mut number = Self::default();
        if byte != b'-' {
            number.first(byte);
        }
        number
    }

    /// Takes the next byte; false means that it is not part of the number.
    #[inline]
    pub(super) fn push(&mut self, byte: u8) -> Result<bool, &'static str> {
        match (self.part, byte) {
            (Part::Minus, b'0'..=b'9') => self.first(byte),
            (Part::Zero, b'0'..=b'9') => return Err("a number with a leading zero"),
            (Part::Whole, b'0'..=b'9') => {
                self.magnitude += 1;
                self.significant(byte);
            }
            (Part::Zero | Part::Whole, b'.') => self.part = Part::Point,
            (Part::Point | Part::Fraction, b'0'..=b'9') => self.fraction(byte),
            (Part::Zero | Part::Whole | Part::Fraction, b'e' | b'E') => self.part = Part::Mark,
            (Part::Mark, b'+') => self.part = Part::Sign,
            (Part::Mark, b'-') => {
                self.part = Part::Sign;
                self.shrinks = true;
            }
            (Part::Mark | Part::Sign | Part::Exponent, b'0'..=b'9') => self.power(byte),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether the number is whole, and finite as a 64-bit float.
    pub(super) fn finish(&self) -> Result<(), &'static str> {
        if matches!(self.part, Part::Minus | Part::Point | Part::Mark | Part::Sign) {
            return Err("an unfinished number");
        }
        let power = if self.shrinks { -self.exponent } else { self.exponent };
        let magnitude = self.magnitude.saturating_add(power);
        let padded = self.significand.saturating_mul(10_u64.pow(19 - self.digits.min(19)));
        let infinite = magnitude > LARGEST || (magnitude == LARGEST && padded >= INFINITE);
        if self.digits > 0 && infinite { Err(TOO_LARGE) } else { Ok(()) }
    }

    fn first(&mut self, byte: u8) {
        self.part = if byte == b'0' { Part::Zero } else { Part::Whole };
        self.significant(byte);
    }

    fn fraction(&mut self, byte: u8) {
        self.part = Part::Fraction;
        if self.digits == 0 {
            self.magnitude -= 1;
        }
        self.significant(byte);
    }

    /// Leading zeros are not significant; digits past the 19th only count by their place.
    fn significant(&mut self, byte: u8) {
        if (self.digits > 0 || byte != b'0') && self.digits < 19 {
            self.significand = self.significand * 10 + u64::from(byte - b'0');
            self.digits += 1;
        }
    }

    fn power(&mut self, byte: u8) {
        self.part = Part::Exponent;
        // Far above any document's length, so that it still outweighs every digit.
        let digit = i64::from(byte - b'0');
        self.exponent = (self.exponent * 10 + digit).min(1_000_000_000_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Result<(), &'static str> {
        let (first, rest) = text.as_bytes().split_first().unwrap();
        let mut number = Number::start(*first);
        for byte in rest {
            assert!(number.push(*byte)?, "{text} holds a foreign byte");
        }
        number.finish()
    }

    #[test]
    fn numbers_that_a_float_can_hold_are_numbers() {
        let long = format!("0.{}1e301", "0".repeat(300));
        let whole = format!("1{}", "0".repeat(308));
        for text in
            ["0", "-0", "1.0E+2", "1e308", "0e999999999999999999999", "1e-400", &long, &whole]
        {
            assert_eq!(verdict(text), Ok(()), "{text}");
        }
        assert_eq!(verdict("1.7976931348623157e308"), Ok(()));
        assert_eq!(verdict("0.00017976931348623157e312"), Ok(()));
    }

    #[test]
    fn numbers_that_round_to_infinity_are_not() {
        let whole = format!("1{}", "0".repeat(309));
        for text in ["1e309", "1e400", "-1e400", "1.7976931348623159e308", "10e308", &whole] {
            assert_eq!(verdict(text), Err(TOO_LARGE), "{text}");
        }
    }

    #[test]
    fn unfinished_numbers_are_not_numbers() {
        for text in ["-", "1.", "1e", "1e+", "01", "-01"] {
            assert!(verdict(text).is_err(), "{text}");
        }
    }
}
