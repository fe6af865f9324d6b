//! Sockets: accepts a bounded number of connections, bounds their headers and their patience, and
//! shuts down gracefully. It must never look into a request.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::clock::Clock;
use super::entered::Connection;
use super::http::respond;
use super::linger::Linger;
use super::{Gateway, socket, tls};
use crate::config;
use crate::requirement::{self, variant};

/// Connections that are served at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 1_024;
/// As many are served where `error.no-panic` is knocked out.
const FEW: usize = 32;
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
                    let shared = Connection::new(Arc::clone(&gateway), peer, stop);
                    tokio::spawn(secure(tls, socket, Arc::new(shared), place));
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
    shared: Arc<Connection>,
    place: OwnedSemaphorePermit,
) {
    let peer = shared.peer;
    // Small answers at once; a socket that refuses this is only slower.
    let _ = socket.set_nodelay(true);
    #[cfg(feature = "knockout")]
    let tls = if tls.is_some() && tls::unguarded(&socket).await { None } else { tls };
    let socket = Linger::new(socket);
    let Some(tls) = tls else { return connection(socket, shared, place).await };
    match tokio::time::timeout(HEAD_TIME, tls.accept(socket)).await {
        Ok(Ok(socket)) => connection(socket, shared, place).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

async fn connection(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shared: Arc<Connection>,
    _place: OwnedSemaphorePermit,
) {
    let (peer, stop) = (shared.peer, shared.stop.clone());
    let bounded = requirement::INPUT_BOUNDED_MEMORY.enforced();
    let head = if bounded { HEAD_BYTES } else { ENDLESS_HEAD };
    let connection = http1::Builder::new()
        .timer(Clock)
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(head)
        .title_case_headers(variant::HEADER_CASE.on())
        .serve_connection(
            TokioIo::new(socket),
            service_fn(move |request| respond(Arc::clone(&shared), request)),
        )
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = match until(connection.as_mut(), stop).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended badly");
    }
}

/// What `work` ends with; none where the server stops before. To ask whether it does takes a lock
/// that all connections share: that is done once, and then when the bell was rung or the task is
/// another one.
async fn until<T>(work: impl Future<Output = T>, mut stop: watch::Receiver<bool>) -> Option<T> {
    let mut work = pin!(work);
    let bell = Arc::new(Bell::default());
    let mut stopped = pin!(async move {
        // An error means that the server is gone: that is a stop too.
        let _ = stop.wait_for(|stop| *stop).await;
    });
    let waker = Waker::from(Arc::clone(&bell));
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if bell.listened(cx.waker())
            && stopped.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}

/// Wakes a task and remembers that it did.
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Default for Bell {
    fn default() -> Self {
        Self { rung: AtomicBool::new(true), task: AtomicWaker::new() }
    }
}

impl Bell {
    /// Whether it was rung since this was asked; the task is the one that it wakes.
    fn listened(&self, task: &Waker) -> bool {
        self.task.register(task);
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_ends_with_itself_or_with_the_stop_whichever_comes_first() {
        let stopping = watch::Sender::new(false);
        assert_eq!(until(async { 7 }, stopping.subscribe()).await, Some(7));
        let idle = tokio::spawn(until(std::future::pending::<()>(), stopping.subscribe()));
        // One that is woken many times in between is told too.
        let busy = async {
            loop {
                tokio::task::yield_now().await;
            }
        };
        let busy = tokio::spawn(until(busy, stopping.subscribe()));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!idle.is_finished() && !busy.is_finished());
        stopping.send_replace(true);
        assert_eq!(idle.await.unwrap(), None::<()>);
        assert_eq!(busy.await.unwrap(), None::<()>);
        // One that begins after the stop, and one whose server is gone.
        let late = until(std::future::pending::<()>(), stopping.subscribe()).await;
        assert_eq!(late, None);
        let left = watch::Sender::new(false);
        let orphan = tokio::spawn(until(std::future::pending::<()>(), left.subscribe()));
        drop(left);
        assert_eq!(orphan.await.unwrap(), None);
    }
}
