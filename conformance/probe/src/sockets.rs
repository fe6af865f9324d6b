//! Probes of sockets beside TCP and UDP: kinds that need a privilege, kinds without a namespace,
//! name queries, and what local sockets can carry. Python maps the memory of an `io_uring`, which
//! neither perl nor a safe crate does. Nothing but loopback and names of the suite is ever sent to.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, Protocol, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags,
    SocketFlags, SocketType, ipproto, recvmsg, socket_with,
};

use crate::helper::{finish, hold, program_of};
use crate::kernel::number;
use crate::{Control, Expect, HOLD, Need, PYTHON, Params, Probe, step};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "net.dns",
        what: "Asks a name server of the host on 127.0.0.1 for a name that holds a nonce.",
        why: "Where everything else is closed, names are often still resolved, and carry data out.",
        relaxed: Expect::Allowed,
        observer: "the server outside receives the name",
        action: dns,
        ..HOLD
    },
    Probe {
        id: "net.icmp",
        what: "Sends echo requests to 127.0.0.1.",
        why: "Echo requests carry data where TCP and UDP are filtered.",
        relaxed: Expect::Allowed,
        needs: &[Need::Ping],
        observer: "the host's count of echo requests received",
        control: Control::Root,
        action: icmp,
        ..HOLD
    },
    Probe {
        id: "net.metadata",
        what: "Connects to 169.254.169.254, which the suite serves in a network of its own.",
        why: "On machines of a cloud that address gives out the machine's credentials.",
        relaxed: Expect::HoldOrDegraded,
        needs: &[Need::Launch, Need::OwnNamespaces, Need::Perl],
        observer: "the server outside receives a nonce; what the launcher says of it",
        action: |params| {
            let address = SocketAddr::from((Ipv4Addr::new(169, 254, 169, 254), params.port()?));
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
            stream.write_all(params.content()?.as_bytes())?;
            let _ = stream.read(&mut [0]);
            Ok("sent".into())
        },
        ..HOLD
    },
    Probe {
        id: "net.scm-rights",
        what: "Takes a descriptor that a service hands out over a socket in the workspace.",
        why: "A descriptor keeps its access whatever the sandbox shows.",
        relaxed: Expect::HoldOrDegraded,
        observer: "the random content of the file behind it comes out of the sandbox",
        action: take_descriptor,
        ..HOLD
    },
    Probe {
        id: "net.raw",
        what: "Opens a raw socket.",
        why: "It sends packets with any source and reads others' traffic.",
        needs: &[Need::OwnNamespaces],
        observer: "the kind of the process's socket, seen from outside",
        control: Control::Root,
        action: |params| {
            keep_socket(params, AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))
        },
        ..HOLD
    },
    Probe {
        id: "net.packet",
        what: "Opens a packet socket.",
        why: "It sees and forges every frame of an interface.",
        needs: &[Need::OwnNamespaces],
        observer: "the kind of the process's socket, seen from outside",
        control: Control::Root,
        action: |params| keep_socket(params, AddressFamily::PACKET, SocketType::DGRAM, None),
        ..HOLD
    },
    Probe {
        id: "net.netlink",
        what: "Lists the network's interfaces and their hardware addresses.",
        why: "They identify the machine and its place in the network.",
        relaxed: Expect::Allowed,
        needs: &[Need::Interface],
        observer: "a hardware address of the host comes out of the sandbox",
        action: |_| interfaces(),
        ..HOLD
    },
    Probe {
        id: "net.vsock",
        what: "Opens a socket to the hypervisor (and connects it to nothing).",
        why: "No network namespace covers that family; services of the machine's host listen there.",
        needs: &[Need::Vsock],
        observer: "the kind of the process's socket, seen from outside",
        action: |params| keep_socket(params, AddressFamily::VSOCK, SocketType::STREAM, None),
        ..HOLD
    },
    Probe {
        id: "net.iouring-socket",
        what: "Makes a socket by an operation of io_uring, not by the call.",
        why: "A filter of system calls does not see it.",
        needs: &[Need::IoUring, Need::Python],
        observer: "a process of the run holds a socket that it could not have had, seen from outside",
        action: socket_by_ring,
        ..HOLD
    },
];

fn dns(params: &Params) -> io::Result<String> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [params.content()?, "example", "test"] {
        query.push(u8::try_from(label.len()).map_err(io::Error::other)?);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 16, 0, 1]);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    for _ in 0..3 {
        socket.send_to(&query, (Ipv4Addr::LOCALHOST, params.port()?))?;
    }
    Ok("asked three times".into())
}

fn icmp(params: &Params) -> io::Result<String> {
    let open =
        |kind| socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(ipproto::ICMP));
    let socket = open(SocketType::DGRAM).or_else(|_| open(SocketType::RAW))?;
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    for sequence in 0..params.amount()? {
        let low = u8::try_from(sequence & 0xff).unwrap_or(0);
        let mut packet = [8, 0, 0, 0, 0x43, 0x57, 0, low];
        let words = packet.chunks(2).map(|pair| match pair {
            [high, low] => u32::from(*high) << 8 | u32::from(*low),
            _ => 0,
        });
        let sum: u32 = words.sum();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(0);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        rustix::net::sendto(&socket, &packet, SendFlags::empty(), &to)?;
    }
    Ok(format!("sent {}", params.amount()?))
}

fn take_descriptor(params: &Params) -> io::Result<String> {
    let stream = UnixStream::connect(params.target()?)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(&stream, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::empty())?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            let mut text = String::new();
            for descriptor in descriptors {
                std::fs::File::from(descriptor).take(4096).read_to_string(&mut text)?;
            }
            println!("{text}");
            return Ok("took one and read it".into());
        }
    }
    Err(io::Error::other("no descriptor came"))
}

/// The suite's side: hands the open file to whoever connects.
///
/// # Errors
/// The system's reason why it could not be sent.
pub fn hand_out(stream: &UnixStream, file: &std::fs::File) -> io::Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
    use std::os::fd::AsFd as _;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [file.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(stream, &[IoSlice::new(b".")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn keep_socket(
    params: &Params,
    family: AddressFamily,
    kind: SocketType,
    protocol: Option<Protocol>,
) -> io::Result<String> {
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
    hold(params)?;
    drop(socket);
    Ok("held one".into())
}

/// Prints the kernel's whole answer in hexadecimal.
fn interfaces() -> io::Result<String> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None, // NETLINK_ROUTE
    )?;
    // A dump of all links: length 20, type RTM_GETLINK, flags REQUEST and DUMP, sequence 1.
    let request = [20, 0, 0, 0, 18, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    let mut buffer = vec![0_u8; 65_536];
    let mut total = 0;
    for _ in 0..16 {
        let (_, count) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let answer = buffer.get(..count).unwrap_or_default();
        println!("{}", answer.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        total += count;
        // NLMSG_DONE or an error ends it.
        if matches!(answer.get(4..6), Some([2 | 3, 0])) || count == 0 {
            break;
        }
    }
    Ok(format!("got {total} bytes"))
}

fn socket_by_ring(params: &Params) -> io::Result<String> {
    if !Path::new(PYTHON).exists() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "no python is shown here"));
    }
    // IORING_OP_SOCKET (45) of a netlink socket for netfilter, which no ordinary tool has.
    let script = r"
import ctypes, mmap, os, struct, sys, time
setup, enter, hold, release = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(*words):
    result = libc.syscall(*[ctypes.c_long(w) if isinstance(w, int) else w for w in words])
    if result < 0:
        code = ctypes.get_errno()
        sys.exit(os.strerror(code))
    return result
p = ctypes.create_string_buffer(120)
ring = call(setup, 4, p)
raw = p.raw
entries, cq_entries = struct.unpack_from('II', raw, 0)
sq = dict(zip(['head', 'tail', 'mask', 'entries', 'flags', 'dropped', 'array'], struct.unpack_from('7I', raw, 40)))
size = sq['array'] + entries * 4
cq = struct.unpack_from('6I', raw, 80)
area = mmap.mmap(ring, max(size, cq[5] + cq_entries * 16, 4096))
table = mmap.mmap(ring, entries * 64, offset=0x10000000)
table[0:64] = struct.pack('BBHiQQIIQ', 45, 0, 0, 16, 3, 0, 12, 0, 7).ljust(64, b'\0')
struct.pack_into('I', area, sq['array'], 0)
struct.pack_into('I', area, sq['tail'], 1)
call(enter, ring, 1, 1, 1, 0, 0)
result, = struct.unpack_from('i', area, cq[5] + 8)
if result < 0: sys.exit(os.strerror(-result))
open(hold, 'w').close()
for _ in range(800):
    if os.path.exists(release): break
    time.sleep(0.01)
";
    let mut command = program_of(PYTHON);
    command.args(["-I", "-S", "-c", script, &number(425, 425), &number(426, 426)]);
    command.arg(step::of(params, step::hold)).arg(step::of(params, step::release));
    finish(command)
}
