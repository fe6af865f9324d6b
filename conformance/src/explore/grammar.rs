//! The grammars of generated attacks: how they are drawn, and what must become of each, by a model
//! of the suite's own. It must never know a target.

use proptest::prelude::{Just, Strategy, any};
use proptest::sample::select;
use proptest::strategy::BoxedStrategy;
use serde_json::Value;

use crate::corpus::payload::{Expr, Fill, Var};
use crate::corpus::{Decision, Family, Setup, Surface};

/// The deepest document that is to be accepted, as seen from its root.
const DEPTH: usize = 32;

/// A family of generated attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Grammar {
    /// Paths: climbs, links, encodings.
    Path,
    /// JSON: documents with and without faults.
    Json,
    /// Unicode: text with and without control characters.
    Text,
    /// Arguments of a program: shell syntax.
    Argument,
    /// The framing of a request.
    Frame,
}

impl Grammar {
    /// Every grammar.
    pub const ALL: &'static [Self] =
        &[Self::Path, Self::Json, Self::Text, Self::Argument, Self::Frame];

    /// The family, surface and requirement of its records.
    #[must_use]
    pub const fn place(self) -> (Family, Surface, &'static str) {
        match self {
            Self::Path => (Family::PT, Surface::ToolPathRead, "path.traversal"),
            Self::Json => (Family::JS, Surface::HttpJson, "input.json-strict"),
            Self::Text => (Family::UC, Surface::MessageText, "input.control-chars"),
            Self::Argument => (Family::CI, Surface::ToolArgument, "registry.no-shell"),
            Self::Frame => (Family::OP, Surface::HttpRaw, "input.json-strict"),
        }
    }

    /// A benign input on the same surface.
    #[must_use]
    pub fn benign(self) -> Generated {
        let (setup, payload) = match self {
            Self::Path => (workspace(), text("docs/ok.md")),
            Self::Json => (Vec::new(), text("true")),
            Self::Text => (Vec::new(), concat([var(Var::Nonce), text(" an ordinary sentence")])),
            Self::Argument => (Vec::new(), text("a-b")),
            Self::Frame => (Vec::new(), framed(&[], "1000")),
        };
        Generated { setup, payload, decision: Decision::Accept }
    }

    /// How inputs of this grammar are drawn and made smaller.
    pub fn strategy(self) -> BoxedStrategy<Generated> {
        match self {
            Self::Path => paths(),
            Self::Json => documents(),
            Self::Text => texts(),
            Self::Argument => arguments(),
            Self::Frame => frames(),
        }
    }
}

/// One generated input.
#[derive(Clone, Debug)]
pub struct Generated {
    /// What stands in the workspace.
    pub setup: Vec<Setup>,
    /// What is delivered.
    pub payload: Expr,
    /// What must become of it.
    pub decision: Decision,
}

fn text(text: &str) -> Expr {
    Expr::Text(text.to_owned())
}

fn var(var: Var) -> Expr {
    Expr::Var(var)
}

fn concat(parts: impl IntoIterator<Item = Expr>) -> Expr {
    Expr::Concat(parts.into_iter().collect())
}

/// What generated paths may meet.
fn workspace() -> Vec<Setup> {
    vec![
        Setup::File { path: text("docs/ok.md"), content: var(Var::Mark), executable: false },
        Setup::Symlink { path: text("link"), target: var(Var::Outside) },
        Setup::Symlink { path: text("in"), target: text("docs") },
        Setup::Symlink { path: text("loop"), target: text("loop") },
    ]
}

/// Only that something outside is reached counts: most of these paths stay inside.
fn paths() -> BoxedStrategy<Generated> {
    let words: Vec<Expr> = [
        "..",
        ".",
        "docs",
        "ok.md",
        "k",
        "outside",
        "link",
        "in",
        "loop",
        "~",
        "$HOME",
        "...",
        "%2e%2e",
        "%2f",
        "%252e%252e",
        "..%2f",
        "..%5c",
        "\\",
        "..\\",
        "\0",
        " ",
        "..;",
        "\u{ff0e}\u{ff0e}",
        "\u{2215}",
        "\u{2025}",
        "/proc/self/root",
        "/proc/self/cwd",
        "/dev/fd/7",
        "file://",
        "....",
        "",
    ]
    .into_iter()
    .map(text)
    .chain([var(Var::Climb), var(Var::Outside), var(Var::Hostfile), var(Var::Root)])
    .collect();
    let piece = (select(words), any::<bool>());
    proptest::collection::vec(piece, 1..8)
        .prop_map(|pieces| {
            let mut parts = Vec::new();
            for (place, (word, joined)) in pieces.into_iter().enumerate() {
                if place > 0 && !joined {
                    parts.push(text("/"));
                }
                parts.push(word);
            }
            Generated { setup: workspace(), payload: concat(parts), decision: Decision::Either }
        })
        .boxed()
}

/// Tokens that stand for a value; not all are one.
const TOKENS: &[&str] = &[
    "0",
    "-0",
    "1.5",
    "1e3",
    "true",
    "null",
    "\"a\"",
    "\"\\u00e9\"",
    "\"[{\"",
    "\"\\\\\"",
    "NaN",
    "01",
    "+1",
    ".5",
    "1.",
    "0x1",
    "1e400",
    "'a'",
    "\"\\ud800\"",
    "\"\\x\"",
    "\"\t\"",
    "tru",
    "-",
    "//x\n1",
    "\"\\u0000\"",
    "",
];

fn documents() -> BoxedStrategy<Generated> {
    let leaf = select(TOKENS).prop_map(str::to_owned);
    let tree = leaf.prop_recursive(6, 48, 5, |inner| {
        let key = select(&["\"a\"", "\"b\"", "\"\\u0061\"", "a", "\"\""][..]);
        let wrapped = (1_usize..40, inner.clone())
            .prop_map(|(depth, core)| [&*"[".repeat(depth), &core, &*"]".repeat(depth)].concat());
        let list = proptest::collection::vec(inner.clone(), 0..4)
            .prop_map(|items| format!("[{}]", items.join(",")));
        let object = proptest::collection::vec((key, inner), 0..4).prop_map(|members| {
            let members = members.iter().map(|(key, value)| format!("{key}:{value}"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        });
        proptest::prop_oneof![list, object, wrapped]
    });
    let tail = select(&["", "", "", ",", "]", " 1", "}"][..]);
    (tree, tail)
        .prop_map(|(tree, tail)| {
            let json = format!("{tree}{tail}");
            let decision = if sound(&json) { Decision::Accept } else { Decision::Reject };
            Generated { setup: Vec::new(), payload: text(&json), decision }
        })
        .boxed()
}

/// Whether a document is one that must be accepted as the value of a member two levels down.
fn sound(json: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(json) else { return false };
    // Parsing drops repeated keys, so the text that comes back is shorter than what was given.
    let compact: String = serde_json::to_string(&value).unwrap_or_default();
    let members = |text: &str| outside_strings(text).filter(|byte| *byte == b':').count();
    members(&compact) == members(json) && depth(json) + 2 <= DEPTH && !json.contains("\\u0000")
}

fn depth(json: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for byte in outside_strings(json) {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

/// The bytes of a document that stand in no string.
fn outside_strings(json: &str) -> impl Iterator<Item = u8> {
    let (mut inside, mut escaped) = (false, false);
    json.bytes().filter(move |byte| {
        match (inside, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, false, b'"') => inside = !inside,
            _ => {}
        }
        !inside
    })
}

fn texts() -> BoxedStrategy<Generated> {
    let signs: Vec<&'static str> = vec![
        "a",
        " ",
        "\n",
        "\t",
        "\r",
        "é",
        "e\u{301}",
        "שלום",
        "👩\u{200d}💻",
        "\u{202e}",
        "\u{2028}",
        "\u{feff}",
        "\u{fffe}",
        "\u{e0041}",
        "\u{3164}",
        "\0",
        "\u{1}",
        "\u{8}",
        "\u{1b}[2J",
        "\u{1f}",
        "\u{80}",
        "\u{85}",
        "\u{9b}2J",
        "\u{9f}",
    ];
    proptest::collection::vec(select(signs), 0..12)
        .prop_map(|signs| {
            let said = signs.concat();
            let control = |it: char| it.is_control() && !matches!(it, '\n' | '\r' | '\t');
            let decision = if said.contains(control) { Decision::Reject } else { Decision::Accept };
            let payload = concat([var(Var::Nonce), text(&said)]);
            Generated { setup: Vec::new(), payload, decision }
        })
        .boxed()
}

fn arguments() -> BoxedStrategy<Generated> {
    let words: Vec<Expr> = [
        ";", "&&", "|", "&", "$(", ")", "`", "'", "\"", " ", "\n", ">", "<", "*", "~", "$HOME",
        "${IFS}", "{", "}", "#", "\\", "a", "--", "-o", "@", "%s", "\u{ff1b}", "\u{2028}",
    ]
    .into_iter()
    .map(text)
    .chain([concat([text("touch "), var(Var::Effect)]), var(Var::Effect)])
    .collect();
    proptest::collection::vec(select(words), 1..10)
        .prop_map(|parts| Generated {
            setup: Vec::new(),
            payload: concat(parts),
            decision: Decision::Neutralise,
        })
        .boxed()
}

/// A request in one chunk, with these further headers and this text as the chunk's length.
fn framed(headers: &[&str], length: &str) -> Expr {
    let mut head = String::new();
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    let body = Fill {
        to: 0x1000,
        with: Box::new(text(" ")),
        before: Some(Box::new(var(Var::Request))),
        after: None,
    };
    concat([
        var(Var::Head),
        text(&format!("{head}Transfer-Encoding: chunked\r\n\r\n{length}\r\n")),
        Expr::Fill(body),
        text("\r\n0\r\n\r\n"),
    ])
}

/// Headers, each with what becomes of a request that has it. A length beside chunks may be refused
/// or passed over (RFC 9112, 6.1), where the chunks alone say what the body is.
const HEADERS: &[(&str, Decision)] = &[
    ("X-A: b", Decision::Accept),
    ("Accept: */*", Decision::Accept),
    ("Content-Length: 10", Decision::Either),
    ("Content-Length: -1", Decision::Reject),
    ("Transfer-Encoding: gzip", Decision::Reject),
    ("X\0Y: z", Decision::Reject),
    ("No colon", Decision::Reject),
];
/// Lengths of a chunk, each with whether it is right.
const LENGTHS: &[(&str, bool)] = &[
    ("1000", true),
    ("0x1000", false),
    ("+1000", false),
    ("-1", false),
    ("1000g", false),
    ("", false),
];

fn frames() -> BoxedStrategy<Generated> {
    let headers = proptest::collection::vec(select(HEADERS), 0..4);
    (headers, proptest::prop_oneof![3 => Just(("1000", true)), 1 => select(LENGTHS)])
        .prop_map(|(headers, (length, right))| {
            let any = |wanted| headers.iter().any(|(_, decision)| *decision == wanted);
            let lines: Vec<&str> = headers.iter().map(|(line, _)| *line).collect();
            let decision = match (any(Decision::Reject) || !right, any(Decision::Either)) {
                (true, _) => Decision::Reject,
                (false, true) => Decision::Either,
                (false, false) => Decision::Accept,
            };
            Generated { setup: Vec::new(), payload: framed(&lines, length), decision }
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_json_knows_faults_and_depth() {
        for good in ["0", "[1,{\"a\":\"]:\"}]", "{\"a\":1,\"b\":{\"a\":2}}", "\"\\u00e9\""] {
            assert!(sound(good), "{good}");
        }
        let deep = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(sound(&deep(30)) && !sound(&deep(31)));
        for bad in ["", "NaN", "01", "[1,]", "{\"a\":1,\"\\u0061\":2}", "\"\\ud800\"", "1 1"] {
            assert!(!sound(bad), "{bad}");
        }
    }
}
