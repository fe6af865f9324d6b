//! JSON-RPC 2.0, strictly: version, id, method, parameters, nothing else, one or a bounded batch.
//! Parameters stay raw text here. This file must never know a method.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::reply::Refusal;
use crate::boundary::{Checked, Limits, json};

/// The most requests that one batch may hold.
pub(super) const MAX_BATCH: usize = 100;
/// The longest id, in bytes.
const MAX_ID: usize = 256;

/// The id of a request: a string or an integer. A request without one is refused, because nobody
/// could be told that it was.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Id {
    /// An integer.
    Number(i64),
    /// A string.
    Text(String),
}

/// One request as it came.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    jsonrpc: String,
    /// The id, which the answer repeats.
    pub(super) id: Id,
    /// The name of the method.
    pub(super) method: String,
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

impl Request {
    /// The text of the parameters: a JSON value, `{}` where there are none.
    #[must_use]
    pub(super) fn params(&self) -> &str {
        self.params.as_deref().map_or("{}", RawValue::get)
    }
}

/// What a body holds.
#[derive(Debug)]
pub(super) enum Incoming {
    /// One request.
    Single(Checked<Request>),
    /// A batch, in order; each is sound or not on its own.
    Batch(Vec<Result<Checked<Request>, Refusal>>),
}

/// Reads a whole body.
///
/// # Errors
/// The refusal of a single request, or of a batch as a whole.
pub(super) fn read(body: &[u8], limits: &Limits) -> Result<Incoming, Refusal> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'[') {
        return request(body, limits).map(Incoming::Single);
    }
    let parts: Vec<Box<RawValue>> = json::parse(body, limits).map_err(not_json)?.into_inner();
    if parts.is_empty() || parts.len() > MAX_BATCH {
        return Err(invalid("a batch holds 1 to 100 requests"));
    }
    Ok(Incoming::Batch(parts.iter().map(|part| request(part.get().as_bytes(), limits)).collect()))
}

fn request(text: &[u8], limits: &Limits) -> Result<Checked<Request>, Refusal> {
    json::scan(text, limits).map_err(not_json)?;
    let request: Checked<Request> = json::parse(text, limits)
        .map_err(|rejection| Refusal::from(rejection).with_code(-32600))?;
    if request.get().jsonrpc != "2.0" {
        return Err(invalid("the version of JSON-RPC is not 2.0"));
    }
    if matches!(&request.get().id, Id::Text(text) if text.len() > MAX_ID) {
        return Err(invalid("the id of the request is too long"));
    }
    Ok(request)
}

fn not_json(rejection: crate::audit::Rejection) -> Refusal {
    Refusal::from(rejection).with_code(-32700)
}

fn invalid(public: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, -32600, public)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(body: &str) -> bool {
        matches!(read(body.as_bytes(), &Limits::default()), Ok(Incoming::Single(_)))
    }

    #[test]
    fn a_request_is_taken_with_a_string_or_integer_id() {
        assert!(verdict(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#));
        assert!(verdict(r#" {"jsonrpc":"2.0","id":"a","method":"m","params":{"x":[1]}}"#));
    }

    #[test]
    fn anything_else_is_refused() {
        for body in [
            "",
            "{}",
            "null",
            r#"{"jsonrpc":"2.0","method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
            r#"{"id":1,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":2}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","extra":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m"} x"#,
        ] {
            assert!(!verdict(body), "{body}");
        }
    }

    #[test]
    fn a_batch_is_bounded_and_judges_each_request_on_its_own() {
        let limits = Limits::default();
        let good = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
        let Ok(Incoming::Batch(parts)) = read(format!("[{good},7]").as_bytes(), &limits) else {
            panic!("a batch");
        };
        assert!(matches!(parts.as_slice(), [Ok(_), Err(_)]));
        assert!(read(b"[]", &limits).is_err());
        let many = format!("[{}]", vec![good; MAX_BATCH + 1].join(","));
        assert!(read(many.as_bytes(), &limits).is_err());
    }
}
