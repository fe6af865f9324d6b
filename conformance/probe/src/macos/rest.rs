//! Rows about network, processes, resources and what a launcher hands down, on macOS. It must never
//! contact anything but loopback and what the suite made.

#[cfg(target_os = "macos")]
use super::act;
use super::action;
#[cfg(target_os = "macos")]
use crate::portable;
use crate::{Expect, HOLD, Need, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "macos-net.tcp4",
        what: "Connects to a listener of the host on 127.0.0.1 and sends a nonce.",
        why: "One connection carries any secret out; loopback reaches the user's own services.",
        relaxed: Expect::Allowed,
        observer: "the listener outside receives the nonce",
        action: action!(portable::tcp4),
        ..HOLD
    },
    Probe {
        id: "macos-net.tcp6",
        what: "Connects to a listener of the host on ::1 and sends a nonce.",
        why: "Rules made for IPv4 alone leave the other family open.",
        relaxed: Expect::Allowed,
        needs: &[Need::Ipv6],
        observer: "the listener outside receives the nonce",
        action: action!(portable::tcp6),
        ..HOLD
    },
    Probe {
        id: "macos-net.udp4",
        what: "Sends a datagram with a nonce to a socket of the host on 127.0.0.1.",
        why: "A rule for connections does not see datagrams.",
        relaxed: Expect::Allowed,
        observer: "the socket outside receives the nonce (sending may succeed either way)",
        action: action!(portable::udp4),
        ..HOLD
    },
    Probe {
        id: "macos-net.bind-any",
        what: "Listens on all addresses and answers with a nonce.",
        why: "A listener reachable from outside is a way back in.",
        relaxed: Expect::Allowed,
        observer: "the host connects to the port and gets the nonce",
        action: action!(portable::listen),
        ..HOLD
    },
    Probe {
        id: "macos-net.unix-docker",
        what: "Connects to a Unix socket file outside the workspace, as that of Docker is.",
        why: "A container service gives the whole host away.",
        observer: "the listener outside receives the nonce",
        action: action!(act::unix_socket),
        ..HOLD
    },
    Probe {
        id: "macos-net.unix-in-ws",
        what: "Connects to a Unix socket that a host service keeps inside the workspace.",
        why: "A development server's socket in the project is reachable where its port is not.",
        relaxed: Expect::HoldOrDegraded,
        observer: "the listener outside receives the nonce",
        action: action!(act::unix_socket),
        ..HOLD
    },
    Probe {
        id: "macos-net.mdnsresponder",
        what: "Resolves a name that only the host's resolver service knows (mDNSResponder).",
        why: "A name that is asked for carries a secret out, also where no socket can be made.",
        relaxed: Expect::Allowed,
        observer: "the random address that the host gave the name comes out of the sandbox",
        action: action!(act::resolve),
        ..HOLD
    },
    Probe {
        id: "macos-proc.signal-other",
        what: "Kills a process of the host.",
        why: "The user's other programs end, or the watcher of this one does.",
        observer: "the canary process is looked at",
        action: action!(act::kill),
        ..HOLD
    },
    Probe {
        id: "macos-proc.ps-env",
        what: "Reads the environment of a process of the host (ps -E).",
        why: "It holds API keys and tokens of the user.",
        observer: "the canary process's random variable comes out of the sandbox",
        action: action!(act::ps_environment),
        ..HOLD
    },
    Probe {
        id: "macos-proc.list-host",
        what: "Lists the processes of the host with their arguments (ps).",
        why: "Arguments hold paths, names and often secrets.",
        observer: "the canary process's random argument comes out of the sandbox",
        action: action!(act::ps_arguments),
        ..HOLD
    },
    Probe {
        id: "macos-proc.task-for-pid",
        what: "Samples the stacks of a process of the host (sample), which needs its task port.",
        why: "Who has the port has the process: memory, code, rights.",
        observer: "a call graph of the canary process lies in the workspace",
        action: action!(act::sample),
        ..HOLD
    },
    Probe {
        id: "macos-proc.orphan-exit",
        what: "Leaves a process behind and ends.",
        why: "What stays goes on working when nobody looks.",
        observer: "the heartbeat of the process left behind stops",
        action: action!(portable::orphan),
        ..HOLD
    },
    Probe {
        id: "macos-proc.orphan-setsid",
        what: "Leaves a process behind in a session of its own and ends.",
        why: "A kill of the process group does not reach it; this system has no other container.",
        observer: "the heartbeat of the process left behind stops",
        action: action!(act::orphan_in_session),
        ..HOLD
    },
    Probe {
        id: "macos-proc.orphan-launcher",
        what: "Leaves a process behind while the launcher is killed.",
        why: "A launcher that crashes must take its tools with it.",
        needs: &[Need::Launch],
        observer: "the heartbeat of the process left behind stops",
        action: action!(portable::orphan_and_stay),
        ..HOLD
    },
    Probe {
        id: "macos-tty.tiocsti",
        what: "Types a line into the launcher's terminal (TIOCSTI).",
        why: "The shell that the user started the launcher from runs it.",
        references: &["CVE-2017-5226 (secondary source; the same call on Linux)"],
        needs: &[Need::Launch, Need::Perl],
        observer: "a program that reads from the terminal after the launcher's end gets the line",
        action: action!(act::type_ahead),
        ..HOLD
    },
    Probe {
        id: "macos-kern.sysctl-write",
        what: "Changes a setting of the kernel (kern.corefile).",
        why: "It decides for every user's programs where their memory is written to.",
        needs: &[Need::Root],
        observer: "the host reads the setting",
        action: action!(act::setting),
        ..HOLD
    },
    Probe {
        id: "macos-env.canary",
        what: "Prints its whole environment.",
        why: "The launcher's environment holds API keys and tokens of the user.",
        needs: &[Need::Launch],
        observer: "a random value in the launcher's environment comes out of the sandbox",
        action: action!(portable::environment),
        ..HOLD
    },
    Probe {
        id: "macos-env.stdin",
        what: "Reads its standard input to the end and prints it.",
        why: "The launcher's input is the user's conversation or another program's data.",
        needs: &[Need::Launch],
        observer: "random text on the launcher's standard input comes out of the sandbox",
        action: action!(portable::input),
        ..HOLD
    },
    Probe {
        id: "macos-res.fork",
        what: "Starts up to 150 processes.",
        why: "Each takes from all the others; a bomb stops the machine.",
        relaxed: Expect::HoldOrDegraded,
        strict: Expect::HoldOrDegraded,
        observer: "the number that stood at one time is more than 100",
        action: action!(portable::crowd),
        ..HOLD
    },
    Probe {
        id: "macos-res.mem",
        what: "Takes 600 MB of memory in one process.",
        why: "The machine swaps and the user's programs stop.",
        relaxed: Expect::HoldOrDegraded,
        strict: Expect::HoldOrDegraded,
        observer: "the process holds the memory when the host looks",
        action: action!(portable::hoard),
        ..HOLD
    },
    Probe {
        id: "macos-res.file-size",
        what: "Writes a file of 300 MB into the workspace.",
        why: "A full disk stops everything else.",
        observer: "the host measures the file",
        action: action!(act::large_file),
        ..HOLD
    },
];
