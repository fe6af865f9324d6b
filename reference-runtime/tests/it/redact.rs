//! Redaction against encoders of the test's own: whatever form a secret takes, nothing of it is
//! left, and what is left of the text is the text. It must never share an encoder with the room.

use clawproof_runtime::audit::{REDACTED, Redactor};
use proptest::prelude::*;

/// One way of writing bytes, as a program that prints its environment would.
type Encoding = fn(&str) -> String;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 without padding, bit by bit.
fn base64(bytes: &[u8]) -> String {
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    (0..(bytes.len() * 8).div_ceil(6))
        .map(|digit| (0..6).fold(0, |value, at| value * 2 + usize::from(bit(digit * 6 + at))))
        .map(|value| char::from(BASE64[value]))
        .collect()
}

/// The characters of `base64(before + secret + after)` that hold bits of the secret alone.
fn base64_of(secret: &str, before: usize) -> String {
    let text = base64(&[vec![b'b'; before], secret.into()].concat());
    let (from, to) = (before * 8, (before + secret.len()) * 8);
    text[from.div_ceil(6)..to / 6].to_owned()
}

fn each(text: &str, write: impl Fn(u8) -> String) -> String {
    text.bytes().map(write).collect()
}

fn percent(text: &str, kept: &str) -> String {
    each(text, |byte| {
        let keep = byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte);
        if keep { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    })
}

/// A JSON string's inside, with this way of writing what is neither printable nor ASCII.
fn json(text: &str, ascii: bool, escaped: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            '\u{8}' => out += "\\b",
            '\u{c}' => out += "\\f",
            '/' if escaped.contains('/') => out += "\\/",
            c if c < ' ' || escaped.contains(c) || (ascii && c > '~') => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|u| out += &format!("\\u{u:04x}"));
            }
            c => out.push(c),
        }
    }
    out
}

/// Every encoding that redaction promises, each as the part that the secret alone determines.
const ENCODINGS: &[(&str, Encoding)] = &[
    ("plain", str::to_owned),
    ("hex", |text| each(text, |byte| format!("{byte:02x}"))),
    ("HEX", |text| each(text, |byte| format!("{byte:02X}"))),
    ("base64", |text| base64_of(text, 0)),
    ("base64 after one byte", |text| base64_of(text, 1)),
    ("base64 after two bytes", |text| base64_of(text, 2)),
    ("base64url", |text| base64_of(text, 0).replace('+', "-").replace('/', "_")),
    ("base64url after 4 bytes", |text| base64_of(text, 4).replace('+', "-").replace('/', "_")),
    ("percent", |text| percent(text, "-._~")),
    ("percent of everything", |text| each(text, |byte| format!("%{byte:02x}"))),
    ("encodeURIComponent", |text| percent(text, "-._~!'()*")),
    ("quote", |text| percent(text, "-._~/")),
    ("form", |text| percent(text, "-._* ").replace(' ', "+")),
    ("JSON", |text| json(text, false, "")),
    ("JSON in ASCII", |text| json(text, true, "")),
    ("JSON with escaped slashes", |text| json(text, false, "/")),
    ("JSON for HTML", |text| json(text, false, "<>&\u{2028}\u{2029}")),
    ("JSON in JSON", |text| json(&json(text, false, ""), false, "")),
    ("JSON in ASCII in JSON", |text| json(&json(text, true, ""), true, "")),
    ("all units", |text| {
        text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
    }),
];

/// What is shown between the markers.
fn shown(text: &str) -> Vec<&str> {
    text.split(REDACTED).collect()
}

fn told(secrets: &[String]) -> Redactor {
    let redactor = Redactor::new();
    secrets.iter().for_each(|secret| redactor.add(secret));
    redactor
}

/// What a shown text may still hold of the secrets: nothing that is long enough to be looked for.
fn nothing_left(text: &str, secrets: &[String]) -> Result<(), TestCaseError> {
    for secret in secrets {
        for (name, encode) in ENCODINGS {
            let form = encode(secret);
            let left = form.len() >= 6 && shown(text).iter().any(|part| part.contains(&form));
            prop_assert!(!left, "{secret:?} as {name} ({form:?}) is left in {text:?}");
        }
    }
    Ok(())
}

/// Secrets as they are, and of few letters so that they overlap, hold each other, look like markers.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "[!-~]{6,24}",
        "[ -~\n\t\u{0}\u{7f}é✓😀<>&/+%\\\\\"\u{2028}]{6,12}",
        "[ab]{6,9}",
        "(ED\\]|D\\]|\\]|)[ab]{6}(\\[|\\[RE|)",
        Just(REDACTED.to_owned()),
        Just("DACTED".to_owned()),
    ]
}

/// A text in which secrets stand in every form, whole and cut, beside each other.
fn text(secrets: Vec<String>) -> impl Strategy<Value = (Vec<String>, String)> {
    let of = (0..secrets.len(), prop::sample::select(ENCODINGS), any::<prop::sample::Index>());
    let known = secrets.clone();
    let piece = prop_oneof![
        3 => of.clone().prop_map(move |(which, (_, encode), _)| encode(&known[which])),
        1 => {
            let known = secrets.clone();
            of.prop_map(move |(which, (_, encode), cut)| {
                let form: Vec<char> = encode(&known[which]).chars().collect();
                form[..cut.index(form.len())].iter().collect()
            })
        },
        2 => "[ -~éab\n]{0,6}",
        1 => Just(REDACTED.to_owned()),
    ];
    prop::collection::vec(piece, 0..8).prop_map(move |pieces| (secrets.clone(), pieces.concat()))
}

fn known_text() -> impl Strategy<Value = (Vec<String>, String)> {
    prop::collection::vec(secret(), 1..5).prop_flat_map(text)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) })]

    #[test]
    fn no_form_of_a_secret_is_left_between_any_neighbours(
        secret in "[!-~]{6,24}|[ -~\n\t\u{0}\u{7f}é✓😀<>&/+%\\\\\"\u{2028}]{6,12}",
        before in "[ -Z\\\\a-zé]{0,5}",
        after in "[ -Z\\\\a-zé]{0,5}",
    ) {
        let secrets = [secret];
        let redactor = told(&secrets);
        for (name, encode) in ENCODINGS {
            let form = encode(&secrets[0]);
            let text = format!("{before}{form}{after}");
            let clean = redactor.redact(&text).into_owned();
            prop_assert!(form.len() < 6 || clean.contains(REDACTED), "{name}: {clean}");
            nothing_left(&clean, &secrets)?;
        }
        // Base64 of the whole text, wherever the secret stands in it.
        let whole = base64(format!("{before}{}{after}", secrets[0]).as_bytes());
        nothing_left(&redactor.redact(&whole), &secrets)?;
    }

    #[test]
    fn redaction_is_total_idempotent_and_keeps_the_rest((secrets, text) in known_text()) {
        let redactor = told(&secrets);
        let once = redactor.redact(&text).into_owned();
        nothing_left(&once, &secrets)?;
        let twice = redactor.redact(&once).into_owned();
        prop_assert_eq!(&twice, &once);
        // What is shown stood there before, in this order.
        let mut rest = &text[..];
        for part in shown(&once) {
            let at = rest.find(part);
            prop_assert!(at.is_some(), "{part:?} is not of {text:?}");
            rest = &rest[at.unwrap_or_default() + part.len()..];
        }
        // Who knows none of the secrets takes nothing out.
        prop_assert_eq!(Redactor::new().redact(&text), text.as_str());
    }

    #[test]
    fn a_text_that_comes_in_pieces_shows_no_more_than_a_whole_one(
        (secrets, text) in known_text(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let redactor = told(&secrets);
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| ends[cut.index(ends.len())]).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let (mut waiting, mut told) = (String::new(), Vec::new());
        for cut in cuts.windows(2) {
            waiting += &text[cut[0]..cut[1]];
            let settled = redactor.settled(&waiting);
            told.push(redactor.redact(&waiting[..settled]).into_owned());
            waiting.drain(..settled);
        }
        told.push(redactor.redact(&waiting).into_owned());
        for piece in &told {
            nothing_left(piece, &secrets)?;
        }
        // A marker may look like the beginning of a secret to what follows in the next piece: that
        // shows nothing of it. Where no secret looks like one, the pieces are the whole.
        if !secrets.iter().any(|secret| secret.contains(['[', ']']) || secret == "DACTED") {
            nothing_left(&told.concat(), &secrets)?;
            prop_assert_eq!(told.concat(), redactor.redact(&text));
        }
    }
}

#[test]
fn a_secret_that_looks_like_a_marker_and_what_follows_it_is_taken_out_in_the_end() {
    let secrets = ["the-first".to_owned(), "ED]ababab".to_owned(), "DACTED".to_owned()];
    let redactor = told(&secrets);
    for (text, shown) in [
        ("the-firstababab.", "[REDACTED]."),
        ("DACTED", REDACTED),
        ("[REDACTED]", REDACTED),
        ("<[REDACTED]ababababab>", "<[REDACTED]abab>"),
        ("the-firstthe-first", "[REDACTED][REDACTED]"),
    ] {
        let once = redactor.redact(text).into_owned();
        assert_eq!(once, shown);
        assert_eq!(redactor.redact(&once), once);
    }
    // Without end: nothing is shown, rather than a minute of work.
    let redactor = told(&["]ababab".to_owned()]);
    assert_eq!(redactor.redact(&format!("]{}", "ababab".repeat(1000))), REDACTED);
}
