//! The encodings of payload expressions: bytes to bytes, nothing else.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Encoding, PayloadError};

/// Bytes as the inside of a JSON string: quotes, backslashes and bytes below 0x20 are escaped;
/// everything else, well-formed or not, passes as it is.
#[must_use]
pub fn json_escape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0..=0x1f => out.extend(format!("\\u{byte:04x}").into_bytes()),
            _ => out.push(*byte),
        }
    }
    out
}

pub(super) fn encode(encoding: Encoding, bytes: Vec<u8>) -> Result<Vec<u8>, PayloadError> {
    Ok(match encoding {
        Encoding::Base64 => STANDARD.encode(bytes).into_bytes(),
        Encoding::Percent => bytes.iter().flat_map(|b| format!("%{b:02x}").into_bytes()).collect(),
        Encoding::Hex => hex::encode(bytes).into_bytes(),
        Encoding::JsonEscape => json_escape(&bytes),
        Encoding::JsonUnicode => {
            utf16(bytes)?.iter().flat_map(|unit| format!("\\u{unit:04x}").into_bytes()).collect()
        }
        Encoding::Utf16Le => utf16(bytes)?.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
        Encoding::Utf16Be => utf16(bytes)?.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
        Encoding::Gzip => gzip(&bytes)?,
        Encoding::Upper => bytes.to_ascii_uppercase(),
        Encoding::Fullwidth => each(bytes, fullwidth)?,
        Encoding::Homoglyph => each(bytes, homoglyph)?,
        Encoding::Fold => fold(&text(bytes)?).into_bytes(),
        Encoding::Reverse => bytes.into_iter().rev().collect(),
    })
}

/// Replaces every character of a text.
fn each(bytes: Vec<u8>, change: fn(char) -> char) -> Result<Vec<u8>, PayloadError> {
    Ok(text(bytes)?.chars().map(change).collect::<String>().into_bytes())
}

fn fullwidth(letter: char) -> char {
    match letter {
        '!'..='~' => char::from_u32(u32::from(letter) + 0xfee0).unwrap_or(letter),
        other => other,
    }
}

fn homoglyph(letter: char) -> char {
    match letter {
        'a' => '\u{430}',
        'c' => '\u{441}',
        'd' => '\u{501}',
        'e' => '\u{435}',
        'h' => '\u{4bb}',
        'i' => '\u{456}',
        'j' => '\u{458}',
        'o' => '\u{43e}',
        'p' => '\u{440}',
        's' => '\u{455}',
        'v' => '\u{3bd}',
        'w' => '\u{51d}',
        'x' => '\u{445}',
        'y' => '\u{443}',
        other => other,
    }
}

fn fold(text: &str) -> String {
    text.replace("fi", "\u{fb01}").replace('k', "\u{212a}").replace('s', "\u{17f}")
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, PayloadError> {
    let failed = |error: std::io::Error| PayloadError::Malformed(format!("gzip: {error}"));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).map_err(failed)?;
    encoder.finish().map_err(failed)
}

fn utf16(bytes: Vec<u8>) -> Result<Vec<u16>, PayloadError> {
    Ok(text(bytes)?.encode_utf16().collect())
}

fn text(bytes: Vec<u8>) -> Result<String, PayloadError> {
    String::from_utf8(bytes)
        .map_err(|error| PayloadError::Malformed(format!("this encoding needs UTF-8: {error}")))
}

pub(super) fn unhex(digits: &str) -> Result<Vec<u8>, PayloadError> {
    let digits: String = digits.split(' ').collect();
    hex::decode(digits).map_err(|error| PayloadError::Malformed(format!("hex: {error}")))
}

/// Generalised UTF-8 of UTF-16 code units given as hexadecimal digits.
pub(super) fn wtf8(digits: &str) -> Result<Vec<u8>, PayloadError> {
    let bytes = unhex(digits)?;
    if bytes.len() % 2 != 0 {
        return Err(PayloadError::Malformed("wtf16: a code unit has four digits".into()));
    }
    let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit));
    let mut out = Vec::new();
    for decoded in char::decode_utf16(units) {
        match decoded {
            Ok(scalar) => out.extend(scalar.to_string().into_bytes()),
            Err(lone) => {
                let unit = lone.unpaired_surrogate();
                let low = |shift: u32| u8::try_from((unit >> shift) & 0x3f).unwrap_or(0) | 0x80;
                out.extend([0xe0 | u8::try_from(unit >> 12).unwrap_or(0), low(6), low(0)]);
            }
        }
    }
    Ok(out)
}
