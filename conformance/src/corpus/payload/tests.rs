//! Payload expressions: what they yield, that the symbolic size bounds it, and that bombs stay unbuilt.

use serde_json::{Value, json};

use super::*;

fn expr(value: Value) -> Expr {
    serde_json::from_value(value).unwrap()
}

fn built(value: Value) -> Vec<u8> {
    let (expr, vars) = (expr(value), Vars::sample());
    let bytes = expr.build(&vars).unwrap();
    assert!(bytes.len() as u64 <= expr.size(&vars).unwrap(), "{expr:?}");
    assert_eq!(expr.pieces(&vars).unwrap().concat(), bytes);
    bytes
}

#[test]
fn a_plain_string_is_text_and_survives_a_round_trip() {
    assert_eq!(expr(json!("a")), Expr::Text("a".into()));
    assert_eq!(expr(json!({"text": "a"})), Expr::Text("a".into()));
    assert_eq!(serde_json::to_value(expr(json!({"text": "a"}))).unwrap(), json!("a"));
    let long = json!({"repeat": {"of": {"concat": ["a", {"var": "ROOT"}]}, "times": 2}});
    assert_eq!(serde_json::to_value(expr(long.clone())).unwrap(), long);
}

#[test]
fn every_expression_yields_its_bytes() {
    for (value, bytes) in [
        (json!("k"), b"k".to_vec()),
        (json!({"hex": "00 ff"}), vec![0, 255]),
        (json!({"wtf16": "d83d de00 d800"}), vec![0xf0, 0x9f, 0x98, 0x80, 0xed, 0xa0, 0x80]),
        (json!({"var": "PORT"}), b"40000".to_vec()),
        (json!({"repeat": {"of": "ab", "times": 3}}), b"ababab".to_vec()),
        (json!({"concat": ["a", "b"]}), b"ab".to_vec()),
        (
            json!({"count": {"times": 3, "before": "k", "after": "=", "between": ","}}),
            b"k0=,k1=,k2=".to_vec(),
        ),
        (json!({"encode": {"as": "base64", "of": "hi"}}), b"aGk=".to_vec()),
        (json!({"encode": {"as": "percent", "of": "../"}}), b"%2e%2e%2f".to_vec()),
        (json!({"encode": {"as": "hex", "of": "k"}}), b"6b".to_vec()),
        (json!({"encode": {"as": "json-escape", "of": "\"\n\u{1}"}}), br#"\"\n\u0001"#.to_vec()),
        (json!({"encode": {"as": "json-unicode", "of": "k"}}), br"\u006b".to_vec()),
        (json!({"encode": {"as": "utf16-le", "of": "k"}}), vec![b'k', 0]),
        (json!({"encode": {"as": "utf16-be", "of": "k"}}), vec![0, b'k']),
        (
            json!({"nest": {"layers": [{"open": "[", "close": "]"}, {"open": "{\"a\":", "close": "}"}], "depth": 3, "core": "0"}}),
            br#"[{"a":[0]}]"#.to_vec(),
        ),
        (json!({"fill": {"to": 6, "before": "<", "with": "ab", "after": ">"}}), b"<abab>".to_vec()),
        (json!({"encode": {"as": "upper", "of": "exec_1"}}), b"EXEC_1".to_vec()),
        (json!({"encode": {"as": "fullwidth", "of": "k"}}), "\u{ff4b}".as_bytes().to_vec()),
        (json!({"encode": {"as": "homoglyph", "of": "ke"}}), "k\u{435}".as_bytes().to_vec()),
        (json!({"cut": {"of": "abc", "last": 1}}), b"ab".to_vec()),
        (json!({"cut": {"of": "abc", "last": 9}}), Vec::new()),
        (json!({"chunks": ["a", "b"]}), b"ab".to_vec()),
        (json!({"drip": {"of": "abc", "every": 2}}), b"abc".to_vec()),
    ] {
        assert_eq!(built(value.clone()), bytes, "{value}");
    }
}

#[test]
fn gzip_opens_to_what_went_in() {
    let bytes =
        built(json!({"encode": {"as": "gzip", "of": {"repeat": {"of": "0", "times": 100_000}}}}));
    assert!(bytes.len() < 1000);
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*bytes), &mut out).unwrap();
    assert_eq!(out, vec![b'0'; 100_000]);
}

#[test]
fn arguments_speak_the_targets_naming() {
    let naming: Naming = serde_json::from_value(json!({
        "read": {"name": "cat", "arguments": {"filePath": "${path}", "limit": 10}},
        "write": {"name": "put", "arguments": {"to": "${path}", "data": "${content}"}},
        "exec": {"name": "sh", "arguments": {"command": "${command}"}},
    }))
    .unwrap();
    let mut vars = Vars::new(naming);
    vars.set(Var::Effect, "e");
    for (value, text) in [
        (json!({"role": "read", "path": "a\"b"}), r#"{"filePath":"a\"b","limit":10}"#),
        (
            json!({"role": "write", "path": {"var": "EFFECT"}, "content": "x"}),
            r#"{"data":"x","to":"e"}"#,
        ),
        (json!({"role": "exec", "argv": ["echo", "it's"]}), r#"{"command":"'echo' 'it'\\''s'"}"#),
        (json!({"role": "write", "path": "p", "omit": ["content"]}), r#"{"to":"p"}"#),
        (
            json!({"role": "read", "retype": {"path": 7}, "extra": {"mode": "rw"}}),
            r#"{"filePath":7,"limit":10,"mode":"rw"}"#,
        ),
    ] {
        let expr = expr(json!({"arguments": value}));
        let bytes = expr.build(&vars).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), text);
        assert!(bytes.len() as u64 <= expr.size(&vars).unwrap());
    }
    // A runtime that has a shell and no tools for files.
    let shell = |command: &str| json!({"name": "sh", "arguments": {"command": command}});
    let naming: Naming = serde_json::from_value(json!({
        "read": shell("cat -- ${path|shell}"),
        "write": shell("printf %s ${content|shell} > ${path|shell}"),
        "exec": shell("${command}"),
    }))
    .unwrap();
    let vars = Vars::new(naming);
    let write = json!({"role": "write", "path": "a b", "content": "it's"});
    let write = expr(json!({"arguments": write}));
    let bytes = write.build(&vars).unwrap();
    let text = r#"{"command":"printf %s 'it'\\''s' > 'a b'"}"#;
    assert_eq!(String::from_utf8_lossy(&bytes), text);
    assert!(bytes.len() as u64 <= write.size(&vars).unwrap());
    let omitted = json!({"role": "write", "path": "p", "omit": ["content"]});
    assert_eq!(expr(json!({"arguments": omitted})).build(&vars).unwrap(), b"{}");
    let default = expr(json!({"arguments": {"role": "exec", "argv": ["a", "b"]}}));
    assert_eq!(default.build(&Vars::sample()).unwrap(), br#"{"argv":["a","b"]}"#);
    let missing = expr(json!({"arguments": {"role": "read"}}));
    assert!(matches!(missing.build(&Vars::sample()), Err(PayloadError::Malformed(_))));
}

#[test]
fn a_nest_counts_from_the_root_of_the_document() {
    let nest = expr(json!({"nest": {"layers": [{"open": "[", "close": "]"}], "depth": 33}}));
    let mut vars = Vars::sample();
    vars.set_envelope(2);
    assert_eq!(nest.build(&vars).unwrap(), ["[".repeat(31), "]".repeat(31)].concat().into_bytes());
    vars.set_envelope(34);
    assert!(nest.size(&vars).is_err());
}

#[test]
fn bombs_are_refused_before_they_are_built() {
    let repeat = |of: Value, times: u64| json!({"repeat": {"of": of, "times": times}});
    for bomb in [
        repeat(json!("a"), MAX_BYTES + 1),
        repeat(repeat(repeat(json!("a"), 1 << 20), 1 << 20), u64::MAX),
        json!({"nest": {"layers": [{"open": "[", "close": "]"}], "depth": u64::MAX}}),
        json!({"fill": {"to": u64::MAX, "with": "a"}}),
        json!({"count": {"times": u64::MAX, "before": "", "after": ""}}),
        json!({"encode": {"as": "hex", "of": repeat(json!("a"), MAX_BYTES)}}),
        json!({"encode": {"as": "gzip", "of": repeat(json!("0"), 1 << 30)}}),
    ] {
        let refused = expr(bomb.clone()).build(&Vars::sample());
        assert!(matches!(refused, Err(PayloadError::TooLarge { .. })), "{bomb}: {refused:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for value in [
        json!({"hex": "0"}),
        json!({"hex": "zz"}),
        json!({"wtf16": "00"}),
        json!({"drip": {"of": "a", "every": 0}}),
        json!({"nest": {"layers": [], "depth": 1}}),
        json!({"fill": {"to": 1, "with": ""}}),
        json!({"fill": {"to": 1, "with": "a", "before": "ab"}}),
        json!({"encode": {"as": "utf16-le", "of": {"hex": "ff"}}}),
    ] {
        let refused = expr(value.clone()).build(&Vars::sample());
        assert!(matches!(refused, Err(PayloadError::Malformed(_))), "{value}: {refused:?}");
    }
    for unknown in
        [json!({"texts": "a"}), json!({"var": "HOME"}), json!({"text": "a", "hex": "00"}), json!(7)]
    {
        assert!(serde_json::from_value::<Expr>(unknown).is_err());
    }
    assert_eq!(
        expr(json!({"var": "SECRET"})).build(&Vars::default()),
        Err(PayloadError::Unset(Var::Secret))
    );
}
