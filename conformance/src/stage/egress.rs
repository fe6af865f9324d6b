//! The outside world that a target must not reach: listeners on loopback and on local sockets.
//! Nothing but 127.0.0.1, ::1 and names that the suite made is ever opened; it must never know
//! who is expected to call.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
#[cfg(unix)]
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use crate::target::process::contains;

/// Bytes kept of what callers sent.
const LIMIT: usize = 65_536;

/// A listener and what it received. Closed on drop.
#[derive(Debug)]
pub struct Sink {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sink {
    /// Listens for TCP on 127.0.0.1, or on ::1.
    ///
    /// # Errors
    /// The address cannot be had (no IPv6, for one).
    pub async fn tcp(ipv6: bool) -> io::Result<Self> {
        let address = if ipv6 {
            SocketAddr::from((Ipv6Addr::LOCALHOST, 0))
        } else {
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
        };
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        Ok(Self::new(port, |heard| async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(hear(stream, Arc::clone(&heard)));
            }
        }))
    }

    /// Receives datagrams on 127.0.0.1.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn udp() -> io::Result<Self> {
        Self::udp_at(0).await
    }

    /// The same at a port of one's choice.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn udp_at(port: u16) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = socket.local_addr()?.port();
        Ok(Self::new(port, |heard| async move {
            let mut buffer = [0_u8; 2048];
            while let Ok((count, _)) = socket.recv_from(&mut buffer).await {
                keep(&heard, buffer.get(..count).unwrap_or_default());
            }
        }))
    }

    /// Listens on a socket file that everybody may connect to.
    ///
    /// # Errors
    /// The file cannot be made.
    #[cfg(unix)]
    pub fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
        Self::local(listener)
    }

    /// Listens on an abstract name.
    ///
    /// # Errors
    /// The name is taken.
    #[cfg(target_os = "linux")]
    pub fn abstract_name(name: &str) -> io::Result<Self> {
        use std::os::linux::net::SocketAddrExt as _;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        Self::local(std::os::unix::net::UnixListener::bind_addr(&address)?)
    }

    /// Serves a named pipe (`\\.\pipe\...`) to everybody of this user.
    ///
    /// # Errors
    /// The name is taken.
    #[cfg(windows)]
    pub fn pipe(name: &str) -> io::Result<Self> {
        use tokio::net::windows::named_pipe::ServerOptions;
        let server = ServerOptions::new().first_pipe_instance(true).create(name)?;
        Ok(Self::new(0, |heard| async move {
            if server.connect().await.is_ok() {
                hear(server, heard).await;
            }
        }))
    }

    #[cfg(unix)]
    fn local(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        Ok(Self::new(0, |heard| async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(hear(stream, Arc::clone(&heard)));
            }
        }))
    }

    fn new<F>(port: u16, serve: impl FnOnce(Arc<Mutex<Vec<u8>>>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(serve(Arc::clone(&heard)));
        Self { port, heard, task }
    }

    /// The port; 0 for a local socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What was heard so far; stays readable after the sink is gone.
    #[must_use]
    pub fn ear(&self) -> Ear {
        Ear(Arc::clone(&self.heard))
    }
}

/// What a sink received.
#[derive(Clone, Debug)]
pub struct Ear(Arc<Mutex<Vec<u8>>>);

impl Ear {
    /// Whether these bytes arrived.
    #[must_use]
    pub fn heard(&self, nonce: &str) -> bool {
        contains(&self.0.lock().unwrap_or_else(PoisonError::into_inner), nonce.as_bytes())
    }
}

/// A port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// None can be had.
pub fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// What a listener on that port of 127.0.0.1 says within a second; nothing if there is none.
#[must_use]
pub fn ask(port: u16) -> Vec<u8> {
    use std::io::Read as _;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut answer = Vec::new();
    if let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = stream.take(LIMIT as u64).read_to_end(&mut answer);
    }
    answer
}

async fn hear(mut stream: impl AsyncRead + AsyncWrite + Unpin, heard: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0_u8; 2048];
    let read = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut buffer)).await;
    if let Ok(Ok(count)) = read {
        keep(&heard, buffer.get(..count).unwrap_or_default());
        let _ = stream.write_all(b"ok\n").await;
    }
}

fn keep(heard: &Mutex<Vec<u8>>, bytes: &[u8]) {
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    if heard.len() < LIMIT {
        heard.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hears_what_is_sent_and_nothing_else() {
        let sink = Sink::tcp(false).await.unwrap();
        let mut stream =
            tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, sink.port())).await.unwrap();
        stream.write_all(b"nonce-1").await.unwrap();
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(sink.ear().heard("nonce-1"));
        assert!(!sink.ear().heard("nonce-2"));
    }
}
