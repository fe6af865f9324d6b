//! Probes of the network and of local sockets. Only loopback and names that the suite made are
//! ever contacted. It must never know who listens.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::time::Duration;

use crate::{Expect, HOLD, Need, Params, Probe, step};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "net.tcp4",
        what: "Connects to a listener of the host on 127.0.0.1 and sends a nonce.",
        why: "One connection carries any secret out; loopback reaches the user's own services.",
        relaxed: Expect::Allowed,
        observer: "the listener outside receives the nonce",
        action: |params| tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, params.port()?)), params),
        ..HOLD
    },
    Probe {
        id: "net.tcp6",
        what: "Connects to a listener of the host on ::1 and sends a nonce.",
        why: "Rules made for IPv4 alone leave the other family open.",
        relaxed: Expect::Allowed,
        needs: &[Need::Ipv6],
        observer: "the listener outside receives the nonce",
        action: |params| tcp(SocketAddr::from((Ipv6Addr::LOCALHOST, params.port()?)), params),
        ..HOLD
    },
    Probe {
        id: "net.udp4",
        what: "Sends a datagram with a nonce to a socket of the host on 127.0.0.1.",
        why: "Landlock's and many firewalls' TCP rules do not see datagrams; DNS tunnels are made of them.",
        relaxed: Expect::Allowed,
        observer: "the socket outside receives the nonce (sending succeeds either way)",
        action: udp4,
        ..HOLD
    },
    Probe {
        id: "net.bind-host",
        what: "Listens on a port of 127.0.0.1 and answers with a nonce.",
        why: "A listener reachable from the host is a way back in, and can pose as a service.",
        relaxed: Expect::Allowed,
        observer: "the host connects to the port and gets the nonce",
        action: bind_host,
        ..HOLD
    },
    Probe {
        id: "net.unix-abstract",
        what: "Connects to an abstract Unix socket of the host.",
        why: "Abstract names have no file and so no permissions: desktop and container services sit there.",
        references: &["CVE-2020-15257 (secondary source)"],
        relaxed: Expect::HoldOrDegraded,
        observer: "the listener outside receives the nonce",
        action: unix_abstract,
        ..HOLD
    },
    Probe {
        id: "net.unix-host",
        what: "Connects to a Unix socket file outside the workspace.",
        why: "docker.sock, ssh-agent and the session bus are such files; each gives the host away.",
        observer: "the listener outside receives the nonce",
        action: unix_path,
        ..HOLD
    },
    Probe {
        id: "net.unix-in-ws",
        what: "Connects to a Unix socket that a host service keeps inside the workspace.",
        why: "A development server's socket in the project is reachable where its port is not.",
        relaxed: Expect::HoldOrDegraded,
        observer: "the listener outside receives the nonce",
        action: unix_path,
        ..HOLD
    },
];

fn tcp(address: SocketAddr, params: &Params) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    send(&mut stream, params)?;
    Ok(format!("sent to {address}"))
}

/// Sends the nonce and waits for the listener's word or end, so that it has been read.
fn send(stream: &mut (impl io::Read + io::Write), params: &Params) -> io::Result<()> {
    stream.write_all(params.content()?.as_bytes())?;
    stream.write_all(b"\n")?;
    let _ = stream.read(&mut [0; 8]);
    Ok(())
}

fn udp4(params: &Params) -> io::Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    for _ in 0..3 {
        socket.send_to(params.content()?.as_bytes(), (Ipv4Addr::LOCALHOST, params.port()?))?;
    }
    Ok("sent three datagrams".into())
}

fn bind_host(params: &Params) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, params.port()?))?;
    listener.set_nonblocking(true)?;
    std::fs::write(step::of(params, step::hold), b"")?;
    let mut answered = 0;
    for _ in 0..300 {
        if let Ok((mut stream, _)) = listener.accept() {
            stream.write_all(params.content()?.as_bytes())?;
            answered += 1;
        }
        if step::of(params, step::release).exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(format!("answered {answered} times"))
}

fn unix_abstract(params: &Params) -> io::Result<String> {
    let address = UnixAddr::from_abstract_name(params.name()?.as_bytes())?;
    let mut stream = UnixStream::connect_addr(&address)?;
    send(&mut stream, params)?;
    Ok("sent".into())
}

fn unix_path(params: &Params) -> io::Result<String> {
    let mut stream = UnixStream::connect(params.target()?)?;
    send(&mut stream, params)?;
    Ok("sent".into())
}
