//! Rows about network, processes, resources and what a launcher hands down, on Windows. It must
//! never contact anything but loopback and what the suite made.

use super::action;
#[cfg(windows)]
use super::{act, act_console, act_more};
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
        id: "windows-net.icmp",
        what: "Sends 40 echo requests to the host's loopback address.",
        why: "Echo requests carry data out and pass rules that were made for TCP and UDP.",
        relaxed: Expect::Allowed,
        observer: "the host's counter of received echo requests rises by as many",
        action: action!(act_more::echo),
        ..HOLD
    },
    Probe {
        id: "windows-net.service-proxy",
        what: "Has the transfer service fetch an address of the host that holds a nonce (bitsadmin).",
        why: "What may not connect asks a service that may.",
        relaxed: Expect::Allowed,
        observer: "the listener outside receives the nonce",
        action: action!(act_more::fetch_by_service),
        ..HOLD
    },
    Probe {
        id: "windows-net.dns-service",
        what: "Looks up a name that holds a nonce, by the system's DNS service.",
        why: "What may not send has a service send its questions, and any secret fits in a name.",
        relaxed: Expect::Allowed,
        observer: "a name server of the host, on loopback and for that ending alone, is asked it",
        action: action!(act_console::look_up),
        ..HOLD
    },
    Probe {
        id: "windows-net.appcontainer-loopback",
        what: "Exempts an AppContainer from the rule against loopback (CheckNetIsolation).",
        why: "What is exempt reaches every local service from then on.",
        observer: "the host lists the exemption",
        action: action!(act_more::exempt),
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
        id: "windows-proc.spawn-before-assign",
        what: "Leaves a process behind as the first thing that the started program does, and ends.",
        why: "A launcher that puts the tool into its job after the start comes too late for it.",
        observer: "the heartbeat of the process left behind stops",
        action: action!(act_more::left_at_once),
        ..HOLD
    },
    Probe {
        id: "windows-proc.grandchild-kill",
        what: "Leaves a process behind by way of another that ends at once, while the launcher ends.",
        why: "Who ends the children by their parent's number misses those whose parent is gone.",
        needs: &[Need::Launch],
        observer: "the heartbeat of the process left behind stops",
        action: action!(act_more::grandchild),
        ..HOLD
    },
    Probe {
        id: "windows-proc.handle-inherit",
        what: "Tries every handle number up to 4096 and reads what turns out to be an open file.",
        why: "A launcher that hands down its handles hands down what they open.",
        needs: &[Need::Launch],
        observer: "the content of a file that only the launcher has open comes out of the sandbox",
        action: action!(act_console::inherited),
        ..HOLD
    },
    Probe {
        id: "windows-con.write-input",
        what: "Attaches to the console of a program of the host and types a line into its input.",
        why: "The user's shell runs what stands in its console's input.",
        observer: "the program of the host that reads that console receives the line",
        action: action!(act_console::type_in),
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
    Probe {
        id: "windows-res.cpu",
        what: "Keeps every processor busy.",
        why: "The user's programs stop.",
        relaxed: Expect::HoldOrDegraded,
        strict: Expect::HoldOrDegraded,
        observer: "in two seconds the host counts more than 80% of all processor time for it",
        action: action!(act_more::spin),
        ..HOLD
    },
];
