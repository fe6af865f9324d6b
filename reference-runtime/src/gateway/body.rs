//! Reads a body: counted as its bytes arrive, and scanned where they come in pieces, so that a too
//! large or malformed one is refused at once and costs bounded memory and time. It must never know
//! what the body means.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::reply::Refusal;
use crate::audit::Rejection;
use crate::boundary::{Limits, json::Scanner};
use crate::requirement;

/// How long a whole body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);
const TOO_LARGE: &str = "the body of the request is too large";

/// The bytes of a body, not yet scanned as a whole. One that comes in a piece is not copied.
///
/// # Errors
/// 413 where it is too large, 408 where it comes too slowly, 415 where it is encoded, or what the
/// scan refused. The connection is of no use after any of them.
pub(super) async fn read(
    headers: &HeaderMap,
    body: impl Body<Data = Bytes, Error: Display>,
    limits: &Limits,
) -> Result<Bytes, Refusal> {
    plain(headers)?;
    match within(ARRIVAL, collect(headers, body, limits)).await {
        Some(result) => result.map_err(Refusal::closing),
        None => Err(too_slow()),
    }
}

/// What becomes of `work` in this time. A body mostly comes at once or right after its head: only
/// where it is not there at the third look, the clock is set. To set one costs a request more than
/// the look does, as it may have to wake the runtime's driver.
async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut looks = 0;
    let soon = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if looks == 2 => Poll::Ready(None),
        Poll::Pending => {
            looks += 1;
            // There is a next look, whatever the body does.
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    });
    match soon.await {
        Some(done) => Some(done),
        None => tokio::time::timeout(time, work).await.ok(),
    }
}

/// Refuses a body that is compressed or otherwise encoded: its size would not be what arrives, and
/// of a transfer coding beside chunks who stands between could read another body than we do.
pub(super) fn plain(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(|coding| !chunked(coding)) || codings.next().is_some() {
        let public = "the body of the request may come in chunks and in no other transfer coding";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, -32700, public).closing());
    }
    if headers.get(header::CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity") {
        return Ok(());
    }
    let refusal = Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        -32700,
        "the body of the request must not be encoded",
    );
    Err(refusal.closing())
}

/// The answer to a body that does not arrive.
pub(super) fn too_slow() -> Refusal {
    let public = "the request did not arrive in time";
    Refusal::new(StatusCode::REQUEST_TIMEOUT, -32008, public).closing()
}

/// The answer to a body that was cut off, should anybody still hear it.
pub(super) fn cut_off(error: &impl Display) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, -32700, "the request was cut off")
        .because(error.to_string())
}

async fn collect(
    headers: &HeaderMap,
    body: impl Body<Data = Bytes, Error: Display>,
    limits: &Limits,
) -> Result<Bytes, Refusal> {
    let fits = |bytes: usize| {
        requirement::INPUT_BOUNDED_MEMORY.check(bytes <= limits.body_bytes, TOO_LARGE, || {
            format!("at least {bytes} bytes, the limit is {}", limits.body_bytes)
        })
    };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    fits(declared)?;

    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut pieces: Option<(Vec<u8>, Scanner)> = None;
    // One that says its length is over with its last byte: nothing more is waited for.
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| cut_off(&error))?;
        // Trailers are not part of the document and nothing reads them.
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() {
            fits(data.len())?;
            first = data;
            continue;
        }
        // One that comes in pieces is scanned on the way, so that what is wrong ends it at once.
        // One that came whole is scanned by who reads it.
        let (bytes, scanner) = match &mut pieces {
            Some(pieces) => pieces,
            None => {
                let mut bytes = Vec::with_capacity(declared.min(limits.body_bytes));
                bytes.extend_from_slice(&first);
                let mut scanner = Scanner::new(limits);
                scanner.feed(&first).map_err(not_json)?;
                pieces.insert((bytes, scanner))
            }
        };
        fits(bytes.len().saturating_add(data.len()))?;
        scanner.feed(&data).map_err(not_json)?;
        bytes.extend_from_slice(&data);
    }
    Ok(pieces.map_or(first, |(bytes, _)| bytes.into()))
}

fn not_json(rejection: Rejection) -> Refusal {
    Refusal::from(rejection).with_code(-32700)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use futures_util::{StreamExt as _, stream};

    use super::*;

    #[tokio::test]
    async fn an_endless_body_is_refused_without_being_read_to_an_end() {
        let chunk = Bytes::from(vec![b' '; 64 << 10]);
        let endless = stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone()));
        let refusal = read(&HeaderMap::new(), Body::from_stream(endless), &Limits::default())
            .await
            .unwrap_err();
        assert_eq!(refusal.requirement(), Some(requirement::INPUT_BOUNDED_MEMORY));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_to_arrive_times_out() {
        let silent = stream::pending::<Result<Bytes, Infallible>>();
        assert!(
            read(&HeaderMap::new(), Body::from_stream(silent), &Limits::default()).await.is_err()
        );
    }

    #[tokio::test]
    async fn a_malformed_body_is_refused_before_it_ends() {
        let pieces = ["{\"a\":", "\u{1}"].map(|it| Ok::<_, Infallible>(Bytes::from(it)));
        let endless = stream::iter(pieces).chain(stream::pending());
        let refusal = read(&HeaderMap::new(), Body::from_stream(endless), &Limits::default())
            .await
            .unwrap_err();
        assert_eq!(refusal.requirement(), Some(requirement::INPUT_JSON_STRICT));
    }

    #[tokio::test]
    async fn a_body_is_read_whole_and_a_compressed_one_is_refused() {
        let limits = Limits::default();
        let body = || Body::from("{\"a\":1}");
        let whole = read(&HeaderMap::new(), body(), &limits).await.unwrap();
        assert_eq!(whole.as_ref(), b"{\"a\":1}");
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        assert!(read(&headers, body(), &limits).await.is_err());
    }

    #[test]
    fn chunks_are_the_only_transfer_coding_that_is_taken() {
        let plain_with = |lines: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                let name: axum::http::HeaderName = name.parse().unwrap();
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
            plain(&headers).is_ok()
        };
        assert!(plain_with(&[]));
        assert!(plain_with(&[("transfer-encoding", "Chunked")]));
        for codings in [&["gzip", "chunked"][..], &["gzip, chunked"], &["chunked", "chunked"]] {
            let lines: Vec<_> = codings.iter().map(|it| ("transfer-encoding", *it)).collect();
            assert!(!plain_with(&lines), "{codings:?}");
        }
        assert!(!plain_with(&[("content-encoding", "gzip")]));
    }
}
