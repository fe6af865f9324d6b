//! A request that has come through a door, the connection that it came by, and how it is counted. It
//! must never know what stands behind the door.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::Request;
use axum::response::Response;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use tokio::sync::watch;

use super::Gateway;
use super::auth::Authenticated;
use crate::audit::Correlation;
use crate::rate::{RateLayer, RetryAfter};
use crate::requirement;

/// What all requests of one connection share.
pub(super) struct Connection {
    pub(super) gateway: Arc<Gateway>,
    /// The address that it came from.
    pub(super) peer: SocketAddr,
    /// Says when the server stops.
    pub(super) stop: watch::Receiver<bool>,
    /// Lets a request on where its window has room.
    pub(super) counted: Counted,
}

impl Connection {
    /// A connection from `peer`.
    pub(super) fn new(
        gateway: Arc<Gateway>,
        peer: SocketAddr,
        stop: watch::Receiver<bool>,
    ) -> Self {
        // Whoever comes this far has shown a token; no byte of the body has been read yet.
        let counted = RateLayer::new(
            gateway.rates.clients(),
            requirement::RATE_CLIENT,
            counted as fn(&Entered) -> (Arc<str>, u32),
            too_often
                as fn(Entered, RetryAfter) -> BoxFuture<'static, Result<Response, Infallible>>,
        );
        Self { gateway, peer, stop, counted }
    }
}

pub(super) type Counted = RateLayer<
    Arc<str>,
    fn(&Entered) -> (Arc<str>, u32),
    fn(Entered, RetryAfter) -> BoxFuture<'static, Result<Response, Infallible>>,
>;

/// A request that has come through a door, and what is known of it.
pub(super) struct Entered {
    pub(super) connection: Arc<Connection>,
    pub(super) correlation: Correlation,
    pub(super) caller: Authenticated<()>,
    pub(super) request: Request<Incoming>,
    pub(super) door: Guarded,
}

impl Entered {
    pub(super) fn gateway(&self) -> &Arc<Gateway> {
        &self.connection.gateway
    }
}

/// The doors that ask for a token.
#[derive(Clone, Copy)]
pub(super) enum Guarded {
    Rpc,
    Attachments,
    Socket,
}

/// The identity that a request is counted for, and what it costs.
fn counted(entered: &Entered) -> (Arc<str>, u32) {
    (Arc::clone(&entered.caller.identity().client), 1)
}

/// The answer to a client whose window is full. Where that cannot be recorded, it is another no.
fn too_often(
    entered: Entered,
    retry_after: RetryAfter,
) -> BoxFuture<'static, Result<Response, Infallible>> {
    Box::pin(async move {
        let Entered { connection, correlation, caller, .. } = entered;
        let rates = &connection.gateway.rates;
        let refusal = rates.too_often(caller.identity(), retry_after, &correlation).await;
        Ok(refusal.respond(None, &correlation))
    })
}
