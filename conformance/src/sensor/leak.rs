//! Whether a secret stands in bytes, in any form in which it is commonly carried. Knows no target.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::target::process::contains;

/// The forms of a secret, each with its name: plain, hexadecimal, base64 at three alignments,
/// percent-encoded, JSON-escaped.
#[must_use]
pub fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let lower = hex::encode(secret);
    let percent: String = secret.iter().map(|byte| format!("%{byte:02x}")).collect();
    let escaped: String = secret.iter().map(|byte| format!("\\u{byte:04x}")).collect();
    let mut forms = vec![
        ("JSON-escaped", escaped.to_uppercase().replace("\\U", "\\u").into_bytes()),
        ("JSON-escaped", escaped.into_bytes()),
        ("plain", secret.to_vec()),
        ("hexadecimal", lower.to_uppercase().into_bytes()),
        ("hexadecimal", lower.into_bytes()),
        ("percent-encoded", percent.to_uppercase().into_bytes()),
        ("percent-encoded", percent.into_bytes()),
    ];
    for shift in 0..3_usize {
        let padded = [vec![0_u8; shift], secret.to_vec()].concat();
        let text = STANDARD_NO_PAD.encode(&padded);
        // The digits that depend on neighbours are left out: those before the secret's first
        // whole group of six bits, and the last one.
        let begin = (shift * 8).div_ceil(6);
        let end = padded.len() * 8 / 6;
        if let Some(stable) = text.get(begin..end) {
            forms.push(("base64", stable.as_bytes().to_vec()));
        }
    }
    forms
}

/// The names of the forms in which the secret stands in the bytes.
#[must_use]
pub fn found(secret: &[u8], bytes: &[u8]) -> Vec<&'static str> {
    if secret.is_empty() {
        return Vec::new();
    }
    let mut names: Vec<&'static str> = forms(secret)
        .into_iter()
        .filter(|(_, form)| contains(bytes, form))
        .map(|(name, _)| name)
        .collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_form_at_every_alignment() {
        let secret = b"sk-0123456789abcdef";
        for before in ["", "a", "ab", "abc"] {
            let text = STANDARD_NO_PAD.encode(format!("{before}sk-0123456789abcdefzz"));
            assert_eq!(found(secret, text.as_bytes()), ["base64"], "{before}");
        }
        assert_eq!(found(secret, b"x sk-0123456789abcdef"), ["plain"]);
        assert_eq!(found(secret, hex::encode(secret).as_bytes()), ["hexadecimal"]);
        assert!(found(secret, b"sk-0123456789abcdee").is_empty());
        assert!(found(b"", b"anything").is_empty());
    }
}
