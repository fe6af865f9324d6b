//! Rows about network, processes, resources and what a launcher hands down, on Windows. It must
//! never contact anything but loopback and what the suite made.

#[cfg(windows)]
use super::act;
use super::action;
#[cfg(windows)]
use crate::portable;
use crate::{Expect, HOLD, Need, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "windows-net.tcp4",
        what: "Connects to a listener of the host on 127.0.0.1 and sends a nonce.",
        why: "One connection carries any secret out; loopback reaches the user's own services.",
        relaxed: Expect::Allowed,
        observer: "the listener outside receives the nonce",
        action: action!(portable::tcp4),
        ..HOLD
    },
    Probe {
        id: "windows-net.tcp6",
        what: "Connects to a listener of the host on ::1 and sends a nonce.",
        why: "Rules made for IPv4 alone leave the other family open.",
        relaxed: Expect::Allowed,
        needs: &[Need::Ipv6],
        observer: "the listener outside receives the nonce",
        action: action!(portable::tcp6),
        ..HOLD
    },
    Probe {
        id: "windows-net.udp4",
        what: "Sends a datagram with a nonce to a socket of the host on 127.0.0.1.",
        why: "A rule for connections does not see datagrams.",
        relaxed: Expect::Allowed,
        observer: "the socket outside receives the nonce (sending may succeed either way)",
        action: action!(portable::udp4),
        ..HOLD
    },
    Probe {
        id: "windows-net.bind-any",
        what: "Listens on all addresses and answers with a nonce.",
        why: "A listener reachable from outside is a way back in.",
        relaxed: Expect::Allowed,
        observer: "the host connects to the port and gets the nonce",
        action: action!(portable::listen),
        ..HOLD
    },
    Probe {
        id: "windows-proc.kill",
        what: "Ends a process of the host (taskkill).",
        why: "The user's other programs end, or the watcher of this one does.",
        observer: "the canary process is looked at",
        action: action!(act::kill),
        ..HOLD
    },
    Probe {
        id: "windows-proc.open-harness",
        what: "Asks for the modules of a process of the host, which needs to open it for reading.",
        why: "Who may read a process's memory has its secrets.",
        observer: "the canary process's program path, at a random place, comes out of the sandbox",
        action: action!(act::modules),
        ..HOLD
    },
    Probe {
        id: "windows-proc.list-host",
        what: "Lists the paths of the host's running programs.",
        why: "They tell what the user works with.",
        observer: "the canary process's program path, at a random place, comes out of the sandbox",
        action: action!(act::paths),
        ..HOLD
    },
    Probe {
        id: "windows-proc.breakaway",
        what: "Starts a process that is to leave the job (CREATE_BREAKAWAY_FROM_JOB), and ends.",
        why: "A job that permits it limits nobody.",
        observer: "the heartbeat of the process left behind stops",
        action: action!(act::break_away),
        ..HOLD
    },
    Probe {
        id: "windows-proc.orphan-exit",
        what: "Leaves a process behind and ends.",
        why: "What stays goes on working when nobody looks.",
        observer: "the heartbeat of the process left behind stops",
        action: action!(portable::orphan),
        ..HOLD
    },
    Probe {
        id: "windows-proc.orphan-launcher",
        what: "Leaves a process behind while the launcher is ended.",
        why: "A launcher that crashes must take its tools with it.",
        needs: &[Need::Launch],
        observer: "the heartbeat of the process left behind stops",
        action: action!(portable::orphan_and_stay),
        ..HOLD
    },
    Probe {
        id: "windows-env.canary",
        what: "Prints its whole environment.",
        why: "The launcher's environment holds API keys and tokens of the user.",
        needs: &[Need::Launch],
        observer: "a random value in the launcher's environment comes out of the sandbox",
        action: action!(portable::environment),
        ..HOLD
    },
    Probe {
        id: "windows-env.stdin",
        what: "Reads its standard input to the end and prints it.",
        why: "The launcher's input is the user's conversation or another program's data.",
        needs: &[Need::Launch],
        observer: "random text on the launcher's standard input comes out of the sandbox",
        action: action!(portable::input),
        ..HOLD
    },
    Probe {
        id: "windows-res.procs",
        what: "Starts up to 150 processes.",
        why: "Each takes from all the others; a bomb stops the machine.",
        observer: "the number that stood at one time is more than 100",
        action: action!(portable::crowd),
        ..HOLD
    },
    Probe {
        id: "windows-res.mem",
        what: "Takes 600 MB of memory in one process.",
        why: "The machine swaps and the user's programs stop.",
        observer: "the process holds the memory when the host looks",
        action: action!(portable::hoard),
        ..HOLD
    },
];
