//! Probes of objects between processes: System V and POSIX. System V calls have no safe crate:
//! perl's own `shmget`, `msgget` and `semctl` make them. It must never know what the objects hold.

use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};

use nix::mqueue::{MQ_OFlag, MqAttr, mq_open, mq_receive, mq_send, mq_set_nonblock, mq_unlink};
use nix::sys::stat::Mode;

use crate::helper::{finish, perl};
use crate::{HOLD, Need, Params, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "ipc.sysv-shm",
        what: "Reads a System V shared memory segment of the host by its key.",
        why: "Databases and desktop programs keep data there; a network or mount namespace does not cover it.",
        needs: &[Need::Perl],
        observer: "the segment's random content comes out of the sandbox",
        action: |params| {
            let script = r#"my $id = shmget($ARGV[0], 0, 0); defined $id or die "shmget: $!\n";
                my $text; shmread($id, $text, 0, 64) or die "shmread: $!\n"; print "$text\n";"#;
            finish(perl(script, &[&params.number()?.to_string()])?)
        },
        ..HOLD
    },
    Probe {
        id: "ipc.sysv-msg",
        what: "Takes a message from a System V queue of the host.",
        why: "Messages between the user's programs can be read, forged and lost.",
        needs: &[Need::Perl],
        observer: "the message's random content comes out of the sandbox",
        action: |params| {
            let script = r#"my $id = msgget($ARGV[0], 0); defined $id or die "msgget: $!\n";
                my $text; msgrcv($id, $text, 128, 0, 04000) or die "msgrcv: $!\n"; print "$text\n";"#;
            finish(perl(script, &[&params.number()?.to_string()])?)
        },
        ..HOLD
    },
    Probe {
        id: "ipc.sysv-sem",
        what: "Sets a System V semaphore of the host.",
        why: "The user's programs wait for ever, or stop waiting.",
        needs: &[Need::Perl],
        observer: "the host re-reads the semaphore",
        action: |params| {
            let script = r#"my $id = semget($ARGV[0], 0, 0); defined $id or die "semget: $!\n";
                semctl($id, 0, 16, $ARGV[1] + 0) or die "semctl: $!\n";"#;
            let (key, value) = (params.number()?.to_string(), params.amount()?.to_string());
            finish(perl(script, &[&key, &value])?)
        },
        ..HOLD
    },
    Probe {
        id: "ipc.posix-mq",
        what: "Takes a message from a POSIX message queue of the host.",
        why: "Messages between the user's programs can be read and lost.",
        observer: "the message's random content comes out of the sandbox",
        action: |params| {
            let queue = mq_open(params.name()?, MQ_OFlag::O_RDWR, Mode::empty(), None)?;
            mq_set_nonblock(&queue)?;
            let mut buffer = [0; 128];
            let length = mq_receive(&queue, &mut buffer, &mut 0)?;
            let text = buffer.get(..length).unwrap_or_default();
            println!("{}", String::from_utf8_lossy(text));
            Ok("received".into())
        },
        ..HOLD
    },
    Probe {
        id: "ipc.clipboard",
        what: "Connects to the user's display, by X11's abstract name and by Wayland's socket.",
        why: "The clipboard, the screen and the keyboard of every other program are behind it.",
        observer: "the display outside receives a nonce",
        action: display,
        ..HOLD
    },
];

fn display(params: &Params) -> io::Result<String> {
    let name = format!("/tmp/.X11-unix/X{}", params.number()?);
    let abstract_name = UnixAddr::from_abstract_name(name.as_bytes())
        .and_then(|address| UnixStream::connect_addr(&address));
    let mut stream = abstract_name.or_else(|_| UnixStream::connect(params.target()?))?;
    stream.write_all(params.content()?.as_bytes())?;
    let _ = stream.read(&mut [0]);
    Ok("sent".into())
}

/// The suite's side: makes a queue with one message in it, or (without a message) removes it.
pub(crate) fn queue(name: &str, message: &str) -> io::Result<()> {
    if message.is_empty() {
        return Ok(mq_unlink(name)?);
    }
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDWR;
    let queue =
        mq_open(name, flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&MqAttr::new(0, 4, 128, 0)))?;
    Ok(mq_send(&queue, message.as_bytes(), 1)?)
}
