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
    first::{self, Starter},
    landlock, seccomp,
};
use crate::{
    registry,
    sandbox::plan::{Inner, Rlimits},
};

/// The descriptor that holds the orders.
pub(super) const ORDERS_FD: i32 = 5;
/// The descriptor of the report: lines `ready landlock=WORD`, `failed TEXT`, `missing TEXT`.
pub(super) const REPORT_FD: i32 = 4;
/// The descriptor of a pipe that nobody writes to and that is closed when the starter is gone.
pub(super) const LIFE_FD: i32 = 8;
/// The exit code of a shim that could not do its work.
pub(super) const FAILED: u8 = 125;

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
    /// What it becomes.
    pub(super) job: Job,
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
    let Ok(mut report) = OpenOptions::new().append(true).open(descriptor(REPORT_FD)) else {
        return ExitCode::from(FAILED);
    };
    match prepare(&mut report) {
        Ok(orders) => work(orders, &mut report),
        Err(cause) => {
            let _ = writeln!(report, "failed {}", one_line(&cause));
            ExitCode::from(FAILED)
        }
    }
}

pub(super) fn descriptor(number: i32) -> PathBuf {
    format!("/proc/self/fd/{number}").into()
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Applies everything, in an order in which no step takes away what a later one needs.
fn prepare(report: &mut File) -> Result<Orders, String> {
    let mut text = Vec::new();
    File::open(descriptor(ORDERS_FD))
        .and_then(|mut file| file.read_to_end(&mut text))
        .map_err(|error| format!("the orders cannot be read: {error}"))?;
    let orders: Orders =
        serde_json::from_slice(&text).map_err(|error| format!("the orders: {error}"))?;
    #[cfg(feature = "knockout")]
    if let Some(words) = &orders.knockout {
        crate::requirement::knockout::tell(words).map_err(|word| format!("no knockout {word}"))?;
    }
    let starter = orders.inner.ends_with_starter.then(Starter::find).transpose()?;
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
    let filters = seccomp::filters(&orders.inner.seccomp)?;
    let landlock = match &orders.inner.landlock {
        Some(rules) => landlock::apply(rules)?,
        None => "off",
    };
    seccomp::install(&filters)?;
    if orders.stays {
        starter.map_or(Ok(()), Starter::bind)?;
        first::close()?;
    }
    writeln!(report, "ready landlock={landlock}").map_err(|error| error.to_string())?;
    Ok(orders)
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

fn work(orders: Orders, report: &mut File) -> ExitCode {
    let argv = match orders.job {
        Job::Trial => return ExitCode::SUCCESS,
        Job::Worker => return ExitCode::from(u8::from(!registry::worker())),
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
    let error = if orders.stays {
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
