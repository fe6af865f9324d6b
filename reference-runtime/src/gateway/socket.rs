//! `GET /ws`: the same requests as text frames of a WebSocket, each of them with the checks of an
//! HTTP request: token, rate, boundary. What sessions do is told to who asked for it. It must
//! never serve a frame that could not have come as a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts as _;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout};

use super::Gateway;
use super::auth::Authenticated;
use super::entered::Entered;
use super::exchange::answer;
use super::listen::Listeners;
use super::reply::Refusal;
use crate::audit::Correlation;
use crate::requirement::{self, INPUT_BOUNDED_MEMORY, INPUT_UTF8};

/// WebSocket connections at a time.
pub(super) const CONNECTIONS: usize = 256;
/// Requests of one connection that are worked on at a time; more wait unread.
const AT_ONCE: usize = 8;
/// Texts that wait to be written.
const WAITING: usize = 64;
/// How long a connection may be silent before it is asked for a sign of life, and then gone.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a text may take to be written, and a frame to arrive once it began.
const PATIENCE: Duration = Duration::from_secs(30);

/// Upgrades a request that passed the gate.
pub(super) async fn upgrade(entered: Entered) -> Response {
    let gateway = Arc::clone(entered.gateway());
    let Entered { connection, correlation, caller, request, .. } = entered;
    let (peer, stop) = (connection.peer, connection.stop.clone());
    let (mut parts, _) = request.into_parts();
    let upgraded = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let place = Arc::clone(&gateway.sockets).try_acquire_owned();
    let (upgrade, place) = match (upgraded, place) {
        (Ok(upgrade), Ok(place)) => (upgrade, place),
        (Err(error), _) => return refuse(&no_upgrade(&error), &correlation),
        (Ok(_), Err(_)) => {
            let public = "there are too many WebSocket connections";
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, -32050, public);
            return refuse(&refusal, &correlation);
        }
    };
    let bounded = INPUT_BOUNDED_MEMORY.enforced();
    let most = if bounded { gateway.config().limits.body_bytes } else { usize::MAX };
    let headers = parts.headers;
    upgrade
        .max_message_size(most)
        .max_frame_size(most)
        .read_buffer_size(16 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(4 << 20)
        .on_upgrade(move |socket| async move {
            let connection = Connection { gateway, caller, peer, headers, _place: place };
            connection.serve(socket, stop).await;
        })
}

fn refuse(refusal: &Refusal, correlation: &Correlation) -> Response {
    refusal.respond(None, correlation)
}

fn no_upgrade(error: &WebSocketUpgradeRejection) -> Refusal {
    let public = "the path takes a WebSocket handshake alone";
    Refusal::new(StatusCode::BAD_REQUEST, -32600, public).because(error.to_string())
}

/// One open connection.
struct Connection {
    gateway: Arc<Gateway>,
    caller: Authenticated<()>,
    peer: SocketAddr,
    /// Of the handshake: the token in them must stay in force.
    headers: HeaderMap,
    _place: OwnedSemaphorePermit,
}

/// Why a connection is closed, in the words of the protocol.
struct Farewell(u16, &'static str);

impl Connection {
    async fn serve(self, socket: WebSocket, mut stop: watch::Receiver<bool>) {
        let (sink, stream) = socket.split();
        let (out, waiting) = mpsc::channel(WAITING);
        let (farewell, last) = tokio::sync::oneshot::channel();
        let writing = tokio::spawn(write(sink, waiting, last));
        let listeners = Arc::new(Listeners::new(out.clone()));
        let connection = Arc::new(self);
        let end = tokio::select! {
            end = connection.listen(stream, &out, &listeners) => end,
            _ = stop.wait_for(|stop| *stop) => {
                Some(Farewell(close_code::AWAY, "the server stops"))
            }
            // Nobody reads what is written.
            () = out.closed() => None,
        };
        // Said before the last text can be over, so that the writer knows it.
        let _ = farewell.send(end.unwrap_or(Farewell(close_code::NORMAL, "")));
        // Ends what listens; requests that were taken up still answer.
        drop(listeners);
        drop(out);
        let _ = timeout(PATIENCE, writing).await;
    }

    /// Reads frames until one ends the connection.
    async fn listen(
        self: &Arc<Self>,
        mut stream: SplitStream<WebSocket>,
        out: &mpsc::Sender<String>,
        listeners: &Arc<Listeners>,
    ) -> Option<Farewell> {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut asked = false;
        loop {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            let frame = match timeout(SILENCE, stream.next()).await {
                Ok(frame) => frame?,
                Err(_) if asked => return Some(Farewell(close_code::POLICY, "no sign of life")),
                Err(_) => {
                    // An empty text asks the writer for a ping.
                    asked = true;
                    out.send(String::new()).await.ok()?;
                    continue;
                }
            };
            asked = false;
            let text = match frame {
                Ok(Message::Text(text)) => text,
                Ok(Message::Binary(_)) => {
                    return Some(Farewell(close_code::UNSUPPORTED, "text frames alone are taken"));
                }
                Ok(Message::Pong(_)) => continue,
                // Answered by the protocol, and counted as what it is: something to do.
                Ok(Message::Ping(_)) => match self.admit(&Correlation::new()).await {
                    Ok(()) => continue,
                    Err(_) => return Some(Farewell(close_code::POLICY, "too many frames")),
                },
                Ok(Message::Close(_)) => return None,
                Err(error) => return self.broken(&error, out).await,
            };
            let correlation = Correlation::new();
            if let Err((refusal, farewell)) = self.admit(&correlation).await {
                out.send(refusal.object(None, &correlation)).await.ok()?;
                match farewell {
                    Some(farewell) => return Some(farewell),
                    None => continue,
                }
            }
            let (connection, out) = (Arc::clone(self), out.clone());
            let listeners = Arc::downgrade(listeners);
            // What was taken up runs to its end and is recorded, also when the caller hangs up.
            tokio::spawn(async move {
                let _place = place;
                let listeners = listeners.upgrade();
                let answered = answer(
                    &connection.gateway,
                    &connection.caller,
                    text.as_bytes(),
                    listeners.as_deref(),
                    &correlation,
                );
                let answered = answered.await.into_text(&correlation);
                // An error means that nobody waits for it any more.
                #[cfg(feature = "knockout")]
                let answered = super::variant::text(answered);
                let _ = out.send(answered).await;
            });
        }
    }

    /// The checks at the door, for one frame: a refusal, and whether it ends the connection.
    async fn admit(&self, correlation: &Correlation) -> Result<(), (Refusal, Option<Farewell>)> {
        let (gate, identity) = (&self.gateway.gate, self.caller.identity());
        let still = gate.still(self.peer, &self.headers, identity, correlation);
        still.await.map_err(|refusal| {
            (refusal, Some(Farewell(close_code::POLICY, "the token is no longer in force")))
        })?;
        let cost = u32::from(requirement::RATE_IDENTITY.enforced());
        let counted = self.gateway.rates.client(identity, cost, correlation).await;
        counted.map_err(|refusal| (refusal, None))
    }

    /// A frame that the protocol does not allow: told once, then the end.
    async fn broken(&self, error: &axum::Error, out: &mpsc::Sender<String>) -> Option<Farewell> {
        let correlation = Correlation::new();
        let cause = error.to_string();
        let protocol = std::error::Error::source(error).and_then(|it| it.downcast_ref());
        let (rejection, farewell) = match protocol {
            Some(tungstenite::Error::Utf8(_)) => (
                INPUT_UTF8.refuse("the text is not valid UTF-8", cause),
                Farewell(close_code::INVALID, "not valid UTF-8"),
            ),
            Some(tungstenite::Error::Capacity(_)) => (
                INPUT_BOUNDED_MEMORY.refuse("the frame is too large", cause),
                Farewell(close_code::SIZE, "the frame is too large"),
            ),
            _ => {
                tracing::debug!(peer = %self.peer, %error, "a connection ended badly");
                return None;
            }
        };
        let refusal = Refusal::from(rejection);
        let refusal = refusal.with_code(-32700);
        out.send(refusal.object(None, &correlation)).await.ok()?;
        Some(farewell)
    }
}

/// Writes what waits, then says farewell. It ends where the other side does not take it.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut waiting: mpsc::Receiver<String>,
    mut last: tokio::sync::oneshot::Receiver<Farewell>,
) {
    let mut farewell = None;
    let mut deadline = None;
    loop {
        let until = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        let text = tokio::select! {
            biased;
            said = &mut last, if farewell.is_none() => {
                farewell = Some(said.unwrap_or(Farewell(close_code::NORMAL, "")));
                // Requests that are worked on may still answer, for a while.
                deadline = Some(Instant::now() + PATIENCE);
                continue;
            }
            text = waiting.recv() => text,
            () = tokio::time::sleep_until(until) => None,
        };
        let Some(text) = text else { break };
        let message = if text.is_empty() {
            Message::Ping(axum::body::Bytes::new())
        } else {
            Message::Text(text.into())
        };
        if !matches!(timeout(PATIENCE, sink.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
    let Farewell(code, reason) = farewell.unwrap_or(Farewell(close_code::NORMAL, ""));
    let close = CloseFrame { code, reason: reason.into() };
    let _ = timeout(PATIENCE, sink.send(Message::Close(Some(close)))).await;
    let _ = timeout(PATIENCE, sink.close()).await;
}
