//! A process and all that it started, ended together: a process group where there are such, the tree
//! under it on Windows. It must never end what it was not given.

use tokio::process::Child;

/// What ends together.
#[derive(Debug)]
pub(super) struct Group(Leader);

#[cfg(unix)]
type Leader = Option<rustix::process::Pid>;
#[cfg(windows)]
type Leader = Option<u32>;

#[cfg(unix)]
impl Group {
    /// The group that the process leads.
    pub(super) fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Self(pid.and_then(rustix::process::Pid::from_raw))
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(leader) = self.0 {
            // Gone already is what we want.
            let _ = rustix::process::kill_process_group(leader, signal);
        }
    }
}

#[cfg(windows)]
impl Group {
    /// The process and what descends from it.
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id())
    }

    /// Ends it at once, by the system's own program; what has lost its parent is not found by it.
    pub(super) fn kill(&self) {
        let Some((leader, root)) = self.0.zip(std::env::var_os("SystemRoot")) else { return };
        #[expect(clippy::disallowed_methods, reason = "no safe call ends a tree of processes")]
        let mut program =
            std::process::Command::new(std::path::Path::new(&root).join(r"System32\taskkill.exe"));
        let all = ["/F", "/T", "/PID", &leader.to_string()].map(str::to_owned);
        let _ = program.args(all).stdin(std::process::Stdio::null()).output();
    }

    /// There is no way to ask a process without a window: it is ended when its time is over.
    pub(super) fn terminate(&self) {}
}
