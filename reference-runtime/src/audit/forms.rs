//! The spellings in which a secret is likely to come: plain, and as common libraries encode it. It
//! must never know in which text they are looked for.

use std::fmt::Write;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Shorter secrets and spellings are not looked for: they would take words of every text with them.
pub(super) const SHORTEST: usize = 6;

/// What percent-encoders leave as it is besides letters and digits: the unreserved characters of
/// RFC 3986; those of JavaScript's `encodeURIComponent`; with the slash, as for the path of a URL;
/// what a path may hold at most, as `encodeURI` does; what a form leaves, in which a space is a
/// plus; nothing, and not even letters.
const PERCENT: [(&str, bool); 6] = [
    ("-._~", true),
    ("-._~!'()*", true),
    ("-._~/", true),
    ("-._~!'()*/;,?:@&=+$#", true),
    ("-._*", true),
    ("", false),
];

/// Every form in which a secret is taken out; each once.
pub(super) fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut forms = vec![secret.to_owned(), hex::encode(bytes), hex::encode_upper(bytes)];
    for alignment in 0..3 {
        forms.extend(base64_core(bytes, alignment));
    }
    for (kept, words) in PERCENT {
        for upper in [false, true] {
            let encoded = percent(bytes, kept, words, upper);
            forms.push(encoded.replace("%20", "+"));
            forms.push(encoded);
        }
    }
    forms.extend([false, true].map(|upper| units(secret, upper, |_| true)));
    // As a JSON string, and as JSON inside a JSON string.
    for once in json(secret) {
        forms.extend(json(&once));
        forms.push(once);
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// The characters of a base64 text that depend on the secret alone when it stands after a number
/// of bytes that leaves `alignment` modulo three.
fn base64_core(secret: &[u8], alignment: usize) -> Vec<String> {
    let mut padded = vec![0; alignment];
    padded.extend_from_slice(secret);
    let (start, end) = ((8 * alignment).div_ceil(6), 8 * padded.len() / 6);
    [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)]
        .iter()
        .filter_map(|text| text.get(start..end).map(str::to_owned))
        .collect()
}

/// Percent-encoding of all but these characters and, where `words`, letters and digits.
fn percent(secret: &[u8], kept: &str, words: bool, upper: bool) -> String {
    let mut text = String::new();
    for byte in secret {
        if kept.as_bytes().contains(byte) || (words && byte.is_ascii_alphanumeric()) {
            text.push(char::from(*byte));
        } else {
            // Writing to a string does not fail.
            let _ = if upper { write!(text, "%{byte:02X}") } else { write!(text, "%{byte:02x}") };
        }
    }
    text
}

/// `\uXXXX` for every UTF-16 unit of the characters that are asked for.
fn units(text: &str, upper: bool, escaped: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !escaped(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = if upper { write!(out, "\\u{unit:04X}") } else { write!(out, "\\u{unit:04x}") };
        }
    }
    out
}

/// The inside of a JSON string as encoders write it: all text as it is; in ASCII alone; safe within
/// HTML; each with the slash escaped too.
fn json(text: &str) -> Vec<String> {
    let quoted = serde_json::Value::from(text).to_string();
    let plain = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let plain = plain.unwrap_or_default();
    let foreign = |c: char| !(' '..='~').contains(&c);
    let mut forms = vec![
        plain.to_owned(),
        units(plain, false, foreign),
        units(plain, true, foreign),
        units(plain, false, |c| "<>&\u{2028}\u{2029}".contains(c)),
    ];
    let slashed: Vec<_> = forms.iter().map(|form| form.replace('/', "\\/")).collect();
    forms.extend(slashed);
    forms.sort_unstable();
    forms.dedup();
    forms
}
