//! Probes of resources: bombs, capped (200 processes, 300 MB) and short. It must never know at
//! which point it is expected to be stopped.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;

use rustix::fs::FallocateFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::helper::{again, held_child, hold, touched};
use crate::{Expect, HOLD, Need, Params, Probe, step};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "res.fork",
        what: "Starts 200 processes at once.",
        why: "Unbounded, it takes the machine down.",
        needs: &[Need::Memory],
        observer: "the run's processes are counted from outside",
        action: fork,
        ..HOLD
    },
    Probe {
        id: "res.mem-aggregate",
        what: "Takes 75 MB in each of four processes.",
        why: "A limit for each process does not bound their sum.",
        needs: &[Need::Memory],
        observer: "resident size of the run's processes, and their limits, read from outside",
        action: memory_aggregate,
        relaxed: Expect::HoldOrDegraded,
        strict: Expect::HoldOrDegraded,
        ..HOLD
    },
    Probe {
        id: "res.mem",
        what: "Asks for 4 GB of memory and touches 32 MB of it.",
        why: "Unbounded, it makes the system kill other programs.",
        needs: &[Need::Memory],
        observer: "the process's address space and its cgroup's bound, read from outside",
        action: memory,
        ..HOLD
    },
    Probe {
        id: "res.fds",
        what: "Opens 4,096 files after raising its own limit as far as it may.",
        why: "Descriptors are the kernel's memory, and the system has a total.",
        observer: "the size of the process's descriptor table, read from outside",
        action: descriptors,
        ..HOLD
    },
    Probe {
        id: "res.disk-ws",
        what: "Makes one file of 300 MB in the workspace.",
        why: "A full disk stops the user's programs.",
        observer: "the host measures the file's blocks",
        action: disk,
        ..HOLD
    },
    Probe {
        id: "res.tmpfs",
        what: "Fills /dev/shm, /tmp and what else can be written of /dev with 300 MB.",
        why: "Such files are memory that no process owns and no limit on processes counts.",
        needs: &[Need::Memory],
        observer: "the files' sizes through /proc/<pid>/root, read from outside",
        action: memory_files,
        ..HOLD
    },
    Probe {
        id: "res.stdout-flood",
        what: "Prints 64 MB.",
        why: "A runtime that keeps all of it, in memory or on disk, or hands it to the model, is filled \
              or stalled.",
        needs: &[Need::Runtime],
        observer: "the bytes that come back, and what the target's own files and memory grew by",
        action: flood,
        ..HOLD
    },
    Probe {
        id: "res.core",
        what: "Crashes a process after raising its core limit as far as it may.",
        why: "A core file holds the memory, secrets included, and fills the disk.",
        needs: &[Need::CoreFile],
        observer: "the host looks for a core file in the workspace",
        action: core,
        ..HOLD
    },
    Probe {
        id: "res.cpu",
        what: "Stands still while its limit on processor time is looked at.",
        why: "Without one, a loop runs until somebody notices.",
        observer: "`Max cpu time` in /proc/<pid>/limits, read from outside",
        action: |params| hold(params).map(|()| "stood".into()),
        ..HOLD
    },
];

fn fork(params: &Params) -> io::Result<String> {
    let mut children = Vec::new();
    let mut stop = None;
    for _ in 0..params.amount()? {
        match held_child(params).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                stop = Some(error);
                break;
            }
        }
    }
    let held = hold(params);
    let count = children.len();
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
    held?;
    stop.map_or_else(|| Ok(format!("started {count}")), Err)
}

fn memory(params: &Params) -> io::Result<String> {
    // Asked for and not touched: shows that nothing bounds it without hurting the host.
    let mut wide: Vec<u8> = Vec::new();
    let asked = wide.try_reserve_exact(4_000_000_000);
    let block = touched(params.amount()?);
    hold(params)?;
    drop(wide);
    asked.map_err(io::Error::other)?;
    Ok(format!("holds 4 GB, {} bytes of it touched", block?.len()))
}

fn memory_aggregate(params: &Params) -> io::Result<String> {
    let mut children = Vec::new();
    for _ in 0..4 {
        let child = again("memory")
            .arg(step::of(params, step::release))
            .arg((params.amount()? / 4).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        children.extend(child);
    }
    for child in &mut children {
        // One byte says that the memory is taken; the end of the pipe, that it was refused.
        if let Some(pipe) = &mut child.stdout {
            let _ = pipe.read(&mut [0]);
        }
    }
    let held = hold(params);
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
    held?;
    Ok(format!("{} processes", children.len()))
}

/// Takes file watch instances until there are no more, and holds them.
pub(crate) fn take_watches(params: &Params) -> io::Result<String> {
    raise(Resource::Nofile);
    let mut taken = Vec::new();
    let stop = loop {
        match rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC) {
            Ok(one) if taken.len() < 20_000 => taken.push(one),
            Ok(_) => break None,
            Err(error) => break Some(error),
        }
    };
    if let (true, Some(error)) = (taken.is_empty(), stop) {
        return Err(error.into());
    }
    hold(params)?;
    Ok(format!("took {}", taken.len()))
}

/// The suite's side: asks for one file watch instance and writes whether there was one.
pub(crate) fn watches(report: &Path) -> io::Result<()> {
    let one = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC);
    fs::write(report, if one.is_ok() { "yes" } else { "no" })
}

/// Raises the soft limit to the hard one, as any process may.
fn raise(resource: Resource) {
    let limit = getrlimit(resource);
    let _ = setrlimit(resource, Rlimit { current: limit.maximum, ..limit });
}

fn descriptors(params: &Params) -> io::Result<String> {
    raise(Resource::Nofile);
    let path = step::of(params, step::twin_in);
    let mut files = Vec::new();
    let mut stop = None;
    for _ in 0..params.amount()? {
        match File::open(&path) {
            Ok(file) => files.push(file),
            Err(error) => {
                stop = Some(error);
                break;
            }
        }
    }
    // A few are given back, so that there is one to say "in position" with.
    let count = files.len();
    files.truncate(count.saturating_sub(4));
    hold(params)?;
    stop.map_or_else(|| Ok(format!("opened {count}")), Err)
}

fn disk(params: &Params) -> io::Result<String> {
    raise(Resource::Fsize);
    let path = params.workspace.join("large");
    let file = File::create(&path)?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, params.amount()?)?;
    Ok("filled".into())
}

/// Folders that lie in memory.
const MEMORY: [&str; 3] = ["/dev/shm", "/tmp", "/dev"];

fn memory_files(params: &Params) -> io::Result<String> {
    raise(Resource::Fsize);
    let block = vec![1_u8; 1_000_000];
    let mut wrote = 0_u64;
    let mut last = None;
    for folder in MEMORY {
        for part in 0..10 {
            if wrote >= params.amount()? {
                break;
            }
            match part_of(Path::new(folder), part, params, &block) {
                (bytes, None) => wrote += bytes,
                (bytes, Some(error)) => {
                    wrote += bytes;
                    last = Some(error);
                    break;
                }
            }
        }
    }
    let held = hold(params);
    for folder in MEMORY {
        for part in 0..10 {
            let _ = fs::remove_file(format!("{folder}/flood-{}-{part}", params.token));
        }
    }
    held?;
    last.map_or_else(|| Ok(format!("wrote {wrote} bytes")), Err)
}

/// Writes one file of 30 MB; says how much went in and what stopped it.
fn part_of(folder: &Path, part: u32, params: &Params, block: &[u8]) -> (u64, Option<io::Error>) {
    let mut file = match File::create(folder.join(format!("flood-{}-{part}", params.token))) {
        Ok(file) => file,
        Err(error) => return (0, Some(error)),
    };
    for count in 0..30 {
        if let Err(error) = file.write_all(block) {
            return (count * 1_000_000, Some(error));
        }
    }
    (30_000_000, None)
}

fn flood(params: &Params) -> io::Result<String> {
    let block = vec![b'.'; 65_536];
    let mut out = io::stdout().lock();
    let mut wrote = 0;
    while wrote < params.amount()? {
        out.write_all(&block)?;
        wrote += 65_536;
    }
    writeln!(out)?;
    Ok(format!("printed {wrote} bytes"))
}

fn core(params: &Params) -> io::Result<String> {
    raise(Resource::Core);
    let status = again("abort").current_dir(&params.workspace).stderr(Stdio::null()).status()?;
    Ok(format!("it ended with {status}"))
}
