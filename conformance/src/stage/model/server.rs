//! The HTTP side of the hostile model. Knows no script: it asks the shared state for each answer.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};

use super::Shared;
use super::dialect::Dialect;

/// The largest request that is taken, in bytes: above what any target should forward.
const BODY_LIMIT: usize = 128_000_000;

pub(super) async fn start(
    shared: Arc<Shared>,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let router =
        Router::new().fallback(handle).layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(shared);
    let task = tokio::spawn(async move {
        // It ends with the task; an error on the listener leaves targets without a model, and
        // their twins fall.
        let _ = axum::serve(listener, router).await;
    });
    Ok((address, task))
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path();
    if path.ends_with("/models") {
        let list = r#"{"object":"list","data":[{"id":"hostile","object":"model"}]}"#;
        return ([(header::CONTENT_TYPE, "application/json")], list).into_response();
    }
    let Some(dialect) = Dialect::of(path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let streamed = dialect.streams(path)
        || serde_json::from_slice::<serde_json::Value>(&body)
            .is_ok_and(|json| json.get("stream") == Some(&serde_json::Value::Bool(true)));
    let headers = headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let answer = shared.answer(dialect, headers, body.to_vec());
    if let Some(pause) = answer.pause() {
        tokio::time::sleep(pause).await;
    }
    let wire = dialect.wire(&answer, streamed);
    let status = StatusCode::from_u16(wire.status).unwrap_or(StatusCode::OK);
    let body = match wire.piece {
        None => Body::from(wire.body),
        Some(size) => {
            let pieces: Vec<Vec<u8>> = wire.body.chunks(size.max(1)).map(<[u8]>::to_vec).collect();
            let pieces = stream::iter(pieces).then(|piece| async move {
                tokio::task::yield_now().await;
                Ok::<_, Infallible>(piece)
            });
            Body::from_stream(pieces)
        }
    };
    (status, [(header::CONTENT_TYPE, wire.content_type)], body).into_response()
}
