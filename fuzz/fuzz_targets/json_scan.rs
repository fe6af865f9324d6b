//! The scanner says the same however its input is cut, and it accepts exactly what a plain parser
//! and a plain walk over the parsed value accept. The walk is its own; it knows no scanner.
#![no_main]

use clawproof_runtime::boundary::{Limits, json};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((cuts, document)) = data.split_first() else { return };
    let limits = Limits::default();
    let whole = verdict([document].into_iter(), &limits);

    // The first byte says how long the pieces are: 1 to 8 bytes, so that every escape is cut.
    let piece = usize::from(cuts % 8) + 1;
    let cut = verdict(document.chunks(piece), &limits);
    assert_eq!(whole, cut, "cut into pieces of {piece}");

    let accepted = whole.is_ok();
    match serde_json::from_slice::<Value>(document) {
        Ok(value) => {
            let fine = depth(&value) <= limits.json_depth && !has_null(document);
            // The plain parser forgets the members that a repeated key replaces, so what it says
            // about depth is only a lower bound: the scan may still refuse.
            assert!(fine || !accepted, "the scan accepted what the walk refuses");
            assert!(accepted || !fine || repeats(document, &value), "the scan refused {value}");
        }
        Err(error) => assert!(!accepted, "the scan accepted what no parser does: {error}"),
    }
});

/// The requirement that refuses, if one does.
fn verdict<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Result<(), &'static str> {
    let mut scanner = json::Scanner::new(limits);
    for piece in pieces {
        scanner.feed(piece).map_err(|refusal| refusal.requirement().id())?;
    }
    scanner.finish().map_err(|refusal| refusal.requirement().id())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A null byte anywhere, raw or as an escape that is one.
fn has_null(document: &[u8]) -> bool {
    let mut slashes = 0;
    document.iter().enumerate().any(|(at, byte)| {
        let escaped = slashes % 2 == 1;
        slashes = if *byte == b'\\' { slashes + 1 } else { 0 };
        *byte == 0 || (escaped && document.get(at..at + 5) == Some(b"u0000"))
    })
}

/// Whether members were lost on the way to the value: fewer scalars and containers than colons say.
fn repeats(document: &[u8], value: &Value) -> bool {
    fn members(value: &Value) -> usize {
        match value {
            Value::Array(items) => items.iter().map(members).sum(),
            Value::Object(map) => map.len() + map.values().map(members).sum::<usize>(),
            _ => 0,
        }
    }
    let mut string = false;
    let mut escaped = false;
    let mut colons = 0;
    for byte in document {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            b':' if !string => colons += 1,
            _ => {}
        }
    }
    members(value) < colons
}
