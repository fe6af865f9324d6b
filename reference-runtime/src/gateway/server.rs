//! Sockets: accepts a bounded number of connections, bounds their headers and their patience, and
//! shuts down gracefully. It must never look into a request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::http::{Peer, Stopping, router};
use super::linger::Linger;
use super::{Gateway, socket, tls};
use crate::config;
use crate::requirement::{self, variant};

/// Connections that are served at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 1_024;
/// As many are served where `error.no-panic` is knocked out.
const FEW: usize = 32;
/// The most headers of one request.
const HEADERS: usize = 64;
/// The most bytes of a request's line and headers.
const HEAD_BYTES: usize = 32 << 10;
/// As many where `input.bounded-memory` is knocked out.
const ENDLESS_HEAD: usize = 1 << 30;
/// How long a request's headers may take, and how long a connection may stay silent.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// How long requests in flight may go on after the signal to stop.
const FAREWELL: Duration = Duration::from_secs(10);

/// A bound address, not yet served.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Binds the address; port 0 takes a free one.
    ///
    /// # Errors
    /// Where the address is taken or not of this machine.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, tls: None })
    }

    /// The same, speaking TLS where the configuration says so.
    ///
    /// # Errors
    /// A certificate or key file cannot be used; one sentence for the operator.
    pub fn secured(mut self, config: Option<&config::Tls>) -> io::Result<Self> {
        self.tls = config.map(tls::acceptor).transpose()?;
        Ok(self)
    }

    /// Where it is reached, as a URL without a path.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves until `stop` ends, then lets requests in flight end, ten seconds at most.
pub async fn serve(server: Server, gateway: Arc<Gateway>, stop: impl Future<Output = ()>) {
    let sockets = Arc::clone(&gateway.sockets);
    let router = router(gateway);
    // Without it, a few slow clients hold up all others.
    let most = if requirement::ERROR_NO_PANIC.enforced() { CONNECTIONS } else { FEW };
    let places = Arc::new(Semaphore::new(most));
    let stopping = watch::Sender::new(false);
    let accepting = async {
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            match server.listener.accept().await {
                Ok((socket, peer)) => {
                    let stop = stopping.subscribe();
                    let tls = server.tls.clone();
                    tokio::spawn(secure(tls, socket, peer, router.clone(), stop, place));
                }
                Err(error) => {
                    // Out of descriptors, most likely: breathe instead of spinning.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop => {}
    }
    drop(server);
    stopping.send_replace(true);
    let all = |places: usize| u32::try_from(places).unwrap_or(u32::MAX);
    let ended = async {
        let _requests = places.acquire_many(all(most)).await;
        let _sockets = sockets.acquire_many(all(socket::CONNECTIONS)).await;
    };
    if tokio::time::timeout(FAREWELL, ended).await.is_err() {
        tracing::warn!("requests that were still in flight are cut off");
    }
}

/// Speaks TLS first where that is asked for; a handshake has the time that a request's head has.
async fn secure(
    tls: Option<TlsAcceptor>,
    socket: TcpStream,
    peer: SocketAddr,
    router: Router,
    stop: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) {
    // Small answers at once; a socket that refuses this is only slower.
    let _ = socket.set_nodelay(true);
    #[cfg(feature = "knockout")]
    let tls = if tls.is_some() && tls::unguarded(&socket).await { None } else { tls };
    let socket = Linger::new(socket);
    let Some(tls) = tls else { return connection(socket, peer, router, stop, place).await };
    match tokio::time::timeout(HEAD_TIME, tls.accept(socket)).await {
        Ok(Ok(socket)) => connection(socket, peer, router, stop, place).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

async fn connection(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    mut stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let stopping = Stopping(stop.clone());
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(stopping.clone());
        request.map(axum::body::Body::new)
    });
    let bounded = requirement::INPUT_BOUNDED_MEMORY.enforced();
    let head = if bounded { HEAD_BYTES } else { ENDLESS_HEAD };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(HEADERS)
        .max_buf_size(head)
        .title_case_headers(variant::HEADER_CASE.on())
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let stopped = async {
        // An error means that the server is gone: that is a stop too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended badly");
    }
}
