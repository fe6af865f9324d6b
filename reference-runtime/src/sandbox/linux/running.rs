//! A sandbox that was started, seen from outside: its end is waited for, and brought about. It must
//! never leave a process behind, whoever of helper, shim and tool ends first, and at what moment.

use std::{
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::{fs::FileExt, process::ExitStatusExt},
    },
    process::ExitStatus,
    time::Duration,
};

use super::cgroup::Group;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::{Child, ChildStderr, ChildStdout},
    runtime::Handle,
    time::timeout,
};

/// How long a sandbox may take to end by itself once it was told to.
const SOON: Duration = Duration::from_millis(500);
/// How long a killed sandbox may take to be gone before that is an error.
const GRACE: Duration = Duration::from_secs(5);

/// What the helper and the shim report, readable once they are gone.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) report: File,
    pub(super) status: File,
}

/// One that runs. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Running {
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    /// The helper, in a process group of its own; without one, the tool.
    child: Child,
    /// Held open as long as the run is wanted: process 1 of the sandbox ends with it.
    life: Option<OwnedFd>,
    records: Records,
    /// Whether the shim is process 1 in there and sees the end of `life`.
    listens: bool,
    /// The group that all of it is in; it goes last.
    _group: Option<Group>,
}

impl Running {
    /// What was just started. `listens`: see [`Held`].
    pub(super) fn new(
        child: Child,
        life: OwnedFd,
        records: Records,
        listens: bool,
        group: Option<Group>,
    ) -> Self {
        Self { held: Some(Held { child, life: Some(life), records, listens, _group: group }) }
    }

    /// The number of the process that was started, as long as it is held.
    pub(super) fn helper(&self) -> Option<u32> {
        self.held.as_ref()?.child.id()
    }

    /// Both output streams; once.
    pub(super) fn streams(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        let held = self.held.as_mut();
        held.map_or((None, None), |it| (it.child.stdout.take(), it.child.stderr.take()))
    }

    /// Whether it has ended already.
    pub(super) fn is_over(&mut self) -> io::Result<bool> {
        let held = self.held.as_mut().ok_or_else(over)?;
        // Not asked of the child: what answers that takes its number back as well.
        let pid = held.child.id().ok_or_else(over)?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])))
    }

    /// Says that its call has come, to one that waits for it.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn tell(&mut self) -> io::Result<()> {
        let life = self.held.as_ref().and_then(|held| held.life.as_ref()).ok_or_else(over)?;
        rustix::io::write(life, b".")?;
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.held.as_mut().ok_or_else(over)?.wait().await
    }

    /// Ends it and waits until that is done.
    ///
    /// # Errors
    /// It outlived its kill.
    pub(super) async fn end(&mut self) -> Result<(), tokio::time::error::Elapsed> {
        match &mut self.held {
            Some(held) => held.end().await,
            None => Ok(()),
        }
    }

    /// What was reported, after its end.
    pub(super) fn records(mut self) -> Option<Records> {
        self.held.take().map(|held| held.records)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        // The end of this is what process 1 waits for; the rest is for one that does not get to it.
        held.life = None;
        if let (Some(_), Ok(runtime)) = (held.child.id(), Handle::try_current()) {
            runtime.spawn(async move { held.end().await });
        }
    }
}

impl Held {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        if self.listens
            && let Some(pid) = self.pid()
        {
            // In two steps: until its end is taken note of, nobody else can get its number.
            if let Ok(helper) = pidfd_open(pid, PidfdFlags::NONBLOCK) {
                ended(helper).await?;
                self.sweep(pid);
            }
        }
        self.child.wait().await
    }

    /// What a helper that ended early leaves: a child that still waits for it to go on, in its group,
    /// or one that is process 1 already and ends with `life`.
    fn sweep(&mut self, helper: Pid) {
        self.life = None;
        let _ = kill_process_group(helper, Signal::KILL);
    }

    async fn end(&mut self) -> Result<(), tokio::time::error::Elapsed> {
        self.life = None;
        if self.listens && timeout(SOON, self.wait()).await.is_ok() {
            return Ok(());
        }
        // It hangs where the shim is not at work yet, such as at a file system that does not answer.
        let first = if self.listens { self.first() } else { None };
        if let Some(pid) = self.pid().filter(|_| self.listens) {
            self.sweep(pid);
        }
        let _ = self.child.start_kill();
        let gone = async {
            let _ = self.child.wait().await;
            if let Some(first) = first {
                let _ = pidfd_send_signal(&first, Signal::KILL);
                let _ = ended(first).await;
            }
        };
        timeout(GRACE, gone).await
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }

    /// A handle to process 1 of the sandbox, if it is still the helper's child.
    fn first(&self) -> Option<OwnedFd> {
        #[derive(serde::Deserialize)]
        struct First {
            #[serde(rename = "child-pid")]
            child_pid: i32,
        }
        let text = contents(&self.records.status);
        let first: First = serde_json::from_str(text.lines().next()?).ok()?;
        let handle = pidfd_open(Pid::from_raw(first.child_pid)?, PidfdFlags::NONBLOCK).ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", first.child_pid)).ok()?;
        let parent: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        (Some(parent) == self.child.id()).then_some(handle)
    }
}

/// Resolves when the process behind a handle has ended, whoever takes note of it.
async fn ended(process: OwnedFd) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, for things that are not an owned descriptor"
    )]
    let process = AsyncFd::with_interest(process, Interest::READABLE)?;
    process.readable().await.map(|_| ())
}

/// The exit code; 128 and the signal where one ended it.
pub(super) fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// The text of a file in memory, whatever its position: another process writes by its own.
pub(super) fn contents(file: &File) -> String {
    let mut bytes = vec![0_u8; 4096];
    let count = file.read_at(&mut bytes, 0).unwrap_or(0);
    bytes.truncate(count);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn over() -> io::Error {
    io::Error::other("the run is over already")
}
