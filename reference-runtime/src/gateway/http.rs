//! From HTTP request to HTTP answer: the order of the checks. Each door hands on a proof, so that
//! leaving one out does not compile. This file must never know what a method does.
//!
//! No router and no boxes stand between the doors: there are four paths, and every box, clone and
//! look-up between two layers would be paid for by each request.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use tower::{Layer as _, Service as _, service_fn};

use super::entered::{Connection, Entered, Guarded};
use super::exchange::{Answered, answer};
use super::reply::{Refusal, json};
use super::socket::upgrade;
use super::upload::upload;
use super::{body, lasting};
use crate::audit::{Correlation, Event, Kind, Outcome};
use crate::requirement;

/// What stands at a path.
enum Door {
    Health,
    Guarded(Guarded),
    /// The path takes another method.
    Other,
    Nothing,
}

impl Door {
    fn at(path: &str, method: &Method) -> Self {
        let (door, takes) = match path {
            "/rpc" => (Self::Guarded(Guarded::Rpc), method == Method::POST),
            "/attachments" => (Self::Guarded(Guarded::Attachments), method == Method::POST),
            "/ws" => (Self::Guarded(Guarded::Socket), method == Method::GET),
            "/health" => (Self::Health, method == Method::GET || method == Method::HEAD),
            _ => return Self::Nothing,
        };
        if takes { door } else { Self::Other }
    }
}

/// The most headers of one request.
const HEADERS: usize = 64;
/// The name that a caller gave its request, and that the answer carries.
const REQUEST_ID: &str = "x-request-id";

/// Answers one request. It gives it its correlation id, and a panic an answer. A caller may name its
/// request: a sane name comes back and stands once in the log beside the id, which is always ours;
/// any other is as if it had not been sent.
pub(super) async fn respond(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let correlation = Correlation::new();
    let named = request_id(request.headers());
    if let Some(name) = &named {
        let name = String::from_utf8_lossy(name.as_bytes());
        tracing::info!(correlation = correlation.as_str(), request = &*name, "named by its caller");
    }
    let answered = pass(connection, request, &correlation);
    let answered = AssertUnwindSafe(answered).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| fault().respond(None, &correlation));
    let headers = response.headers_mut();
    if let Some(value) = named.or_else(|| HeaderValue::from_str(correlation.as_str()).ok()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    #[cfg(feature = "knockout")]
    let response = super::variant::varied(response).await;
    Ok(response)
}

/// From the outside in: the number of headers, host and origin, then for all but `/health` token and rate, then the body.
async fn pass(
    connection: Arc<Connection>,
    request: Request<Incoming>,
    correlation: &Correlation,
) -> Response {
    // The parser's own limit is higher, and a lower one costs each request a copy of its table.
    if request.headers().len() > HEADERS {
        let public = "the request has too many headers";
        return Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, -32600, public)
            .closing()
            .respond(None, correlation);
    }
    if let Err(refusal) = known_origin(&connection, &request, correlation).await {
        return refusal.closing().respond(None, correlation);
    }
    match Door::at(request.uri().path(), request.method()) {
        Door::Guarded(door) => enter(door, connection, request, correlation).await,
        Door::Health => json(StatusCode::OK, "{\"status\":\"ok\"}"),
        Door::Nothing => {
            Refusal::new(StatusCode::NOT_FOUND, -32601, "there is nothing at this path")
                .respond(None, correlation)
        }
        Door::Other => {
            let public = "the path takes another HTTP method";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, -32600, public).respond(None, correlation)
        }
    }
}

/// The one name that was given, if it is 1 to 64 of `A-Z a-z 0-9 . _ -`: nothing in it can end a
/// line, a quote or a field of a log.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(REQUEST_ID).iter();
    let (Some(name), None) = (given.next(), given.next()) else { return None };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let sane = (1..=64).contains(&name.len()) && name.as_bytes().iter().all(plain);
    (sane || !requirement::AUDIT_INTEGRITY.enforced()).then(|| name.clone())
}

async fn known_origin(
    connection: &Connection,
    request: &Request<Incoming>,
    correlation: &Correlation,
) -> Result<(), Refusal> {
    let gateway = &connection.gateway;
    let Err(rejection) = gateway.origins.check(request.uri(), request.headers()) else {
        return Ok(());
    };
    let subject = format!("address:{}", connection.peer.ip());
    let event =
        Event::new(Kind::Authorization, Outcome::Deny, subject, "origin", correlation.clone());
    let event = event.refused_by(rejection.requirement()).with("cause", rejection.cause());
    Err(match gateway.agent.audit().record(event).await {
        Ok(()) => rejection.into(),
        Err(unrecorded) => unrecorded.into(),
    })
}

/// The token, before a byte of the body is read; then the rate.
async fn enter(
    door: Guarded,
    connection: Arc<Connection>,
    request: Request<Incoming>,
    correlation: &Correlation,
) -> Response {
    let gate = &connection.gateway.gate;
    let caller = match gate.admit(connection.peer, request.headers(), correlation).await {
        Ok(caller) => caller,
        Err(refusal) => return refusal.respond(None, correlation),
    };
    let mut counted = connection.counted.layer(service_fn(open));
    let correlation = correlation.clone();
    let Ok(response) =
        counted.call(Entered { connection, correlation, caller, request, door }).await;
    response
}

/// Behind all doors.
async fn open(entered: Entered) -> Result<Response, Infallible> {
    Ok(match entered.door {
        Guarded::Rpc => rpc(entered).await,
        Guarded::Attachments => Box::pin(settled(entered, upload)).await,
        Guarded::Socket => Box::pin(settled(entered, upgrade)).await,
    })
}

/// Goes on once the record of the attempt to authenticate is written.
async fn settled<F: Future<Output = Response>>(
    mut entered: Entered,
    then: fn(Entered) -> F,
) -> Response {
    let gateway = Arc::clone(entered.gateway());
    match entered.caller.settle(gateway.agent.audit()).await {
        Ok(()) => then(entered).await,
        Err(unrecorded) => Refusal::from(unrecorded).respond(None, &entered.correlation),
    }
}

async fn rpc(entered: Entered) -> Response {
    let Entered { connection, correlation, mut caller, request, .. } = entered;
    let gateway = Arc::clone(&connection.gateway);
    let (parts, content) = request.into_parts();
    let text = match body::read(&parts.headers, content, &gateway.config().limits).await {
        Ok(text) => text,
        Err(refusal) => {
            let unrecorded = caller.settle(gateway.agent.audit()).await.err().map(Refusal::from);
            return unrecorded.unwrap_or(refusal).respond(None, &correlation);
        }
    };
    // What was taken up runs to its end and is recorded, also when the caller hangs up.
    let answered = {
        let correlation = correlation.clone();
        lasting::run(async move { answer(&gateway, &caller, &text, None, &correlation).await })
    };
    match answered.await {
        Answered::Done(text) => json(StatusCode::OK, text),
        Answered::Refused(id, refusal) => refusal.respond(id.as_ref(), &correlation),
    }
}

/// The answer to a panic; the panic hook has logged its cause.
fn fault() -> Refusal {
    requirement::ERROR_NO_PANIC.refuse("the runtime met a fault of its own", "panic").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_named_by_one_plain_word_or_not_at_all() {
        let named = |names: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for name in names {
                headers.append(REQUEST_ID, HeaderValue::from_bytes(name).unwrap());
            }
            request_id(&headers).map(|name| name.as_bytes().to_vec())
        };
        let longest = [b'a'; 64];
        for sane in [b"a".as_slice(), b"0191-x_Y.z", &longest] {
            assert_eq!(named(&[sane]).as_deref(), Some(sane));
        }
        let long = [b'a'; 65];
        for wrong in [b"".as_slice(), b"a b", b"a\"b", b"a\tb", b"{}", b"\xe2\x80\xae", &long] {
            assert_eq!(named(&[wrong]), None, "{}", String::from_utf8_lossy(wrong));
        }
        assert_eq!(named(&[b"a", b"b"]), None);
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn a_path_is_taken_as_it_is_written_and_by_its_own_method_alone() {
        let guarded = |path, method| matches!(Door::at(path, &method), Door::Guarded(_));
        assert!(guarded("/rpc", Method::POST) && guarded("/ws", Method::GET));
        assert!(guarded("/attachments", Method::POST));
        for path in ["/RPC", "/rpc/", "//rpc", "/rpc/x", "/%72pc", "/", "", "*", "/health/../rpc"] {
            assert!(matches!(Door::at(path, &Method::POST), Door::Nothing), "{path}");
        }
        for (path, method) in [("/rpc", Method::GET), ("/ws", Method::POST), ("/rpc", Method::HEAD)]
        {
            assert!(matches!(Door::at(path, &method), Door::Other), "{path}");
        }
        assert!(matches!(Door::at("/health", &Method::HEAD), Door::Health));
        assert!(matches!(Door::at("/health", &Method::POST), Door::Other));
    }
}
