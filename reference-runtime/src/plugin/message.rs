//! A frame as what it is: bytes from outside that must be strict JSON and strict JSON-RPC. It must
//! never know what a method does.

use serde_json::{Map, Value, json};

use crate::{
    audit::Rejection,
    boundary::{Limits, json as boundary_json, text},
    requirement::{INPUT_ALL_DOORS, PLUGIN_FRAME},
};

const INVALID: &str = "a plugin's message is not valid JSON-RPC";

/// What a plugin sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Incoming {
    /// It asks the runtime; without an id it wants no answer.
    Request { id: Option<Value>, method: String, params: Value },
    /// It answers under this id.
    Reply { id: Value, result: Result<Value, String> },
}

/// Reads a frame.
///
/// # Errors
/// A requirement of Layer 1 that it breaks; `plugin.frame` where it is not JSON-RPC.
pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Incoming, Rejection> {
    let mut limits = *limits;
    if !PLUGIN_FRAME.enforced() {
        // What is prevented: as deep and as long as the parser takes it.
        limits.json_depth = boundary_json::MAX_DEPTH;
        limits.body_bytes = usize::MAX;
    }
    let map: Map<String, Value> = boundary_json::parse(bytes, &limits)?.into_inner();
    // Counted a second time, by what was parsed.
    let deepest = map.values().map(depth).max().unwrap_or_default().saturating_add(1);
    if deepest > limits.json_depth {
        return Err(PLUGIN_FRAME.refuse(INVALID, format!("{deepest} levels")));
    }
    map.iter().try_for_each(|(key, value)| {
        plain(key)?;
        strings(value)
    })?;
    incoming(map)
}

/// Open containers of a value.
fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    inner.unwrap_or_default().saturating_add(1)
}

fn incoming(mut map: Map<String, Value>) -> Result<Incoming, Rejection> {
    let wrong = |cause: &str| PLUGIN_FRAME.refuse(INVALID, cause);
    let strict = PLUGIN_FRAME.enforced();
    if map.remove("jsonrpc") != Some(Value::from("2.0")) && strict {
        return Err(wrong("jsonrpc is not 2.0"));
    }
    let id = map.remove("id");
    match map.remove("method") {
        Some(Value::String(method)) => {
            let params = map.remove("params").unwrap_or(Value::Null);
            let named = matches!(&id, None | Some(Value::String(_)))
                || id.as_ref().is_some_and(|id| id.is_i64() || id.is_u64());
            if strict && !named {
                return Err(wrong("the id of a request is neither a whole number nor a text"));
            }
            if strict && !matches!(params, Value::Null | Value::Object(_)) {
                return Err(wrong("params are no object"));
            }
            if strict && (!map.is_empty() || text::identifier(&method).is_err()) {
                return Err(wrong("a request with other members, or with no plain method"));
            }
            Ok(Incoming::Request { id, method, params })
        }
        Some(_) => Err(wrong("the method is no text")),
        None => {
            let id = id.ok_or_else(|| wrong("neither a method nor an id"))?;
            let result = match (map.remove("result"), map.remove("error")) {
                (Some(result), None) => Ok(result),
                (None, Some(error)) => Err(sentence(&error).ok_or_else(|| wrong("the error"))?),
                _ => return Err(wrong("neither a result nor an error, or both")),
            };
            if strict && !map.is_empty() {
                return Err(wrong("an answer with other members"));
            }
            Ok(Incoming::Reply { id, result })
        }
    }
}

/// The sentence of an error: `{"code": whole number, "message": text}`.
fn sentence(error: &Value) -> Option<String> {
    let fields = error.as_object()?;
    let known = fields.keys().all(|key| matches!(key.as_str(), "code" | "message" | "data"));
    let coded = fields.get("code")?.is_i64();
    let message = fields.get("message")?.as_str()?;
    (known && coded).then(|| message.chars().take(500).collect())
}

/// Whether a reply is to this request: its id is this number and nothing that resembles it.
pub(super) fn is_answer_to(id: &Value, asked: u64) -> bool {
    !PLUGIN_FRAME.enforced() || id.as_u64() == Some(asked)
}

/// A request of the runtime's.
pub(super) fn request(id: u64, method: &str, params: &Value) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string().into()
}

/// An answer of the runtime's.
pub(super) fn result(id: &Value, result: &Value) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string().into()
}

/// A refusal of the runtime's.
pub(super) fn error(id: &Value, code: i64, message: &str) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        .to_string()
        .into()
}

/// Text of a plugin ends in a model, a log or a terminal: this door refuses what messages may not
/// hold by itself, whatever becomes of their own check. (A null byte is no part of any JSON here.)
fn plain(text: &str) -> Result<(), Rejection> {
    let obeyed = |it: char| it.is_control() && !matches!(it, '\t' | '\n' | '\r');
    INPUT_ALL_DOORS.check(
        !text.chars().any(obeyed),
        "a plugin's message holds control characters",
        || "C0, DEL or C1 in a message of a plugin".to_owned(),
    )
}

/// The rules of text hold for every string of a message, keys included. The depth is bounded.
fn strings(value: &Value) -> Result<(), Rejection> {
    match value {
        Value::String(text) => plain(text),
        Value::Array(items) => items.iter().try_for_each(strings),
        Value::Object(fields) => fields.iter().try_for_each(|(key, item)| {
            plain(key)?;
            strings(item)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Incoming, Rejection> {
        read(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn requests_notifications_and_answers_are_told_apart() {
        let request = of(r#"{"jsonrpc":"2.0","id":"a","method":"log","params":{}}"#).unwrap();
        assert!(matches!(request, Incoming::Request { id: Some(_), .. }));
        let notification = of(r#"{"jsonrpc":"2.0","method":"log"}"#).unwrap();
        assert!(matches!(notification, Incoming::Request { id: None, .. }));
        let answer = of(r#"{"jsonrpc":"2.0","id":3,"result":{}}"#).unwrap();
        assert!(matches!(answer, Incoming::Reply { result: Ok(_), .. }));
        let error = r#"{"jsonrpc":"2.0","id":3,"error":{"code":-1,"message":"no"}}"#;
        assert!(matches!(of(error).unwrap(), Incoming::Reply { result: Err(_), .. }));
    }

    #[test]
    fn what_only_resembles_json_rpc_is_refused() {
        let deep = format!("{}{}", "[".repeat(32), "]".repeat(32));
        for text in [
            "",
            "[]",
            "{",
            "null",
            r#"{"id":1,"method":"log"}"#,
            r#"{"jsonrpc":2.0,"id":1,"method":"log"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"log"}"#,
            r#"{"jsonrpc":"2.0","id":1.0,"method":"log"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"log"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a b"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"log","params":[]}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"log","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":"\u0000"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":"\u001b[2J"}"#,
            &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{deep}}}"#),
        ] {
            assert!(of(text).is_err(), "{text}");
        }
        assert!(
            read(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}", &Limits::default())
                .is_err()
        );
    }

    #[test]
    fn an_id_is_the_one_that_was_asked_or_another() {
        assert!(is_answer_to(&json!(7), 7));
        for other in [json!("7"), json!(7.0), json!(8), json!(-7), Value::Null, json!([7])] {
            assert!(!is_answer_to(&other, 7), "{other}");
        }
    }
}
