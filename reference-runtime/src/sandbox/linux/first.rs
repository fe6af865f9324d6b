//! Process 1 of a sandbox, which is the shim that stays: it starts the tool, takes in what the tool
//! leaves behind, and ends with the tool or with whoever started the sandbox. The kernel ends every
//! process of the sandbox with it, and lets none of them end or stop it. It must never trust them.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read},
    process::{self, Command},
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        DumpableBehavior, Pid, Signal, WaitOptions, set_dumpable_behavior,
        set_parent_process_death_signal, wait,
    },
};

use super::descriptors::{LIFE_FD, descriptor};

/// The exit code of a shim that could not do its work.
pub(super) const FAILED: u8 = 125;

/// Memory for the thread that does nothing but wait.
const STACK: usize = 64 << 10;
const GONE: &str = "whoever started this sandbox is gone";

/// The starter as seen from inside: a pipe whose other end it alone holds, and into which it writes
/// at most one byte.
#[derive(Debug)]
pub(super) struct Starter(File);

impl Starter {
    /// Looks for the starter.
    ///
    /// # Errors
    /// A sentence for the log: it is gone, or cannot be seen.
    pub(super) fn find() -> Result<Self, String> {
        let pipe = OpenOptions::new()
            .read(true)
            .open(descriptor(LIFE_FD))
            .map_err(|error| format!("the starter's pipe cannot be read: {error}"))?;
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut asked = [PollFd::new(&pipe, PollFlags::IN)];
        poll(&mut asked, Some(&now))
            .map_err(|error| format!("the starter cannot be asked: {error}"))?;
        let said = asked.map(|it| it.revents());
        // With a call that has come already there is a byte to read as well.
        if said.iter().any(|it| it.contains(PollFlags::HUP) && !it.contains(PollFlags::IN)) {
            return Err(GONE.to_owned());
        }
        Ok(Self(pipe))
    }

    /// Waits for the byte that says that a call has come.
    ///
    /// # Errors
    /// A sentence for the log: the starter is gone, or wants no call any more.
    pub(super) fn wait(&mut self) -> Result<(), String> {
        self.0.read_exact(&mut [0]).map_err(|_| GONE.to_owned())
    }

    /// From here on this process ends with its starter, whatever else it does.
    pub(super) fn watch(self) -> Result<(), String> {
        let Self(mut pipe) = self;
        let watch = move || {
            loop {
                match pipe.read(&mut [0]) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Ok(_) | Err(_) => process::exit(FAILED.into()),
                }
            }
        };
        let started = thread::Builder::new().name("starter".into()).stack_size(STACK).spawn(watch);
        started.map(|_| ()).map_err(|error| format!("the starter cannot be watched: {error}"))
    }
}

/// From here on this process ends with the helper that it is a child of; the kernel sees to that. The
/// helper itself is not tied to the starter, because its child is not tied to it before this: one
/// that was killed at the wrong moment left a child that waited for it for ever.
pub(super) fn tie(wanted: bool) -> Result<(), String> {
    let signal = wanted.then_some(Signal::KILL);
    set_parent_process_death_signal(signal).map_err(|error| error.to_string())
}

/// Nothing of this process can be read or changed by those inside, who are the same user.
pub(super) fn close() -> Result<(), String> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| error.to_string())
}

/// Starts the tool and stays until it has ended: its exit code, or 128 and the signal.
///
/// # Errors
/// The program could not be executed.
pub(super) fn run(mut command: Command) -> io::Result<u8> {
    let tool = command.spawn()?.id();
    loop {
        // Whatever the tool left behind is a child of this process by now, and is reaped as well.
        let (pid, status) = match wait(WaitOptions::empty()) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if u32::try_from(Pid::as_raw(Some(pid))) != Ok(tool) {
            continue;
        }
        let by_signal = status.terminating_signal().map(|signal| signal.saturating_add(128));
        let code = status.exit_status().or(by_signal).unwrap_or(FAILED.into());
        return Ok(u8::try_from(code & 0xff).unwrap_or(FAILED));
    }
}
