//! `contain`: applies what the plan says to itself, then runs the tool. It reads its orders from one
//! descriptor, says on another how far it came, and must never do anything else.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{ffi::OsStringExt, fs::MetadataExt, process::CommandExt},
    path::PathBuf,
    process::{Command, ExitCode},
};

use close_fds::CloseFdsBuilder;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::{
    alias,
    descriptors::{CALL_FD, ORDERS_FD, REPORT_FD, STDIN_FD, descriptor},
    first::{self, FAILED, Starter},
    landlock, seccomp,
};
use crate::sandbox::plan::{Inner, Rlimits};

/// What the shim is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Orders {
    /// What it applies to itself.
    pub(super) inner: Inner,
    /// What the mounted places must be: else another run swapped one while the view was built.
    pub(super) identities: Vec<Identity>,
    /// Whether it is process 1 of a sandbox and stays until the tool has ended; else it becomes it.
    pub(super) stays: bool,
    /// What it becomes; none: it waits for a call, with everything applied already.
    pub(super) job: Option<Job>,
    /// Only read in a `knockout` build.
    pub(super) knockout: Option<String>,
}

/// The identity of a file or folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Where it stands, outside and inside.
    pub(super) path: PathBuf,
    /// Device number.
    pub(super) device: u64,
    /// Inode number.
    pub(super) inode: u64,
}

/// What the shim becomes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// Nothing: it only shows that everything can be applied.
    Trial,
    /// The file tools' worker: one call on standard input.
    Worker,
    /// A program: arguments as bytes, because they need not be text.
    Program(Vec<Vec<u8>>),
}

/// Runs as the shim; `worker` is the file tools' side, where this program has it.
pub(in crate::sandbox) fn main(worker: Option<fn() -> bool>) -> ExitCode {
    let mut words = std::env::args_os().skip(2);
    if words.next().is_some_and(|word| word == "join") {
        return join(words);
    }
    let Ok(mut report) = OpenOptions::new().append(true).open(descriptor(REPORT_FD)) else {
        return ExitCode::from(FAILED);
    };
    match prepare(&mut report) {
        Ok((job, stays)) => work(job, stays, &mut report, worker),
        Err(cause) => {
            let _ = writeln!(report, "failed {}", one_line(&cause));
            ExitCode::from(FAILED)
        }
    }
}

/// Enters the cgroup whose door is standard input, and becomes the program: nothing of it is ever
/// outside.
fn join(mut words: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let entered = rustix::io::write(rustix::stdio::stdin(), b"0").map_err(io::Error::from);
    let stdin = entered.and_then(|_| File::open(descriptor(STDIN_FD)));
    let error = match (stdin, words.next()) {
        (Ok(stdin), Some(program)) => {
            #[expect(clippy::disallowed_methods, reason = "it becomes the sandbox's helper")]
            let mut command = Command::new(program);
            command.args(words).stdin(stdin).exec()
        }
        (Err(error), _) => error,
        (Ok(_), None) => io::ErrorKind::InvalidInput.into(),
    };
    eprintln!("the cgroup of the run: {error}");
    ExitCode::from(FAILED)
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Applies everything, in an order in which no step takes away what a later one needs.
fn prepare(report: &mut File) -> Result<(Job, bool), String> {
    let orders: Orders = File::open(descriptor(ORDERS_FD))
        .and_then(read)
        .map_err(|error| format!("the orders: {error}"))?;
    #[cfg(feature = "knockout")]
    if let Some(words) = &orders.knockout {
        crate::requirement::knockout::tell(words).map_err(|word| format!("no knockout {word}"))?;
    }
    let mut starter = orders.inner.ends_with_starter.then(Starter::find).transpose()?;
    // Opened while all can be opened.
    let call = if orders.job.is_none() { Some(File::open(descriptor(CALL_FD))) } else { None };
    let call = call.transpose().map_err(|error| format!("the call cannot be read: {error}"))?;
    for expected in &orders.identities {
        verify(expected)?;
    }
    if orders.inner.close_descriptors {
        CloseFdsBuilder::new().cloexecfrom(3);
    }
    if let Some(limits) = orders.inner.rlimits {
        limit(limits)?;
    }
    // Compiled before Landlock and the limits bite, installed after.
    let filter = seccomp::filter(&orders.inner.seccomp)?;
    let landlock = match &orders.inner.landlock {
        Some(rules) => landlock::apply(rules)?,
        None => "off",
    };
    filter.as_ref().map_or(Ok(()), seccomp::install)?;
    if orders.stays {
        first::tie(orders.inner.ends_with_starter)?;
        first::close()?;
    }
    writeln!(report, "ready landlock={landlock}").map_err(|error| error.to_string())?;
    let job = match (orders.job, call) {
        (Some(job), _) => job,
        (None, Some(call)) => {
            let starter = starter.as_mut().ok_or("nobody is there to wait for")?;
            starter.wait()?;
            read(call).map_err(|error| format!("the call: {error}"))?
        }
        (None, None) => return Err("no job and no call".to_owned()),
    };
    if orders.stays {
        starter.map_or(Ok(()), Starter::watch)?;
    }
    Ok((job, orders.stays))
}

fn read<T: serde::de::DeserializeOwned>(mut file: File) -> io::Result<T> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn verify(expected: &Identity) -> Result<(), String> {
    let path = &expected.path;
    let found = std::fs::symlink_metadata(path)
        .map_err(|error| format!("{} cannot be seen: {error}", path.display()))?;
    if (found.dev(), found.ino()) != (expected.device, expected.inode) {
        return Err(format!("{} was swapped while the sandbox was built", path.display()));
    }
    alias::covered(path)
}

fn limit(limits: Rlimits) -> Result<(), String> {
    let zero = 0;
    for (resource, value) in [
        (Resource::Core, zero),
        (Resource::Nproc, limits.processes),
        (Resource::As, limits.address_space),
        (Resource::Fsize, limits.file_size),
        (Resource::Nofile, limits.descriptors),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::Msgqueue, zero),
        (Resource::Rtprio, zero),
        (Resource::Nice, zero),
        (Resource::Data, limits.data.unwrap_or(u64::MAX)),
    ] {
        // A hard limit that is already lower cannot be raised and need not be.
        let hard = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let value = Some(value.min(hard));
        setrlimit(resource, Rlimit { current: value, maximum: value })
            .map_err(|error| format!("limit {resource:?}: {error}"))?;
    }
    Ok(())
}

fn work(job: Job, stays: bool, report: &mut File, worker: Option<fn() -> bool>) -> ExitCode {
    let argv = match job {
        Job::Trial => return ExitCode::SUCCESS,
        Job::Worker => return worker.map_or(FAILED, |worker| u8::from(!worker())).into(),
        Job::Program(argv) => argv,
    };
    let mut words = argv.into_iter().map(std::ffi::OsString::from_vec);
    let Some(program) = words.next() else {
        let _ = writeln!(report, "missing no program was named");
        return ExitCode::from(127);
    };
    #[expect(clippy::disallowed_methods, reason = "the shim runs the tool")]
    let mut command = Command::new(program);
    command.args(words);
    let error = if stays {
        match first::run(command) {
            Ok(code) => return ExitCode::from(code),
            Err(error) => error,
        }
    } else {
        command.exec()
    };
    let _ = writeln!(report, "missing {}", one_line(&error.to_string()));
    let missing = error.kind() == io::ErrorKind::NotFound;
    ExitCode::from(if missing { 127 } else { 126 })
}
