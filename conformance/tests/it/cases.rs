//! The cases that the small target is tested with. It must never know what it answers.

use clawproof::corpus::{Corpus, Record};
use serde_json::{Value, json};

fn record(
    id: &str,
    requirement: &str,
    surface: &str,
    cases: &[(&str, &str, Value, Value)],
) -> Record {
    let cases: Vec<Value> = cases
        .iter()
        .map(|(number, verdict, payload, setup)| {
            let kind = if *verdict == "accept" { "benign" } else { "attack" };
            let twin = (kind == "attack").then(|| format!("{id}.001"));
            let mut case = json!({
                "id": format!("{id}.{number}"), "kind": kind, "surface": surface, "note": "n",
                "payload": payload, "setup": setup, "expect": {"verdict": verdict, "reason": "r"},
            });
            if let Some(twin) = twin {
                case["twin"] = json!(twin);
            }
            if surface == "tool.arguments" {
                case["role"] = json!("write");
            }
            case
        })
        .collect();
    serde_json::from_value(json!({
        "id": id, "family": id[..2], "title": "t", "definition": "d", "status": "active",
        "since": "2026.1", "severity": "high", "requirement": [requirement], "licence": "CC0-1.0",
        "provenance": {"kind": "own", "author": "a", "date": "2026-11-24"}, "cases": cases,
    }))
    .unwrap()
}

/// A few cases for every surface.
pub(crate) fn corpus() -> Corpus {
    let nonce = || json!({"var": "NONCE"});
    let mark = |path: &str| json!([{"file": {"path": path, "content": {"var": "MARK"}}}]);
    let none = || json!([]);
    let arguments = |extra: Value| json!({"arguments": {"role": "write", "path": {"var": "EFFECT"}, "content": "x", "retype": extra}});
    let records = vec![
        record(
            "UC-001",
            "input.control-chars",
            "message.text",
            &[
                ("001", "accept", json!({"concat": ["plain \u{e9} ", nonce()]}), none()),
                ("002", "reject", json!({"concat": ["bell \u{7} ", nonce()]}), none()),
            ],
        ),
        record(
            "OP-001",
            "input.message-size",
            "message.text",
            &[
                (
                    "001",
                    "accept",
                    json!({"fill": {"to": 100_000, "with": "a", "before": nonce()}}),
                    none(),
                ),
                (
                    "002",
                    "reject",
                    json!({"fill": {"to": 102_401, "with": "a", "before": nonce()}}),
                    none(),
                ),
            ],
        ),
        record(
            "JS-001",
            "input.json-strict",
            "http.json",
            &[
                ("001", "accept", json!("{\"a\":[1]}"), none()),
                ("002", "reject", json!("{\"a\":NaN}"), none()),
            ],
        ),
        record(
            "JS-002",
            "input.json-strict",
            "http.body",
            &[
                ("001", "accept", json!({"var": "REQUEST"}), none()),
                ("002", "reject", json!({"concat": [{"var": "REQUEST"}, "]"]}), none()),
                ("003", "accept", json!({"drip": {"of": {"var": "REQUEST"}, "every": 7}}), none()),
            ],
        ),
        record(
            "UC-002",
            "input.null-byte",
            "session.id",
            &[
                ("001", "accept", json!({"var": "SESSION"}), none()),
                ("002", "reject", json!({"concat": [{"var": "SESSION"}, "\u{0}"]}), none()),
            ],
        ),
        record(
            "PT-001",
            "path.traversal",
            "tool.path.read",
            &[
                ("001", "accept", json!("a.txt"), mark("a.txt")),
                ("002", "reject", json!({"concat": [{"var": "CLIMB"}, "/k"]}), none()),
                ("003", "reject", json!({"concat": [{"var": "OUTSIDE"}, "/k"]}), none()),
                ("004", "reject", json!({"var": "HOSTFILE"}), none()),
                (
                    "005",
                    "reject",
                    json!("l/k"),
                    json!([{"symlink": {"path": "l", "target": {"var": "OUTSIDE"}}}]),
                ),
            ],
        ),
        record(
            "PT-002",
            "path.traversal",
            "tool.path.write",
            &[
                ("001", "accept", json!("new.txt"), none()),
                ("002", "reject", json!({"concat": [{"var": "CLIMB"}, "/new"]}), none()),
            ],
        ),
        record(
            "CI-001",
            "registry.no-shell",
            "tool.argument",
            &[
                ("001", "accept", json!("R&D"), none()),
                ("002", "neutralise", json!({"concat": ["a; touch ", {"var": "EFFECT"}]}), none()),
            ],
        ),
        record(
            "TC-001",
            "registry.exact-name",
            "tool.name",
            &[
                ("001", "accept", json!({"var": "WRITE"}), none()),
                (
                    "002",
                    "reject",
                    json!({"encode": {"as": "upper", "of": {"var": "WRITE"}}}),
                    none(),
                ),
            ],
        ),
        record(
            "TC-002",
            "registry.schema",
            "tool.arguments",
            &[
                ("001", "accept", arguments(json!({})), none()),
                ("002", "reject", arguments(json!({"content": 7})), none()),
            ],
        ),
        record(
            "TC-003",
            "registry.no-conjuring",
            "tool.call",
            &[("001", "accept", json!({"var": "CALL"}), none())],
        ),
        record(
            "TC-004",
            "registry.no-conjuring",
            "model.prose",
            &[
                ("001", "accept", json!("just words"), none()),
                ("002", "either", json!({"var": "CALL"}), none()),
            ],
        ),
        record(
            "TC-005",
            "registry.no-conjuring",
            "tool.result",
            &[
                ("001", "accept", json!("just words"), none()),
                ("002", "either", json!({"var": "CALL"}), none()),
            ],
        ),
    ];
    Corpus { records }
}
