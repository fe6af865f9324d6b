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

use super::shim::{FAILED, LIFE_FD, descriptor};

/// Memory for the thread that does nothing but wait.
const STACK: usize = 64 << 10;

/// The starter as seen from inside: a pipe whose other end it alone holds.
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
        // Nobody writes to the pipe: its end is all that there is to be told.
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let told = poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&now));
        match told.map_err(|error| format!("the starter cannot be asked: {error}"))? {
            0 => Ok(Self(pipe)),
            _ => Err("whoever started this sandbox is gone".to_owned()),
        }
    }

    /// From here on this process ends with its starter, and with the helper that it is a child of.
    /// The kernel sees to the second; the helper itself is not tied to the starter, because its
    /// child is not tied to it before this: one that was killed at the wrong moment left a child
    /// that waited for it for ever.
    pub(super) fn bind(self) -> Result<(), String> {
        let Self(mut pipe) = self;
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
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
