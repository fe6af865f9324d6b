//! Reaches a server by text frames that hold what its HTTP calls have as bodies. It can send what a
//! proper client would not: malformed UTF-8, fragments, frames without end. It must never know a
//! method name, nor what is expected of an answer.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::target::template::Vars;

use super::DriverError;
use super::http::Reply;
use super::rpc::{CALL_LIMIT, Rpc};

/// An open connection.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    rpc: Rpc,
    /// The place of what answers have and events have not.
    answer: String,
    /// What was told besides answers, in order.
    events: Vec<serde_json::Value>,
}

impl Socket {
    /// Opens a connection with the headers of an authorised call, changed by `change`.
    ///
    /// # Errors
    /// `Refused` where the handshake is answered with no; `Unsupported` where the manifest has no
    /// `[websocket]`.
    pub async fn open(
        rpc: &Rpc,
        change: impl FnOnce(&mut Vec<(String, String)>),
    ) -> Result<Self, DriverError> {
        let (path, answer) = rpc.websocket()?;
        let address = rpc.address();
        let mut headers = rpc.authorization()?;
        change(&mut headers);
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .map_err(|error| DriverError::Harness(error.to_string()))?;
        for (name, value) in headers {
            let (Ok(name), Ok(value)) =
                (HeaderName::try_from(&name), HeaderValue::try_from(&value))
            else {
                return Err(DriverError::Harness(format!("header {name}: {value}")));
            };
            request.headers_mut().insert(name, value);
        }
        let connect = async {
            let stream = TcpStream::connect(address).await.map_err(died)?;
            client_async(request, stream).await.map_err(|error| match error {
                Error::Http(response) => {
                    let body = response.body().clone().unwrap_or_default();
                    let words = super::excerpt(&body, 300);
                    DriverError::Refused(format!("HTTP {} {words}", response.status().as_u16()))
                }
                other => died(other),
            })
        };
        let (stream, _) = limited(connect).await??;
        Ok(Self { stream, rpc: rpc.clone(), answer, events: Vec::new() })
    }

    /// Makes a call of the manifest: its body in one frame; gives the next answer.
    ///
    /// # Errors
    /// As [`Rpc::request`] and [`Socket::answer`].
    pub async fn call(&mut self, name: &str, extra: &Vars) -> Result<Reply, DriverError> {
        let body = self.rpc.request(name, extra)?.pieces.concat();
        self.text(&[body]).await?;
        self.answer().await
    }

    /// Writes one text in fragments as they are, which need not be UTF-8.
    ///
    /// # Errors
    /// `Died` where the connection is gone.
    pub async fn text(&mut self, fragments: &[Vec<u8>]) -> Result<(), DriverError> {
        for (place, fragment) in fragments.iter().enumerate() {
            let kind = if place == 0 { Data::Text } else { Data::Continue };
            let last = place + 1 == fragments.len();
            let frame = Frame::message(fragment.clone(), OpCode::Data(kind), last);
            limited(self.stream.send(Message::Frame(frame))).await?.map_err(died)?;
        }
        Ok(())
    }

    /// The next answer, as if it had come by HTTP with status 200. Events before it are kept.
    ///
    /// # Errors
    /// `Died` where the connection is closed; `Timeout` without an answer.
    pub async fn answer(&mut self) -> Result<Reply, DriverError> {
        loop {
            let body = limited(self.next()).await??;
            let json: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
            match json {
                Some(event) if event.is_object() && event.pointer(&self.answer).is_none() => {
                    self.events.push(event);
                }
                _ => return Ok(Reply { status: 200, body, ..Reply::default() }),
            }
        }
    }

    /// Waits that long for events; gives those that were told since the last look.
    pub async fn events(&mut self, wait: Duration) -> Vec<serde_json::Value> {
        let gather = async {
            while let Ok(body) = self.next().await {
                self.events.extend(serde_json::from_slice(&body).ok());
            }
        };
        let _ = tokio::time::timeout(wait, gather).await;
        std::mem::take(&mut self.events)
    }

    /// The connection's socket, for bytes that are no frames.
    #[must_use]
    pub fn into_inner(self) -> TcpStream {
        self.stream.into_inner()
    }

    /// The next text frame, however long that takes.
    ///
    /// # Errors
    /// `Died` where the connection is closed.
    pub async fn frame(&mut self) -> Result<Vec<u8>, DriverError> {
        self.next().await
    }

    async fn next(&mut self) -> Result<Vec<u8>, DriverError> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.as_bytes().to_vec()),
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| u16::from(frame.code));
                    return Err(DriverError::Died(format!("closed with code {code}")));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(died(error)),
                None => return Err(DriverError::Died("closed".to_owned())),
            }
        }
    }
}

/// The head of one client's text frame of that many bytes, masked with zeros, so that what follows
/// stands as it is.
#[must_use]
pub fn head(first: bool, last: bool, bytes: u64) -> Vec<u8> {
    let mut head = vec![u8::from(last) << 7 | u8::from(first), 0x80 | 127];
    head.extend(bytes.to_be_bytes());
    head.extend([0; 4]);
    head
}

async fn limited<T>(work: impl Future<Output = T>) -> Result<T, DriverError> {
    let milliseconds = u64::try_from(CALL_LIMIT.as_millis()).unwrap_or(u64::MAX);
    tokio::time::timeout(CALL_LIMIT, work).await.map_err(|_| DriverError::Timeout(milliseconds))
}

fn died(error: impl std::fmt::Display) -> DriverError {
    DriverError::Died(error.to_string())
}
