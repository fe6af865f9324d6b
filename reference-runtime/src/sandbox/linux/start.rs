//! Starting a sandbox: now, or ahead of the call that it is for. One that was built ahead stands
//! closed, with every limit in force, and has done nothing yet: the shim waits for the call. Each
//! serves one call. It must never hand a call to a view that was built for another plan.

use std::{
    fs::File,
    io::{self, Seek, Write},
    os::{fd::OwnedFd, unix::ffi::OsStringExt, unix::fs::FileExt, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use tokio::process::Command;

use super::{
    bubblewrap,
    cgroup::{Group, Tree},
    descriptors::{CALL_FD, LIFE_FD, ORDERS_FD, REPORT_FD, STDIN_FD},
    running::{Records, Running},
    shim,
};
#[cfg(feature = "knockout")]
use crate::requirement;
use crate::sandbox::{plan::Plan, run::Work};

const ARGUMENTS_FD: i32 = 3;
const STATUS_FD: i32 = 6;
const FIRST_TEXT_FD: i32 = 10;

/// How long a sandbox that was built ahead waits for a call.
const PATIENCE: Duration = Duration::from_secs(600);
/// How many wait: one for the tools that are files' and one for programs.
const KEPT: usize = 2;

/// What is said at the last moment.
#[derive(Debug)]
pub(super) struct Call {
    job: shim::Job,
    stdin: Option<Vec<u8>>,
}

impl Call {
    /// The call of a job.
    pub(super) fn new(work: &Work) -> Self {
        match work {
            Work::Trial => Self { job: shim::Job::Trial, stdin: None },
            Work::Worker(call) => Self { job: shim::Job::Worker, stdin: Some(call.clone()) },
            Work::Program(argv) => {
                let argv = argv.iter().cloned().map(OsStringExt::into_vec).collect();
                Self { job: shim::Job::Program(argv), stdin: None }
            }
        }
    }
}

/// What the shim is told at its start; without a job it waits for a call.
fn orders(plan: &Plan, identities: &[shim::Identity], job: Option<&shim::Job>) -> io::Result<File> {
    let orders = shim::Orders {
        inner: plan.inner.clone(),
        identities: identities.to_vec(),
        stays: plan.outer.is_some(),
        job: job.cloned(),
        #[cfg(feature = "knockout")]
        knockout: requirement::knockout::told(),
        #[cfg(not(feature = "knockout"))]
        knockout: None,
    };
    memory(&serde_json::to_vec(&orders)?)
}

/// Where and as whom sandboxes are started.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// None: the shim is started bare.
    pub(super) bubblewrap: Option<PathBuf>,
    pub(super) shim: PathBuf,
    pub(super) become_uid: Option<u32>,
    /// Where runs get groups of their own.
    pub(super) groups: Option<Tree>,
}

/// One that is about to be started.
struct Starting {
    command: Command,
    records: Records,
    life: OwnedFd,
    /// Whether the shim ends with `life`.
    listens: bool,
    group: Option<Group>,
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Ready {
    plan: Plan,
    identities: Vec<shim::Identity>,
    sandbox: Running,
    call: File,
    stdin: File,
}

impl Place {
    /// Starts a sandbox for a call.
    pub(super) fn start(
        &self,
        plan: &Plan,
        identities: &[shim::Identity],
        call: &Call,
    ) -> Result<Running, String> {
        let text = |error: io::Error| error.to_string();
        let file = orders(plan, identities, Some(&call.job)).map_err(text)?;
        let stdin = call.stdin.as_deref().map(memory).transpose().map_err(text)?;
        let starting = self.command(plan, file, stdin, None).map_err(text)?;
        starting.go().map_err(|error| format!("cannot start: {error}"))
    }

    /// Starts a sandbox that waits for its call.
    fn ahead(&self, plan: Plan, identities: Vec<shim::Identity>) -> io::Result<Ready> {
        let (call, stdin) = (memory(b"")?, memory(b"")?);
        let file = orders(&plan, &identities, None)?;
        let (own, own_call) = (Some(stdin.try_clone()?), Some(call.try_clone()?));
        let sandbox = self.command(&plan, file, own, own_call)?.go()?;
        Ok(Ready { plan, identities, sandbox, call, stdin })
    }

    fn command(
        &self,
        plan: &Plan,
        orders: File,
        stdin: Option<File>,
        call: Option<File>,
    ) -> io::Result<Starting> {
        let (end, life) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // The shim opens it by its name in /proc, as another user where this one is root.
        rustix::fs::fchmod(&end, rustix::fs::Mode::from_raw_mode(0o444))?;
        let mut mappings = vec![map(orders, ORDERS_FD), map(File::from(end), LIFE_FD)];
        mappings.extend(call.map(|call| map(call, CALL_FD)));
        let mut inside = self.shim.clone();
        if let Some(outer) = &plan.outer {
            let line = bubblewrap::line(plan, outer, FIRST_TEXT_FD);
            let mut text = Vec::new();
            for word in line.arguments {
                text.extend(word.into_vec());
                text.push(0);
            }
            mappings.push(map(memory(&text)?, ARGUMENTS_FD));
            for (number, text) in (FIRST_TEXT_FD..).zip(&line.texts) {
                mappings.push(map(memory(text.as_bytes())?, number));
            }
            inside.clone_from(&outer.shim);
        }
        let program = self.bubblewrap.as_deref().unwrap_or(&inside);
        let groups = self.groups.as_ref().zip(plan.whole);
        let group = groups.map(|(tree, limits)| tree.group(&limits)).transpose()?;
        let first = if group.is_some() { &self.shim } else { program };
        #[expect(clippy::disallowed_methods, reason = "the one place where sandboxes are started")]
        let mut command = std::process::Command::new(first);
        if group.is_some() {
            command.args(["contain", "join"]).arg(program);
        }
        if self.bubblewrap.is_some() {
            command.args(["--args", &ARGUMENTS_FD.to_string()]);
            command.args(["--json-status-fd", &STATUS_FD.to_string()]);
            command.arg("--").arg(&inside);
        }
        command.arg("contain");
        if let Some(environment) = &plan.environment {
            command.env_clear().envs(environment.iter().copied());
        }
        let stdin = match (&plan.environment, stdin) {
            (Some(_), None) => Some(File::open("/dev/null")?),
            (_, stdin) => stdin,
        };
        if let Some(group) = &group {
            let stdin = stdin.map_or_else(|| File::open("/dev/null"), Ok)?;
            mappings.push(map(stdin, STDIN_FD));
            command.stdin(group.door()?);
        } else if let Some(stdin) = stdin {
            command.stdin(stdin);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let root = Path::new("/");
        command.current_dir(if self.bubblewrap.is_some() { root } else { &plan.directory });
        command.process_group(0);
        if let Some(uid) = self.become_uid {
            command.uid(uid).gid(uid);
        }
        let records = Records { report: memory(b"")?, status: memory(b"")? };
        mappings.push(map(records.report.try_clone()?, REPORT_FD));
        mappings.push(map(records.status.try_clone()?, STATUS_FD));
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        let mut command = Command::from(command);
        // A helper is never killed while it may have a child that waits for it.
        let listens = plan.outer.is_some() && plan.reap;
        command.kill_on_drop(plan.reap && !listens);
        Ok(Starting { command, records, life, listens, group })
    }
}

impl Starting {
    fn go(mut self) -> io::Result<Running> {
        let child = self.command.spawn()?;
        Ok(Running::new(child, self.life, self.records, self.listens, self.group))
    }
}

impl Ready {
    /// Hands it its call; it goes on at once.
    ///
    /// # Errors
    /// It is gone, or cannot be told; then it has done nothing and never will.
    pub(super) fn release(mut self, call: &Call) -> io::Result<Running> {
        if self.sandbox.is_over()? {
            return Err(io::ErrorKind::NotFound.into());
        }
        // By position: the reader on the other side shares the descriptors' own.
        self.stdin.write_all_at(call.stdin.as_deref().unwrap_or_default(), 0)?;
        self.call.write_all_at(&serde_json::to_vec(&call.job)?, 0)?;
        self.sandbox.tell()?;
        Ok(self.sandbox)
    }
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Vec<(u64, Ready)>>);

impl Waiting {
    /// One that was built for exactly this plan, from the files that stand there now. What is really
    /// mounted in it the shim compares with them once more.
    pub(super) fn take(&self, plan: &Plan, identities: &[shim::Identity]) -> Option<Ready> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = waiting.iter().position(|(_, ready)| ready.plan == *plan)?;
        let (_, ready) = waiting.swap_remove(at);
        (ready.identities == identities).then_some(ready)
    }

    /// Builds one for the next call with this plan, in the background.
    pub(super) fn prepare(
        self: &Arc<Self>,
        place: Place,
        plan: Plan,
        identities: Vec<shim::Identity>,
    ) {
        let waiting = Arc::downgrade(self);
        tokio::spawn(async move {
            let Ok(ready) = place.ahead(plan, identities) else { return };
            let Some(number) = waiting.upgrade().and_then(|waiting| waiting.add(ready)) else {
                return;
            };
            tokio::time::sleep(PATIENCE).await;
            if let Some(waiting) = waiting.upgrade() {
                waiting
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .retain(|it| it.0 != number);
            }
        });
    }

    /// Keeps it, in place of one for the same plan or of the oldest.
    fn add(&self, ready: Ready) -> Option<u64> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(_, other)| other.plan != ready.plan);
        if waiting.len() >= KEPT {
            waiting.remove(0);
        }
        let number = waiting.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        waiting.push((number, ready));
        Some(number)
    }
}

fn map(file: File, child_fd: i32) -> FdMapping {
    FdMapping { parent_fd: OwnedFd::from(file), child_fd }
}

/// A file in memory that holds `content`, at its start.
fn memory(content: &[u8]) -> io::Result<File> {
    let mut file =
        File::from(rustix::fs::memfd_create("clawproof", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}
