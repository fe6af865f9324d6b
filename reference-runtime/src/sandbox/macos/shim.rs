//! `contain` on macOS: shows from inside that the sandbox is in force, applies the limits, starts
//! the tool and ends all that shares its sandbox. It must never start a tool before the proof.

use std::{
    fs::OpenOptions,
    io::{self, BufRead as _, Read as _},
    net::{SocketAddr, TcpStream},
    os::unix::{
        ffi::OsStringExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, setrlimit, setsid,
    test_kill_process,
};
use serde::{Deserialize, Serialize};

use crate::{registry, sandbox::plan::Rlimits};

/// The exit code of a shim that could not do its work.
const FAILED: u8 = 125;
/// The longest line of orders, in bytes.
const MAX_ORDERS: u64 = 4_000_000;

/// What the shim is told: one line of JSON on its standard input, which is a socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Orders {
    /// None: no limit.
    pub(super) limits: Option<Rlimits>,
    /// Leave the launcher's session, and so its terminal.
    pub(super) session: bool,
    /// End what is left behind.
    pub(super) reap: bool,
    /// Whether a sandbox stands around: only then is everything that can be signalled ours.
    pub(super) contained: bool,
    /// A file outside that must not open for writing.
    pub(super) untouchable: Option<PathBuf>,
    /// A process outside that must not be signalled.
    pub(super) neighbour: Option<u32>,
    /// A port of the host that must not be reached.
    pub(super) closed_port: Option<u16>,
    /// What it becomes.
    pub(super) job: Job,
    /// Only read in a `knockout` build.
    pub(super) knockout: Option<String>,
}

/// What is run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// Nothing: it only shows that everything can be applied.
    Trial,
    /// The file tools' worker: one call on standard input.
    Worker,
    /// A program: arguments as bytes, because they need not be text.
    Program(Vec<Vec<u8>>),
}

/// Runs as the shim.
pub(in crate::sandbox) fn main() -> ExitCode {
    let orders = match read().and_then(|orders| prepare(&orders).map(|()| orders)) {
        Ok(orders) => orders,
        Err(cause) => {
            say(&format!("failed {}", one_line(&cause)));
            return ExitCode::from(FAILED);
        }
    };
    say("ready");
    match &orders.job {
        Job::Trial => ExitCode::SUCCESS,
        Job::Worker => ExitCode::from(u8::from(!registry::worker())),
        Job::Program(argv) => program(argv, &orders),
    }
}

/// Says a line on the socket that standard input is.
fn say(line: &str) {
    let text = format!("{line}\n");
    let mut rest = text.as_bytes();
    while let Ok(count @ 1..) = rustix::io::write(rustix::stdio::stdin(), rest) {
        rest = rest.get(count..).unwrap_or_default();
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn read() -> Result<Orders, String> {
    let mut line = Vec::new();
    // The same buffer serves the worker afterwards: nothing is lost between the two.
    let mut input = io::stdin().lock();
    (&mut input)
        .take(MAX_ORDERS)
        .read_until(b'\n', &mut line)
        .map_err(|error| format!("the orders cannot be read: {error}"))?;
    serde_json::from_slice(&line).map_err(|error| format!("the orders: {error}"))
}

fn prepare(orders: &Orders) -> Result<(), String> {
    #[cfg(feature = "knockout")]
    if let Some(words) = &orders.knockout {
        crate::requirement::knockout::tell(words).map_err(|word| format!("no knockout {word}"))?;
    }
    prove(orders)?;
    if orders.session {
        setsid().map_err(|error| format!("no session of its own: {error}"))?;
    }
    orders.limits.map_or(Ok(()), limit)
}

/// Tries what must not be possible. A success is no warning: nothing is started.
fn prove(orders: &Orders) -> Result<(), String> {
    if let Some(path) = &orders.untouchable
        && writable(path)
    {
        return Err("a file outside opened for writing: the sandbox is not in force".to_owned());
    }
    let neighbour = orders.neighbour.and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = neighbour.and_then(Pid::from_raw)
        && test_kill_process(pid).is_ok()
    {
        return Err("a process outside can be signalled: the sandbox is not in force".to_owned());
    }
    if let Some(port) = orders.closed_port {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
            return Err("a port of the host was reached: the sandbox is not in force".to_owned());
        }
    }
    Ok(())
}

fn writable(path: &Path) -> bool {
    OpenOptions::new().append(true).open(path).is_ok()
}

/// What macOS counts for one process. It counts processes for a whole user, who has more than any
/// limit that would help, and does not hold address space.
fn limit(limits: Rlimits) -> Result<(), String> {
    for (resource, value) in [
        (Resource::Core, 0),
        (Resource::Fsize, limits.file_size),
        (Resource::Nofile, limits.descriptors),
        (Resource::Cpu, limits.cpu_seconds),
    ] {
        // A hard limit that is already lower cannot be raised and need not be.
        let hard = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let value = Some(value.min(hard));
        setrlimit(resource, Rlimit { current: value, maximum: value })
            .map_err(|error| format!("limit {resource:?}: {error}"))?;
    }
    Ok(())
}

fn program(argv: &[Vec<u8>], orders: &Orders) -> ExitCode {
    let mut words = argv.iter().cloned().map(std::ffi::OsString::from_vec);
    let Some(name) = words.next() else {
        say("missing no program was named");
        return ExitCode::from(127);
    };
    #[expect(clippy::disallowed_methods, reason = "the shim starts the tool")]
    let mut command = Command::new(name);
    command.args(words).stdin(Stdio::null());
    if orders.reap {
        command.process_group(0);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            say(&format!("missing {}", one_line(&error.to_string())));
            let missing = error.kind() == io::ErrorKind::NotFound;
            return ExitCode::from(if missing { 127 } else { 126 });
        }
    };
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (reap, contained) = (orders.reap, orders.contained);
    if reap {
        // The socket ends with the runtime, however that ends, and when the run is to be ended.
        thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            end(group, contained);
            std::process::exit(137);
        });
    }
    let status = child.wait();
    if reap {
        end(group, contained);
    }
    let code = status
        .ok()
        .and_then(|status| status.code().or_else(|| status.signal().map(|signal| 128 + signal)));
    ExitCode::from(code.and_then(|code| u8::try_from(code & 0xff).ok()).unwrap_or(FAILED))
}

/// Ends the tool's group and, behind a sandbox, everything that this process may signal: that is
/// what shares its sandbox, whatever session it went to, and never this process itself.
fn end(group: Option<Pid>, contained: bool) {
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    if !contained {
        return;
    }
    // Again until nobody is left: one that is being born is not there to be signalled.
    for _ in 0..200 {
        // The group of process 1 is the kernel's word for "all": kill(-1).
        if kill_process_group(Pid::INIT, Signal::KILL).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
