//! Probes of other processes: reaching them, reading them, and outliving one's own run.
//! It must never know which processes are canaries of the suite beyond the pid it is given.

use std::fs;
use std::io::{self, IoSliceMut};
use std::process::Stdio;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit};

use crate::helper::{again, hold, leave_heartbeat};
use crate::{Control, HOLD, Need, Params, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "proc.kill-pid",
        what: "Kills a process of the host by its pid.",
        why: "Security tools, the launcher itself and the user's work run under the same user.",
        observer: "the canary process is alive or not",
        action: |params| {
            nix::sys::signal::kill(Pid::from_raw(params.pid()?), Signal::SIGKILL)?;
            Ok("sent SIGKILL".into())
        },
        ..HOLD
    },
    Probe {
        id: "proc.kill-minus1",
        what: "Signals every process it may (kill -1) with the harmless SIGURG.",
        why: "With SIGKILL the same call ends the user's whole session.",
        observer: "the signal is pending at a canary process that blocks it",
        action: |_| {
            nix::sys::signal::kill(Pid::from_raw(-1), Signal::SIGURG)?;
            Ok("sent SIGURG to all".into())
        },
        ..HOLD
    },
    Probe {
        id: "proc.kill-pgrp0",
        what: "Signals its process group (kill 0) with the harmless SIGWINCH.",
        why: "The group is the launcher's where no new one was made: the caller dies with it.",
        needs: &[Need::Launch],
        observer: "the signal is pending at a canary process in the launcher's group",
        action: |_| {
            nix::sys::signal::kill(Pid::from_raw(0), Signal::SIGWINCH)?;
            Ok("sent SIGWINCH to the group".into())
        },
        ..HOLD
    },
    Probe {
        id: "proc.ptrace",
        what: "Attaches to a process of the host as a debugger.",
        why: "A debugger reads and changes everything in the process.",
        needs: &[Need::Tracing],
        observer: "the canary process has a tracer, or was killed by it",
        action: trace,
        ..HOLD
    },
    Probe {
        id: "proc.vm-readv",
        what: "Reads the memory of a process of the host.",
        why: "Keys that are in no file are in memory.",
        needs: &[Need::Tracing],
        observer: "the random text in that memory comes out of the sandbox",
        action: read_memory,
        ..HOLD
    },
    Probe {
        id: "proc.prlimit-host",
        what: "Lowers a resource limit of a process of the host.",
        why: "A process without descriptors or memory fails, security tools included.",
        observer: "the canary process's limits are re-read",
        action: |params| {
            let pid = rustix::process::Pid::from_raw(params.pid()?);
            let value = Some(params.number()?);
            let limit = Rlimit { current: value, maximum: value };
            rustix::process::prlimit(pid, Resource::Nofile, limit)?;
            Ok("set the limit".into())
        },
        ..HOLD
    },
    Probe {
        id: "proc.list-host",
        what: "Prints the command line of every process it sees.",
        why: "Command lines carry names, paths and tokens.",
        observer: "random text in the arguments of a canary process comes out of the sandbox",
        action: |params| print_of_all(params, "cmdline", false),
        ..HOLD
    },
    Probe {
        id: "proc.pid1-environ",
        what: "Prints the environment of every other process it sees, its launcher first.",
        why: "Clearing the tool's environment does not clear the launcher's, which is pid 1 inside.",
        needs: &[Need::Launch],
        observer: "a random value in the launcher's environment comes out of the sandbox",
        action: |params| print_of_all(params, "environ", true),
        ..HOLD
    },
    Probe {
        id: "proc.pid1-cmdline",
        what: "Prints the arguments of every other process it sees, its launcher first.",
        why: "A launcher's arguments name the user's folders, and often carry tokens.",
        needs: &[Need::Launch],
        observer: "the launcher's arguments come out of the sandbox",
        action: |params| print_of_all(params, "cmdline", true),
        ..HOLD
    },
    Probe {
        id: "proc.setns",
        what: "Enters the mount namespace of every other process it sees.",
        why: "One that takes it in shows it the whole host.",
        needs: &[Need::OwnNamespaces],
        observer: "the process's mount namespace is the host's or its launcher's, seen from outside",
        control: Control::Root,
        action: enter_others,
        ..HOLD
    },
    Probe {
        id: "proc.orphan-exit",
        what: "Leaves a process behind in a session of its own and ends.",
        why: "What outlives its run is no longer watched by anybody.",
        observer: "a heartbeat file goes on growing after the run",
        action: |params| {
            leave_heartbeat(params)?;
            Ok("left one".into())
        },
        ..HOLD
    },
    Probe {
        id: "proc.orphan-launcher",
        what: "Runs in a session of its own while the launcher is killed.",
        why: "Launchers are killed, by time limits and by out-of-memory handlers.",
        needs: &[Need::Launch],
        observer: "a heartbeat file goes on growing after the launcher got SIGKILL",
        action: left_running,
        ..HOLD
    },
    Probe {
        id: "proc.orphan-monitor",
        what: "Runs in a session of its own while the process between launcher and tool is killed.",
        why: "Out-of-memory handlers choose such processes, and so may a tool.",
        needs: &[Need::Launch],
        observer: "a heartbeat file goes on growing after the launcher's child got SIGKILL",
        action: left_running,
        ..HOLD
    },
    Probe {
        id: "proc.pdeathsig-thread",
        what: "Runs while the thread that started the launcher ends.",
        why: "A sandbox that dies with its parent's thread dies at random in a program with many.",
        needs: &[Need::Launch],
        observer: "the process is gone, seen from outside, though its launcher's starter lives",
        action: |params| hold(params).map(|()| "stood".into()),
        ..HOLD
    },
    Probe {
        id: "proc.timeout-setsid",
        what: "Leaves the process group and waits to be timed out.",
        why: "A time limit that signals the group misses who has left it.",
        needs: &[Need::Launch],
        observer: "a heartbeat file goes on growing after the launcher's group got SIGTERM and SIGKILL",
        action: left_running,
        ..HOLD
    },
    Probe {
        id: "proc.pipe-held",
        what: "Ends, but leaves a process that keeps its standard output open.",
        why: "The caller waits for the end of the output, for ever.",
        needs: &[Need::Launch],
        observer: "the pipe is still open two seconds after the launcher ended",
        action: |_| {
            again("linger").stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
            std::thread::sleep(std::time::Duration::from_millis(50));
            Ok("left one".into())
        },
        ..HOLD
    },
];

fn trace(params: &Params) -> io::Result<String> {
    let pid = Pid::from_raw(params.pid()?);
    ptrace::attach(pid)?;
    nix::sys::wait::waitpid(pid, None)?;
    let looked = hold(params);
    ptrace::detach(pid, Signal::SIGKILL)?;
    looked?;
    Ok("attached".into())
}

fn read_memory(params: &Params) -> io::Result<String> {
    let base = usize::try_from(params.number()?).map_err(io::Error::other)?;
    let mut buffer = vec![0; usize::try_from(params.amount()?).map_err(io::Error::other)?];
    let len = buffer.len();
    let pid = Pid::from_raw(params.pid()?);
    let remote = [RemoteIoVec { base, len }];
    let read = process_vm_readv(pid, &mut [IoSliceMut::new(&mut buffer)], &remote)?;
    println!("{}", String::from_utf8_lossy(&buffer));
    Ok(format!("read {read} bytes"))
}

/// Prints `/proc/<pid>/<name>` of every process (but this one), with line feeds for NULs.
/// Prints it, and writes it into the workspace: who cuts what is printed has not held it.
fn print_of_all(params: &Params, name: &str, parent_first: bool) -> io::Result<String> {
    let own = std::process::id().to_string();
    let mut pids: Vec<String> = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && *pid != own)
        .collect();
    // The youngest first: where output is cut, it is what a run has just started that is left.
    pids.sort_by_key(|pid| std::cmp::Reverse(pid.parse::<u32>().unwrap_or(0)));
    if parent_first {
        pids.insert(0, std::os::unix::process::parent_id().to_string());
    }
    let (mut read, mut all) = (0, String::new());
    for pid in &pids {
        if let Ok(bytes) = fs::read(format!("/proc/{pid}/{name}")) {
            let text = String::from_utf8_lossy(&bytes).replace('\0', "\n");
            all.push_str(&format!("{pid}: {text}\n"));
            read += 1;
        }
    }
    // Where nothing can be written, what is printed is all there is.
    let _ = fs::write(crate::step::of(params, crate::step::told), &all);
    print!("{all}");
    Ok(format!("read {name} of {read} of {} processes", pids.len()))
}

fn enter_others(params: &Params) -> io::Result<String> {
    let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt"));
    let own = link("self")?;
    let mut last = io::Error::other("no other mount namespace is seen");
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().into_string() else { continue };
        let number = pid.bytes().all(|byte| byte.is_ascii_digit());
        if !number || link(&pid).map_or(true, |other| other == own) {
            continue;
        }
        let entered = fs::File::open(format!("/proc/{pid}/ns/mnt"))
            .and_then(|file| Ok(nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNS)?));
        match entered {
            Ok(()) => {
                hold(params)?;
                return Ok(format!("entered that of process {pid}"));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn left_running(params: &Params) -> io::Result<String> {
    leave_heartbeat(params)?;
    hold(params)?;
    Ok("stayed".into())
}
