//! Answers in another form that mean the same, for the suite's self-test: compiled in a `knockout`
//! build alone. It must never change what an answer says, nor whether there is one.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use crate::requirement::variant;

/// The size of a piece of an answer in chunks, in bytes.
const PIECE: usize = 17;

/// Around everything else.
pub(super) async fn varied(response: Response) -> Response {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    if variant::SLOWER.on() {
        tokio::time::sleep(a_moment()).await;
    }
    let (mut parts, body) = response.into_parts();
    if variant::STATUS.on() {
        parts.status = another(parts.status);
    }
    if variant::CLOSE.on() {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    // Our own answers: their size is bounded where they are made.
    let Ok(whole) = to_bytes(body, usize::MAX).await else {
        return Response::from_parts(parts, Body::empty());
    };
    let written = rewritten(&whole).map_or(whole, Bytes::from);
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = if variant::CHUNKED.on() {
        let pieces: Vec<_> =
            written.chunks(PIECE).map(|it| Ok::<_, std::io::Error>(it.to_vec())).collect();
        Body::from_stream(futures_util::stream::iter(pieces))
    } else {
        Body::from(written)
    };
    Response::from_parts(parts, body)
}

/// The text of one answer on a WebSocket.
pub(super) fn text(text: String) -> String {
    let rewritten = rewritten(text.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok());
    rewritten.unwrap_or(text)
}

/// Between 2 and 17 milliseconds.
fn a_moment() -> Duration {
    let mut byte = [0_u8; 1];
    let _ = getrandom::fill(&mut byte);
    Duration::from_millis(u64::from(byte[0] % 16) + 2)
}

/// Where `docs/errors.md` leaves two statuses for one code, the other one; 422 and 500 are of the same
/// class as 400 and 503.
fn another(status: StatusCode) -> StatusCode {
    match status {
        StatusCode::BAD_REQUEST => StatusCode::UNPROCESSABLE_ENTITY,
        StatusCode::PAYLOAD_TOO_LARGE => StatusCode::BAD_REQUEST,
        StatusCode::SERVICE_UNAVAILABLE => StatusCode::INTERNAL_SERVER_ERROR,
        other => other,
    }
}

/// The same JSON in the form that is asked for; `None` where none is, or where it is no JSON.
fn rewritten(json: &[u8]) -> Option<Vec<u8>> {
    let (reverse, indent) = (variant::KEY_ORDER.on(), variant::WHITESPACE.on());
    if !reverse && !indent {
        return None;
    }
    let value: Value = serde_json::from_slice(json).ok()?;
    let mut out = Vec::new();
    write(&value, &Form { reverse, indent }, 0, &mut out);
    Some(out)
}

struct Form {
    reverse: bool,
    indent: bool,
}

fn write(value: &Value, form: &Form, depth: usize, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            let items = items.iter().map(|item| (None, item));
            container(items.collect(), [b'[', b']'], form, depth, out);
        }
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.iter().map(|(key, value)| (Some(key.as_str()), value)).collect();
            if form.reverse {
                members.reverse();
            }
            container(members, [b'{', b'}'], form, depth, out);
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

fn container(
    members: Vec<(Option<&str>, &Value)>,
    brackets: [u8; 2],
    form: &Form,
    depth: usize,
    out: &mut Vec<u8>,
) {
    let line = |depth: usize, out: &mut Vec<u8>| {
        if form.indent {
            out.push(b'\n');
            out.resize(out.len() + 3 * depth, b' ');
        }
    };
    out.push(brackets[0]);
    let empty = members.is_empty();
    for (place, (key, value)) in members.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        line(depth + 1, out);
        if let Some(key) = key {
            out.extend_from_slice(Value::from(key).to_string().as_bytes());
            out.extend_from_slice(if form.indent { b" : " } else { b":" });
        }
        write(value, form, depth + 1, out);
    }
    if !empty {
        line(depth, out);
    }
    out.push(brackets[1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_means_the_same() {
        let value = serde_json::json!({"a": [1, {"b": "\n\""}, []], "c": {}, "d": 1.5});
        for (reverse, indent) in [(false, true), (true, false), (true, true)] {
            let mut out = Vec::new();
            write(&value, &Form { reverse, indent }, 0, &mut out);
            assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), value);
            assert_ne!(out, value.to_string().into_bytes());
        }
    }

    #[test]
    fn another_status_is_of_the_same_class() {
        for code in 100..600 {
            let Ok(status) = StatusCode::from_u16(code) else { continue };
            assert_eq!(another(status).as_u16() / 100, code / 100);
        }
        for fixed in [401, 403, 404, 429] {
            assert_eq!(another(StatusCode::from_u16(fixed).unwrap()).as_u16(), fixed);
        }
    }
}
