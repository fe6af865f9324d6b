//! The JSON door against a straightforward second reading of the grammar, whole and in pieces. It
//! must never share code with the scanner: the model is written for clarity alone.

use clawproof_runtime::{
    boundary::{
        Limits,
        json::{self, Scanner},
    },
    requirement::{self, Requirement},
};
use proptest::prelude::*;
use serde_json::{Value, value::RawValue};

fn limits(json_depth: usize) -> Limits {
    Limits { json_depth, ..Limits::default() }
}

fn whole(bytes: &[u8], depth: usize) -> Option<Requirement> {
    json::scan(bytes, &limits(depth)).err().map(|refusal| refusal.requirement())
}

fn in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, depth: usize) -> Option<Requirement> {
    let mut scanner = Scanner::new(&limits(depth));
    for piece in pieces {
        if let Err(refusal) = scanner.feed(piece) {
            return Some(refusal.requirement());
        }
    }
    scanner.finish().err().map(|refusal| refusal.requirement())
}

fn parsed(text: &str) -> Option<Requirement> {
    json::parse::<Value>(text.as_bytes(), &Limits::default()).err().map(|r| r.requirement())
}

/// The model: recursive descent over characters, the obvious way.
struct Model<'a> {
    text: &'a [char],
    at: usize,
    depth: usize,
    deepest: usize,
}

impl Model<'_> {
    fn verdict(bytes: &[u8], deepest: usize) -> Option<Requirement> {
        // What comes after the first malformed byte is never looked at.
        let (text, broken) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, false),
            Err(error) => (std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap(), true),
        };
        let text: Vec<char> = text.chars().collect();
        let mut model = Model { text: &text, at: 0, depth: 0, deepest };
        let result = model.document();
        match result {
            // The end of the valid part is no fault of the grammar if bytes follow.
            Err(None) | Ok(()) if broken => Some(requirement::INPUT_UTF8),
            Err(None) => Some(requirement::INPUT_JSON_STRICT),
            Err(Some(requirement)) => Some(requirement),
            Ok(()) => None,
        }
    }

    fn peek(&self) -> Result<char, Option<Requirement>> {
        match self.text.get(self.at) {
            Some('\0') => Err(Some(requirement::INPUT_NULL_BYTE)),
            Some(c) => Ok(*c),
            None => Err(None),
        }
    }

    fn take(&mut self) -> Result<char, Option<Requirement>> {
        let c = self.peek()?;
        self.at += 1;
        Ok(c)
    }

    fn bad<T>() -> Result<T, Option<Requirement>> {
        Err(Some(requirement::INPUT_JSON_STRICT))
    }

    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(' ' | '\n' | '\r' | '\t')) {
            self.at += 1;
        }
    }

    fn document(&mut self) -> Result<(), Option<Requirement>> {
        self.value()?;
        self.space();
        match self.peek() {
            Err(None) => Ok(()),
            Err(Some(fault)) => Err(Some(fault)),
            Ok(_) => Self::bad(),
        }
    }

    fn value(&mut self) -> Result<(), Option<Requirement>> {
        self.space();
        match self.take()? {
            '"' => self.string(),
            '{' => self.container('}'),
            '[' => self.container(']'),
            't' => self.word("rue"),
            'f' => self.word("alse"),
            'n' => self.word("ull"),
            c @ ('-' | '0'..='9') => self.number(c),
            _ => Self::bad(),
        }
    }

    fn container(&mut self, end: char) -> Result<(), Option<Requirement>> {
        if self.depth == self.deepest {
            return Err(Some(requirement::INPUT_JSON_DEPTH));
        }
        self.depth += 1;
        self.space();
        if self.peek()? == end {
            self.at += 1;
        } else {
            loop {
                if end == '}' {
                    self.space();
                    if self.take()? != '"' {
                        return Self::bad();
                    }
                    self.string()?;
                    self.space();
                    if self.take()? != ':' {
                        return Self::bad();
                    }
                }
                self.value()?;
                self.space();
                match self.take()? {
                    ',' => {}
                    c if c == end => break,
                    _ => return Self::bad(),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Option<Requirement>> {
        loop {
            match self.take()? {
                '"' => return Ok(()),
                '\\' => match self.take()? {
                    '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => {}
                    'u' => match self.four()? {
                        0 => return Err(Some(requirement::INPUT_NULL_BYTE)),
                        0xd800..=0xdbff => {
                            if self.take()? != '\\' || self.take()? != 'u' {
                                return Self::bad();
                            }
                            match self.four()? {
                                0 => return Err(Some(requirement::INPUT_NULL_BYTE)),
                                0xdc00..=0xdfff => {}
                                _ => return Self::bad(),
                            }
                        }
                        0xdc00..=0xdfff => return Self::bad(),
                        _ => {}
                    },
                    _ => return Self::bad(),
                },
                c if c < ' ' => return Self::bad(),
                _ => {}
            }
        }
    }

    fn four(&mut self) -> Result<u32, Option<Requirement>> {
        let mut unit = 0;
        for _ in 0..4 {
            match self.take()?.to_digit(16) {
                Some(digit) => unit = unit * 16 + digit,
                None => return Self::bad(),
            }
        }
        Ok(unit)
    }

    fn word(&mut self, rest: &str) -> Result<(), Option<Requirement>> {
        for c in rest.chars() {
            if self.take()? != c {
                return Self::bad();
            }
        }
        Ok(())
    }

    fn number(&mut self, first: char) -> Result<(), Option<Requirement>> {
        let start = self.at - 1;
        if first == '-' && !self.take_if(|c| c.is_ascii_digit())? {
            return self.short();
        }
        let leading_zero = self.text[self.at - 1] == '0';
        while self.digit() {
            if leading_zero {
                return Self::bad();
            }
        }
        if self.next_is(&['.']) {
            self.at += 1;
            if !self.digit() {
                return self.short();
            }
            while self.digit() {}
        }
        if self.next_is(&['e', 'E']) {
            self.at += 1;
            if self.next_is(&['+', '-']) {
                self.at += 1;
            }
            if !self.digit() {
                return self.short();
            }
            while self.digit() {}
        }
        // The end of a broken text is not known to be the end of the number.
        if self.text.get(self.at) == Some(&'\0') {
            return Err(Some(requirement::INPUT_NULL_BYTE));
        }
        let number: String = self.text[start..self.at].iter().collect();
        match (number.parse::<f64>().unwrap().is_finite(), self.at == self.text.len()) {
            (true, _) => Ok(()),
            (false, true) => Err(None),
            (false, false) => Self::bad(),
        }
    }

    /// A number that stops early: at the end of the text that is no fault yet.
    fn short(&self) -> Result<(), Option<Requirement>> {
        self.peek()?;
        Self::bad()
    }

    fn take_if(&mut self, wanted: impl Fn(char) -> bool) -> Result<bool, Option<Requirement>> {
        let found = self.text.get(self.at).is_some_and(|c| wanted(*c));
        self.at += usize::from(found);
        Ok(found)
    }

    fn digit(&mut self) -> bool {
        let found = self.text.get(self.at).is_some_and(char::is_ascii_digit);
        self.at += usize::from(found);
        found
    }

    fn next_is(&self, wanted: &[char]) -> bool {
        self.text.get(self.at).is_some_and(|c| wanted.contains(c))
    }
}

/// Valid documents of any shape.
fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
        "[ -~é✓👩\\\\]{0,40}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(r#""\ud83d\ude00 \u00e9 \/ [{[""#.to_owned()),
    ];
    leaf.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(" , "))),
            prop::collection::vec(("[a-z]{1,3}", inner), 0..4).prop_map(|v| {
                let members: Vec<_> = v.iter().map(|(k, v)| format!("\"{k}\" :{v}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// Tokens in any order: mostly broken, in every way the grammar knows.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        &b"{"[..],
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\"a\"",
        b"\"k\":",
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"\\udc00",
        b"\\u00",
        b"\\n",
        b"0",
        b"1",
        b"-",
        b".",
        b"e",
        b"E+9",
        b"308",
        b"309",
        b"true",
        b"nul",
        b"null",
        b" ",
        b"\n",
        b"\0",
        b"\x1b",
        b"\x7f",
        b"\xc3\xa9",
        b"\xc3",
        b"\xa9",
        b"\xf0\x9f\x98\x80",
        b"\xf0\x9f",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"'",
        b"//",
        b"NaN",
        b"\xef\xbb\xbf",
    ]);
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

/// A valid document with one byte changed, dropped or added.
fn mutant() -> impl Strategy<Value = Vec<u8>> {
    (document(), any::<prop::sample::Index>(), any::<u8>(), 0..3).prop_map(
        |(document, at, byte, how)| {
            let mut bytes = document.into_bytes();
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
            bytes
        },
    )
}

fn agree(bytes: &[u8], cuts: &[prop::sample::Index]) -> Result<(), TestCaseError> {
    for depth in [2, 32] {
        let verdict = whole(bytes, depth);
        prop_assert_eq!(verdict, Model::verdict(bytes, depth), "the model, depth {}", depth);
        prop_assert_eq!(in_pieces(bytes.chunks(1), depth), verdict, "byte by byte");
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|ends| &bytes[ends[0]..ends[1]]);
        prop_assert_eq!(in_pieces(pieces, depth), verdict, "cut at {:?}", at);
    }
    Ok(())
}

/// A document with few different keys, each in some spelling; and whether one stands twice in an
/// object, which the tree knows before it is text.
fn keyed() -> impl Strategy<Value = (String, bool)> {
    let spelling = prop::sample::select(vec![
        (0, r#""a""#),
        (0, r#""\u0061""#),
        (1, r#""/""#),
        (1, r#""\/""#),
        (1, r#""\u002F""#),
        (1, r#""\u002f""#),
        (2, r#""\ud83d\ude00""#),
        (2, r#""😀""#),
        (3, r#""A""#),
        (4, r#""\\u0061""#),
        (5, r#""""#),
    ]);
    Just(("{}".to_owned(), false)).prop_recursive(4, 24, 4, move |inner| {
        let member = (spelling.clone(), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| {
                let (texts, twice): (Vec<_>, Vec<_>) = items.into_iter().unzip();
                (format!("[{}]", texts.join(",")), twice.contains(&true))
            }),
            prop::collection::vec(member, 0..4).prop_map(|members| {
                let mut names: Vec<_> = members.iter().map(|((name, _), _)| name).collect();
                names.sort_unstable();
                let own = names.windows(2).any(|pair| pair[0] == pair[1]);
                let twice = own || members.iter().any(|(_, (_, twice))| *twice);
                let texts: Vec<_> =
                    members.iter().map(|((_, key), (text, _))| format!("{key}:{text}")).collect();
                (format!("{{{}}}", texts.join(",")), twice)
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_key_that_stands_twice_in_one_object_is_seen_in_any_spelling((text, twice) in keyed()) {
        let expected = twice.then_some(requirement::INPUT_JSON_STRICT);
        prop_assert_eq!(parsed(&text), expected, "{}", text);
    }

    #[test]
    fn valid_documents_agree_with_the_model(
        document in document(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        agree(document.as_bytes(), &cuts)?;
        let shallow = whole(document.as_bytes(), 32).is_none();
        prop_assert!(shallow || document.contains('e') || document.contains('E'));
    }

    #[test]
    fn token_soup_agrees_with_the_model(
        bytes in soup(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        agree(&bytes, &cuts)?;
    }

    #[test]
    fn mutants_agree_with_the_model(
        bytes in mutant(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        agree(&bytes, &cuts)?;
    }

    #[test]
    fn what_is_accepted_parses_and_what_serde_json_refuses_is_refused(bytes in mutant()) {
        let ours = json::parse::<Value>(&bytes, &Limits::default());
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) => if let Ok(ours) = ours { prop_assert_eq!(ours.get(), &value) },
            Err(_) => prop_assert!(ours.is_err()),
        }
    }
}

#[test]
fn depth_is_exact_for_arrays_objects_and_mixtures() {
    for (open, close) in [("[", "]"), ("{\"k\":", "}"), ("[{\"k\":", "}]")] {
        let per = open.matches(['[', '{']).count();
        let nest = |depth: usize, leaf: &str| {
            format!("{}{leaf}{}", open.repeat(depth / per), close.repeat(depth / per))
        };
        assert_eq!(parsed(&nest(32, "1")), None);
        assert_eq!(parsed(&nest(32, "\"[[[[\\\"[[[[\"")), None);
        let over = if per == 1 { nest(33, "1") } else { nest(32, "[]") };
        assert_eq!(parsed(&over), Some(requirement::INPUT_JSON_DEPTH));
    }
    assert_eq!(
        parsed(&format!("{}{}", "[".repeat(33), "]".repeat(33))),
        Some(requirement::INPUT_JSON_DEPTH)
    );
}

#[test]
fn a_million_levels_are_refused_at_the_33rd() {
    assert_eq!(whole(&b"[".repeat(1_000_000), 32), Some(requirement::INPUT_JSON_DEPTH));
}

#[test]
fn strictness_names_its_requirement() {
    for text in [
        "",
        " ",
        "{\"a\":1} x",
        "{\"a\":1}{}",
        "[1,]",
        "{\"a\":1,}",
        "NaN",
        "[Infinity]",
        "+1",
        "01",
        ".5",
        "1.",
        "0x1f",
        "1e400",
        "-1e400",
        "// c\n1",
        "/* c */1",
        "'a'",
        "{a:1}",
        "\"\n\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\x41\"",
        "\u{feff}1",
        "[",
        "\"",
        "tru",
        "True",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"\\u0061\":2}",
        "[{\"b\":{\"k\":0,\"k\":0}}]",
    ] {
        assert_eq!(parsed(text), Some(requirement::INPUT_JSON_STRICT), "{text:?}");
    }
    for text in
        ["-0", "1.0E+2", "\"/*x*/\"", "{\"a\":1}\n", "\"\\ud83d\\ude00\"", "{\"a\":{\"a\":1}}"]
    {
        assert_eq!(parsed(text), None, "{text:?}");
    }
}

#[test]
fn a_null_byte_is_seen_in_every_spelling() {
    for text in [
        "\"\0\"",
        "\"\\u0000\"",
        "{\"\\u0000\":1}",
        "\0",
        "[1,\0]",
        "{\"a\":[{\"b\":\"x\\u0000\"}]}",
    ] {
        assert_eq!(parsed(text), Some(requirement::INPUT_NULL_BYTE), "{text:?}");
    }
    assert_eq!(parsed(r#""\\u0000""#), None);
}

#[test]
fn ten_thousand_siblings_are_accepted() {
    let array = format!("[{}]", vec!["[]"; 10_000].join(","));
    assert_eq!(parsed(&array), None);
    let members: Vec<String> = (0..10_000).map(|n| format!("\"k{n}\":{n}")).collect();
    assert_eq!(parsed(&format!("{{{}}}", members.join(","))), None);
}

#[test]
fn an_endless_document_is_refused_at_the_limit() {
    let limits = Limits { body_bytes: 10_000, ..Limits::default() };
    let mut scanner = Scanner::new(&limits);
    let mut fed = scanner.feed(b"\"");
    let mut pieces = 0;
    while fed.is_ok() {
        fed = scanner.feed(&[b'x'; 1000]);
        pieces += 1;
    }
    assert_eq!(fed.unwrap_err().requirement(), requirement::INPUT_BOUNDED_MEMORY);
    assert_eq!(pieces, 10);
}

#[test]
fn raw_parts_keep_their_text() {
    #[derive(serde::Deserialize)]
    struct Envelope {
        params: Box<RawValue>,
    }
    let envelope: Envelope = json::parse(
        br#"{"params": {"n": 1.0E+2, "big": 18446744073709551616}}"#,
        &Limits::default(),
    )
    .unwrap()
    .into_inner();
    assert_eq!(envelope.params.get(), r#"{"n": 1.0E+2, "big": 18446744073709551616}"#);
}
