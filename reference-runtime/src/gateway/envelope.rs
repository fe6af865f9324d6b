//! JSON-RPC 2.0, strictly: version, id, method, parameters, nothing else, one or a bounded batch.
//! The text is scanned once as a whole; its parts are parsed where they stand and parameters stay
//! raw until the method is known. This file must never know a method.

use std::borrow::Cow;

use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::id::Id;
use super::reply::Refusal;
use crate::audit::Rejection;
use crate::boundary::json::Document;
use crate::boundary::{Checked, Limits};

/// The most requests that one batch may hold.
pub(super) const MAX_BATCH: usize = 100;
/// The longest id, in bytes.
const MAX_ID: usize = 256;

/// One request as it came.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Envelope<'text> {
    #[serde(borrow)]
    jsonrpc: Cow<'text, str>,
    /// The id, which the answer repeats.
    pub(super) id: Id,
    /// The name of the method.
    #[serde(borrow)]
    pub(super) method: Cow<'text, str>,
    #[serde(borrow, default)]
    params: Option<&'text RawValue>,
}

/// A request and the document that it stands in.
#[derive(Debug)]
pub(super) struct Request<'text> {
    envelope: Checked<Envelope<'text>>,
    document: &'text Document<'text>,
}

impl Request<'_> {
    /// The id, which the answer repeats.
    #[must_use]
    pub(super) fn id(&self) -> &Id {
        &self.envelope.get().id
    }

    /// The name of the method.
    #[must_use]
    pub(super) fn method(&self) -> &str {
        &self.envelope.get().method
    }

    /// Parameters of exactly this shape; none are as good as `{}`.
    ///
    /// # Errors
    /// Where they are no object, or another one.
    pub(super) fn params<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let params = self.envelope.get().params;
        // A list would be taken by place, and what a place means is nowhere said.
        if params.is_some_and(|params| !params.get().starts_with('{')) {
            return Err(invalid_params("the parameters are an object of names and values"));
        }
        let wrong = |rejection: Rejection| Refusal::from(rejection).with_code(-32602);
        match params {
            Some(params) => self.document.part(params).map(Checked::into_inner).map_err(wrong),
            None => serde_json::from_str("{}")
                .map_err(|_| invalid_params("the method needs parameters")),
        }
    }
}

/// The refusal of parameters that are not right.
pub(super) fn invalid_params(public: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, -32602, public)
}

/// What a text holds.
#[derive(Debug)]
pub(super) enum Incoming<'text> {
    /// One request.
    Single(Request<'text>),
    /// A batch, in order; each is sound or not on its own.
    Batch(Vec<Result<Request<'text>, Refusal>>),
}

/// Scans a whole text.
///
/// # Errors
/// The requirement of Layer 1 that it breaks.
pub(super) fn scan<'text>(text: &'text [u8], limits: &Limits) -> Result<Document<'text>, Refusal> {
    Document::read(text, limits).map_err(|rejection| Refusal::from(rejection).with_code(-32700))
}

/// Reads a scanned text.
///
/// # Errors
/// The refusal of a single request, or of a batch as a whole.
pub(super) fn read<'text>(document: &'text Document<'text>) -> Result<Incoming<'text>, Refusal> {
    let text = document.as_str();
    if !text.trim_ascii_start().starts_with('[') {
        return sound(document.parse(), document).map(Incoming::Single);
    }
    let parts: Vec<&RawValue> = document.parse().map_err(not_a_request)?.into_inner();
    if parts.is_empty() || parts.len() > MAX_BATCH {
        return Err(invalid("a batch holds 1 to 100 requests"));
    }
    let requests = parts.into_iter().map(|part| sound(document.part(part), document));
    Ok(Incoming::Batch(requests.collect()))
}

fn sound<'text>(
    envelope: Result<Checked<Envelope<'text>>, Rejection>,
    document: &'text Document<'text>,
) -> Result<Request<'text>, Refusal> {
    let envelope = envelope.map_err(not_a_request)?;
    if envelope.get().jsonrpc != "2.0" {
        return Err(invalid("the version of JSON-RPC is not 2.0"));
    }
    if matches!(&envelope.get().id, Id::Text(text) if text.len() > MAX_ID) {
        return Err(invalid("the id of the request is too long"));
    }
    Ok(Request { envelope, document })
}

fn not_a_request(rejection: Rejection) -> Refusal {
    Refusal::from(rejection).with_code(-32600)
}

fn invalid(public: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, -32600, public)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(body: &str) -> bool {
        let Ok(document) = scan(body.as_bytes(), &Limits::default()) else { return false };
        matches!(read(&document), Ok(Incoming::Single(_)))
    }

    #[test]
    fn a_request_is_taken_with_a_string_or_integer_id() {
        assert!(verdict(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#));
        assert!(verdict(r#" {"jsonrpc":"2.0","id":"a","method":"m","params":{"x":[1]}}"#));
        assert!(verdict(r#"{"jsonrpc":"\u0032.0","id":"\u0061","method":"\u006d"}"#));
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
    fn parameters_are_an_object_and_of_the_shape_that_is_asked_for() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Shape {
            #[serde(default)]
            a: Option<u8>,
        }
        let params = |text: &str| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m"{text}}}"#);
            let document = scan(body.as_bytes(), &Limits::default()).unwrap();
            let Ok(Incoming::Single(request)) = read(&document) else { panic!("one request") };
            request.params::<Shape>().map(|shape| shape.a)
        };
        assert_eq!(params("").unwrap(), None);
        assert_eq!(params(r#","params":{"a":7}"#).unwrap(), Some(7));
        for wrong in ["[7]", "[]", "7", "\"a\"", r#"{"b":1}"#, r#"{"a":"x"}"#] {
            assert!(params(&format!(r#","params":{wrong}"#)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_batch_is_bounded_and_judges_each_request_on_its_own() {
        let limits = Limits::default();
        let good = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
        let text = format!("[{good},7]");
        let document = scan(text.as_bytes(), &limits).unwrap();
        let Ok(Incoming::Batch(parts)) = read(&document) else { panic!("a batch") };
        assert!(matches!(parts.as_slice(), [Ok(_), Err(_)]));
        assert!(read(&scan(b"[]", &limits).unwrap()).is_err());
        let many = format!("[{}]", vec![good; MAX_BATCH + 1].join(","));
        assert!(read(&scan(many.as_bytes(), &limits).unwrap()).is_err());
    }
}
