//! macOS: Seatbelt closes the view, our own program inside proves that it did before a tool starts,
//! and ends what a tool leaves behind. It must never run a tool with less than the level asked for.

mod scratch;
pub(super) mod shim;

use std::{
    env,
    ffi::OsString,
    io,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStringExt,
            fs::{MetadataExt, PermissionsExt},
            net::UnixStream,
            process::ExitStatusExt,
        },
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::timeout,
};

use super::{
    follow::{Ended, Followed, follow},
    plan::{self, Heads, Plan, Purpose},
    policy::Level,
    run::{Job, NOT_BUILT, Ran, Refusal, Setting, Stop, Work},
    seatbelt::{Facts, Profile},
};
use crate::{audit::Rejection, requirement};
use scratch::Scratch;

/// The system's own, by its absolute path: never one that stands earlier in PATH.
const SANDBOX_EXEC: &str = "/usr/bin/sandbox-exec";
/// How long the inside may take to end everything before that is an error.
const GRACE: Duration = Duration::from_secs(5);

/// What stands on this host.
#[derive(Debug)]
pub(super) struct Backend {
    facts: Facts,
    /// The uid to change to; none: this process's own is kept.
    become_uid: Option<u32>,
}

impl Backend {
    /// Looks at the host.
    pub(super) fn new(setting: &Setting) -> Result<Self, Refusal> {
        let own = rustix::process::geteuid().as_raw();
        let become_uid = match (own, setting.uid) {
            (0, Some(0) | None) => {
                return Err(Refusal::new(
                    "tools do not run as root: set sandbox.uid to an unprivileged uid",
                    "the runtime is root and sandbox.uid names no other uid",
                ));
            }
            (0, uid) => uid,
            _ => None,
        };
        let workspace = workspace(&setting.workspace)?;
        let shim = setting
            .shim
            .clone()
            .map_or_else(env::current_exe, Ok)
            .and_then(|path| path.canonicalize())
            .map_err(|error| Refusal::new(NOT_BUILT, format!("this program: {error}")))?;
        // What does not resolve does not exist yet; its name is protected all the same.
        let mut protected: Vec<PathBuf> = setting
            .protected
            .iter()
            .map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()))
            .collect();
        protected.push(shim.clone());
        protected.retain(|path| path.starts_with(&workspace));
        let facts = Facts { workspace, shim, protected, ..Facts::default() };
        Ok(Self { facts, become_uid })
    }

    /// The mechanism.
    pub(super) fn name(&self) -> Result<String, Refusal> {
        let refuse = |cause: String| {
            Refusal::new("sandbox-exec is missing or not the system's, so no tool runs", cause)
        };
        let found = std::fs::symlink_metadata(SANDBOX_EXEC)
            .map_err(|error| refuse(format!("{SANDBOX_EXEC}: {error}")))?;
        let mode = found.permissions().mode();
        if found.is_file() && found.uid() == 0 && mode & 0o022 == 0 {
            Ok("Seatbelt (sandbox-exec)".to_owned())
        } else {
            Err(refuse(format!("{SANDBOX_EXEC}: uid {} mode {mode:o}", found.uid())))
        }
    }

    /// What a level that holds still lacks on this system, one sentence each.
    pub(super) fn lacks(&self) -> Vec<String> {
        vec![
            "the number of processes and the memory of a run are not limited: macOS counts them \
             for a whole user"
                .to_owned(),
            "a tool that kills our own process inside can leave processes behind, still contained"
                .to_owned(),
        ]
    }

    /// Runs a job, until it ends or `stop` resolves.
    ///
    /// # Errors
    /// `sandbox.fail-closed`: the tool did not start. `sandbox.reap`: it could not be ended.
    pub(super) async fn run(&self, job: Job, stop: Stop) -> Result<Ran, Rejection> {
        let refuse = |cause: String| Refusal::new(NOT_BUILT, cause).reject();
        let heads = Heads::current();
        let level = match (self.name(), job.level) {
            (_, Level::None) => Level::None,
            (Ok(_), level) => level,
            (Err(_), _) if !requirement::SANDBOX_FAIL_CLOSED.enforced() => Level::None,
            (Err(refusal), _) => return Err(refusal.reject()),
        };
        let scratch = Scratch::new(self.become_uid).map_err(|error| refuse(error.to_string()))?;
        let facts = Facts { temporary: scratch.inside.clone(), ..self.facts.clone() };
        let purpose =
            if matches!(job.work, Work::Worker(_)) { Purpose::Worker } else { Purpose::Program };
        let host = plan::Facts {
            workspace: facts.workspace.clone(),
            shim: facts.shim.clone(),
            ..plan::Facts::default()
        };
        let plan = Plan::new(level, job.capabilities, purpose, &host, heads);
        let contained = level != Level::None;
        // Nobody ever answers here: that a connection comes is all that is looked for.
        let listener = (contained && heads.net && level == Level::Strict)
            .then(|| TcpListener::bind(("127.0.0.1", 0)))
            .transpose()
            .map_err(|error| refuse(error.to_string()))?;
        let orders = shim::Orders {
            limits: plan.inner.rlimits.filter(|_| contained),
            session: heads.term,
            reap: plan.reap,
            contained,
            untouchable: (contained && heads.fs).then(|| scratch.canary.clone()),
            neighbour: (contained && heads.proc).then(std::process::id),
            closed_port: listener.as_ref().and_then(|it| it.local_addr().ok()).map(|at| at.port()),
            job: match &job.work {
                Work::Trial => shim::Job::Trial,
                Work::Worker(_) => shim::Job::Worker,
                Work::Program(argv) => {
                    shim::Job::Program(argv.iter().cloned().map(OsString::into_vec).collect())
                }
            },
            #[cfg(feature = "knockout")]
            knockout: requirement::knockout::told(),
            #[cfg(not(feature = "knockout"))]
            knockout: None,
        };
        let profile =
            contained.then(|| Profile::new(level, job.capabilities, purpose, &facts, heads));
        let (channel, theirs) = UnixStream::pair().map_err(|error| refuse(error.to_string()))?;
        let child = self
            .command(profile, &plan, &scratch, theirs)
            .spawn()
            .map_err(|error| refuse(format!("cannot start: {error}")))?;
        let channel = Channel::new(channel, &orders, &job.work)
            .await
            .map_err(|error| refuse(format!("cannot tell the inside: {error}")))?;
        watch(child, channel, &plan, &job, stop).await
    }

    fn command(
        &self,
        profile: Option<Profile>,
        plan: &Plan,
        scratch: &Scratch,
        channel: UnixStream,
    ) -> Command {
        let program = if profile.is_some() { Path::new(SANDBOX_EXEC) } else { &self.facts.shim };
        #[expect(clippy::disallowed_methods, reason = "the one place where sandboxes are started")]
        let mut command = std::process::Command::new(program);
        if let Some(profile) = profile {
            command.arg("-p").arg(profile.text);
            for (name, value) in profile.parameters {
                let mut word = OsString::from(name);
                word.push("=");
                word.push(value);
                command.arg("-D").arg(word);
            }
            command.arg(&self.facts.shim);
        }
        command.arg("contain");
        if let Some(environment) = &plan.environment {
            command.env_clear().envs(environment.iter().copied());
            command.env("TMPDIR", &scratch.inside).env("HOME", &scratch.inside);
        }
        command.stdin(Stdio::from(OwnedFd::from(channel)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.current_dir(&plan.directory);
        if let Some(uid) = self.become_uid {
            use std::os::unix::process::CommandExt as _;
            command.uid(uid).gid(uid);
        }
        let mut command = Command::from(command);
        command.kill_on_drop(plan.reap);
        command
    }
}

/// Resolves the workspace (`/tmp` is `/private/tmp` to the kernel) and refuses one that the profile
/// has no place for.
fn workspace(asked: &Path) -> Result<PathBuf, Refusal> {
    const PUBLIC: &str = "the workspace cannot be used, so no tool runs";
    let found = asked
        .canonicalize()
        .map_err(|error| Refusal::new(PUBLIC, format!("{}: {error}", asked.display())))?;
    let system = ["/System", "/Library", "/Applications", "/usr", "/bin", "/sbin", "/private/etc"];
    let in_system = system.iter().any(|folder| found.starts_with(folder));
    let wide = ["/", "/Users", "/private", "/private/var", "/private/tmp", "/opt"];
    if !found.is_dir() || in_system || wide.iter().any(|folder| found == Path::new(folder)) {
        return Err(Refusal::new(PUBLIC, format!("{} is no folder for work", found.display())));
    }
    Ok(found)
}

/// The socket to the inside: orders go in, how far it came comes back, and its end ends the run.
struct Channel(tokio::net::UnixStream);

impl Channel {
    async fn new(stream: UnixStream, orders: &shim::Orders, work: &Work) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut stream = tokio::net::UnixStream::from_std(stream)?;
        let mut text = serde_json::to_vec(orders)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        if let Work::Worker(call) = work {
            stream.write_all(call).await?;
            // The worker reads to the end.
            stream.shutdown().await?;
        }
        Ok(Self(stream))
    }

    /// Tells the inside to end everything.
    async fn end(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// What the inside said, once it is gone.
    async fn report(mut self) -> String {
        let mut text = String::new();
        let read = (&mut self.0).take(64 << 10).read_to_string(&mut text).await;
        if read.is_err() { String::new() } else { text }
    }
}

async fn watch(
    mut child: Child,
    mut channel: Channel,
    plan: &Plan,
    job: &Job,
    stop: Stop,
) -> Result<Ran, Rejection> {
    let streams = (child.stdout.take(), child.stderr.take());
    let followed = follow(streams, child.wait(), plan, job, stop).await?;
    let code = match followed.ended {
        Ended::By(status) => Some(code(status)),
        Ended::Not { .. } => {
            end(&mut child, &mut channel, plan).await?;
            None
        }
    };
    let stopped = matches!(followed.ended, Ended::Not { told: true });
    let Followed { stdout, stderr, .. } = followed;
    let ran = Ran { code, stdout, stderr, stopped, landlock: "off".to_owned(), ..Ran::default() };
    judge(ran, &channel.report().await)
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// Ends a run: the inside is asked first, because it alone reaches everything that shares its
/// sandbox.
async fn end(child: &mut Child, channel: &mut Channel, plan: &Plan) -> Result<(), Rejection> {
    if plan.reap {
        channel.end().await;
        if timeout(GRACE, child.wait()).await.is_ok() {
            return Ok(());
        }
    }
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.start_kill();
    let gone = timeout(GRACE, child.wait()).await.is_ok();
    if gone && !plan.reap {
        return Ok(());
    }
    Err(requirement::SANDBOX_REAP
        .refuse("a tool could not be ended in time", "the inside did not end when it was told to"))
}

/// A run of which the inside did not say that all is in place did not run.
fn judge(mut ran: Ran, report: &str) -> Result<Ran, Rejection> {
    let mut ready = false;
    for line in report.lines() {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("ready", _) => ready = true,
            ("missing", why) => ran.missing = Some(why.to_owned()),
            ("failed", why) => return Err(Refusal::new(NOT_BUILT, why).reject()),
            _ => {}
        }
    }
    if ready || !requirement::SANDBOX_FAIL_CLOSED.enforced() {
        return Ok(ran);
    }
    let said: String = ran.stderr.text().chars().take(500).collect();
    Err(Refusal::new(NOT_BUILT, format!("sandbox-exec ended with {:?}: {said}", ran.code)).reject())
}
