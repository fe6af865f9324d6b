//! From HTTP request to HTTP answer: the order of the checks. Each door hands on a proof, so that
//! leaving one out does not compile. This file must never know what a method does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::FutureExt as _;
use serde_json::json;
use tokio::sync::watch;

use super::auth::Authenticated;
use super::exchange::{Answered, answer};
use super::reply::Refusal;
use super::socket::upgrade;
use super::upload::upload;
use super::{Gateway, body};
use crate::audit::{Correlation, Event, Kind, Outcome};
use crate::rate::{RateLayer, RetryAfter};
use crate::requirement;

/// The address that a connection came from. The server puts it on every request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Says when the server stops. The server puts it on every request.
#[derive(Clone, Debug)]
pub(super) struct Stopping(pub(super) watch::Receiver<bool>);

/// The routes and, from the outside in: correlation and panics, host and origin, then for all but
/// `/health` token and rate, then the body.
pub(super) fn router(gateway: Arc<Gateway>) -> Router {
    // Whoever comes this far has shown a token; no byte of the body has been read yet.
    let counting = Arc::clone(&gateway);
    let counted = RateLayer::new(
        gateway.rates.clients(),
        requirement::RATE_CLIENT,
        |request: &Request| {
            let caller = request.extensions().get::<Authenticated<()>>();
            (caller.map_or_else(String::new, |it| it.identity().client.clone()), 1)
        },
        move |request: Request, retry_after| {
            too_often(Arc::clone(&counting), &request, retry_after)
        },
    );
    let guarded = Router::new()
        .route("/rpc", post(rpc))
        .route("/attachments", post(upload))
        .route("/ws", get(upgrade))
        .layer(counted)
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), enter));
    let router = Router::new()
        .route("/health", get(health))
        .merge(guarded)
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), known_origin))
        .layer(middleware::from_fn(correlate))
        .with_state(gateway);
    #[cfg(feature = "knockout")]
    let router = router.layer(middleware::from_fn(super::variant::varied));
    router
}

/// The name that a caller gave its request, and that the answer carries.
const REQUEST_ID: &str = "x-request-id";

/// Gives the request its correlation id, and a panic an answer. A caller may name its request: a
/// sane name comes back and stands once in the log beside the id, which is always ours; any other
/// is as if it had not been sent.
async fn correlate(mut request: Request, next: Next) -> Response {
    let correlation = Correlation::new();
    let named = request_id(request.headers());
    if let Some(name) = &named {
        let name = String::from_utf8_lossy(name.as_bytes());
        tracing::info!(correlation = correlation.as_str(), request = &*name, "named by its caller");
    }
    request.extensions_mut().insert(correlation.clone());
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| fault().respond(None, &correlation));
    let headers = response.headers_mut();
    if let Some(value) = named.or_else(|| HeaderValue::from_str(correlation.as_str()).ok()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
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
    State(gateway): State<Arc<Gateway>>,
    Extension(correlation): Extension<Correlation>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let Err(rejection) = gateway.origins.check(request.uri(), request.headers()) else {
        return next.run(request).await;
    };
    let subject = format!("address:{}", peer.ip());
    let event =
        Event::new(Kind::Authorization, Outcome::Deny, subject, "origin", correlation.clone());
    let event = event.refused_by(rejection.requirement()).with("cause", rejection.cause());
    let refusal = match gateway.agent.audit().record(event).await {
        Ok(()) => Refusal::from(rejection),
        Err(unrecorded) => Refusal::from(unrecorded),
    };
    refusal.closing().respond(None, &correlation)
}

/// The answer to a client whose window is full. Where that cannot be recorded, it is another no.
fn too_often(
    gateway: Arc<Gateway>,
    request: &Request,
    retry_after: RetryAfter,
) -> impl Future<Output = Result<Response, Infallible>> + Send + use<> {
    let extensions = request.extensions();
    let identity = extensions.get::<Authenticated<()>>().map(|it| it.identity().clone());
    let correlation = extensions.get::<Correlation>().cloned().unwrap_or_else(Correlation::new);
    async move {
        let Some(identity) = identity else { return Ok(fault().respond(None, &correlation)) };
        let refusal = gateway.rates.too_often(&identity, retry_after, &correlation).await;
        Ok(refusal.respond(None, &correlation))
    }
}

/// The token, before a byte of the body is read.
async fn enter(
    State(gateway): State<Arc<Gateway>>,
    Extension(correlation): Extension<Correlation>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    match gateway.gate.admit(peer, &parts.headers, &correlation).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => refusal.respond(None, &correlation),
    }
}

async fn rpc(
    State(gateway): State<Arc<Gateway>>,
    Extension(correlation): Extension<Correlation>,
    Extension(caller): Extension<Authenticated<()>>,
    request: Request,
) -> Response {
    let (parts, content) = request.into_parts();
    let text = match body::read(&parts.headers, content, &gateway.config().limits).await {
        Ok(text) => text,
        Err(refusal) => return refusal.respond(None, &correlation),
    };
    // What was taken up runs to its end and is recorded, also when the caller hangs up.
    let work = {
        let correlation = correlation.clone();
        tokio::spawn(async move { answer(&gateway, &caller, &text, None, &correlation).await })
    };
    match work.await {
        Ok(Answered::Done(value)) => Json(value).into_response(),
        Ok(Answered::Refused(id, refusal)) => refusal.respond(id.as_ref(), &correlation),
        Err(_) => fault().respond(None, &correlation),
    }
}

async fn health() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

async fn nothing_here(Extension(correlation): Extension<Correlation>) -> Response {
    Refusal::new(StatusCode::NOT_FOUND, -32601, "there is nothing at this path")
        .respond(None, &correlation)
}

async fn wrong_method(Extension(correlation): Extension<Correlation>) -> Response {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, -32600, "the path takes another HTTP method")
        .respond(None, &correlation)
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
}
