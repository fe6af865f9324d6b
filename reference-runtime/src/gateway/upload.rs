//! `POST /attachments?session=ID&name=NAME`: the body is the content, written to disk as it
//! arrives. It must never hold more of it than the piece at hand, nor believe its declared length.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;

use super::Gateway;
use super::auth::Authenticated;
use super::body::{self, cut_off, too_slow};
use super::entered::Entered;
use super::method::own_session;
use super::reply::{Refusal, json};
use crate::agent::{Attachment, Upload};
use crate::audit::{Correlation, Event, Kind, Outcome};
use crate::boundary::attachment;

/// How long an upload may be silent, and how long it may take as a whole.
const SILENCE: Duration = Duration::from_secs(15);
const WHOLE: Duration = Duration::from_secs(600);

/// What the query says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    session: String,
    name: String,
}

/// Takes one attachment.
pub(super) async fn upload(entered: Entered) -> Response {
    let gateway = Arc::clone(entered.gateway());
    let Entered { correlation, caller, request, .. } = entered;
    let (parts, content) = request.into_parts();
    let stored = async {
        let Query(asked) = Query::try_from_uri(&parts.uri).map_err(|error| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                -32602,
                "the query names a session and a name, nothing else",
            )
            .because(error.body_text())
        })?;
        store(&gateway, &caller, &correlation, asked, &parts.headers, content).await
    };
    match stored.await {
        Ok(Attachment { id, name, bytes, sha256 }) => {
            let answer = serde_json::json!({
                "attachment": id, "name": name, "bytes": bytes, "sha256": sha256
            });
            json(StatusCode::CREATED, answer.to_string())
        }
        // What was not read of the body is still on its way.
        Err(refusal) => refusal.closing().respond(None, &correlation),
    }
}

async fn store(
    gateway: &Gateway,
    caller: &Authenticated<()>,
    correlation: &Correlation,
    asked: Asked,
    headers: &HeaderMap,
    content: Incoming,
) -> Result<Attachment, Refusal> {
    let name = attachment::name(&asked.name)?;
    let session = own_session(gateway, caller.identity(), &asked.session).await?;
    body::plain(headers)?;
    let subject = caller.identity().subject.as_str();
    let event = Event::new(
        Kind::Authorization,
        Outcome::Allow,
        subject,
        "attachments.create",
        correlation.clone(),
    );
    gateway.agent.audit().record(event).await?;
    let mut upload = gateway.agent.upload(&session, name).await?;
    if let Some(declared) =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
    {
        upload.meter().declared(declared)?;
    }
    tokio::time::timeout(WHOLE, receive(&mut upload, content)).await.map_err(|_| too_slow())??;
    upload.finish().await?.ok_or_else(|| Refusal::not_found("there is no such session"))
}

async fn receive(upload: &mut Upload, mut content: Incoming) -> Result<(), Refusal> {
    #[cfg(feature = "knockout")]
    let mut held = Vec::new();
    while let Some(frame) =
        tokio::time::timeout(SILENCE, content.frame()).await.map_err(|_| too_slow())?
    {
        let frame = frame.map_err(|error| cut_off(&error))?;
        // Trailers are no content.
        if let Ok(piece) = frame.into_data() {
            upload.take(&piece).await?;
            #[cfg(feature = "knockout")]
            if !crate::requirement::INPUT_BOUNDED_MEMORY.enforced() {
                held.push(piece); // As a server does that reads a body before it looks at it.
            }
        }
    }
    Ok(())
}
