//! Windows: a job object ends and limits what a tool starts; an AppContainer closes files and
//! network. The job alone holds no level, so where no AppContainer can be had, nothing runs at one.
//! It must never take the success of a call for enforcement: a trial measures it.

mod container;
mod frame;
mod helper;
mod interface;
mod lookup;
mod measure;
mod orders;
mod quote;

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::windows::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::{
    output::{Captured, Plain, harmless},
    plan::{self, Heads, Plan, Purpose},
    policy::Level,
    run::{Job, NOT_BUILT, Ran, Refusal, Setting, Stop, Work},
    trusted::Guard,
};
use crate::{audit::Rejection, registry::Capability, requirement};
use frame::Kind;
pub(super) use helper::main as helper_main;
use orders::{Contain, Limits, Orders};

/// How long a killed run may take to be gone before that is an error.
const GRACE: Duration = Duration::from_secs(5);
/// `CREATE_NO_WINDOW`: the helper has no console that a tool could write into.
const NO_WINDOW: u32 = 0x0800_0000;
const LIMITS: Limits = Limits { processes: 64, process_memory: 512 << 20, job_memory: 2 << 30 };
/// The share of all processors that a run gets.
const CPU_PERCENT: u32 = 50;

/// What stands on this host.
#[derive(Debug)]
pub(super) struct Backend {
    workspace: PathBuf,
    program: PathBuf,
    /// What a run must not change, as it was.
    trusted: Arc<Guard>,
    /// What the trial found, once.
    measured: OnceLock<Result<measure::Found, Refusal>>,
}

impl Backend {
    /// Looks at the host.
    pub(super) fn new(setting: &Setting) -> Result<Self, Refusal> {
        let program = setting
            .shim
            .clone()
            .map_or_else(env::current_exe, Ok)
            .map_err(|error| Refusal::new(NOT_BUILT, format!("this program: {error}")))?;
        let workspace = workspace(&setting.workspace)?;
        Ok(Self { workspace, program, trusted: Arc::default(), measured: OnceLock::new() })
    }

    /// The mechanism.
    pub(super) fn name(&self) -> Result<String, Refusal> {
        Ok("job object with AppContainer".to_owned())
    }

    /// What a level that holds still lacks on this system, one sentence each.
    pub(super) fn lacks(&self) -> Vec<String> {
        let mut lacks = vec![
            "names that a user's programs trust later (.git\\config, hooks) can be changed while a \
             run lasts; they are put back when it is over"
                .to_owned(),
            "two runs in one workspace share one container".to_owned(),
        ];
        if let Some(Ok(found)) = self.measured.get() {
            lacks.extend(found.lacks());
        }
        lacks
    }

    /// Runs a job, until it ends or `stop` resolves.
    ///
    /// # Errors
    /// `sandbox.fail-closed`: the tool did not start. `sandbox.reap`: it could not be ended.
    pub(super) async fn run(&self, job: Job, stop: Stop) -> Result<Ran, Rejection> {
        let heads = Heads::current();
        let found = match job.level {
            Level::None => None,
            _ => match self.measured().await {
                Ok(found) => Some(found),
                Err(_) if !requirement::SANDBOX_FAIL_CLOSED.enforced() => None,
                Err(refusal) => return Err(refusal.reject()),
            },
        };
        let level = if found.is_some() { job.level } else { Level::None };
        let purpose =
            if matches!(job.work, Work::Worker(_)) { Purpose::Worker } else { Purpose::Program };
        let host = plan::Facts {
            workspace: self.workspace.clone(),
            shim: self.program.clone(),
            ..plan::Facts::default()
        };
        let plan = Plan::new(level, job.capabilities, purpose, &host, heads);
        let contain = (level != Level::None && heads.fs && heads.net).then(|| Contain {
            network: level == Level::Relaxed && job.capabilities.has(Capability::Network),
            write: job.capabilities.has(Capability::Write),
            cpu_percent: found
                .as_ref()
                .and_then(|found| found.cpu.then_some(CPU_PERCENT))
                .filter(|_| heads.res),
        });
        let mut orders = self.orders(&job.work);
        orders.contain = contain;
        orders.interface = heads.res && found.as_ref().is_some_and(|found| found.interface);
        orders.limits = (heads.res && level != Level::None).then_some(LIMITS);
        orders.reap = plan.reap;
        orders.environment = plan.environment.is_some().then(|| environment(&self.workspace));
        let call = match &job.work {
            Work::Worker(call) => call.as_slice(),
            _ => &[],
        };
        let refuse = |cause: String| Refusal::new(NOT_BUILT, cause).reject();
        // Of the same capability as the mounts elsewhere: who may not write need not be undone.
        let keeps = contain.is_some_and(|contain| contain.write);
        let trusted = if keeps {
            let (guard, workspace) = (Arc::clone(&self.trusted), self.workspace.clone());
            Some(off(move || guard.begin(&workspace)).await.and_then(|it| it).map_err(refuse)?)
        } else {
            None
        };
        let ran = match self.start(&orders, call).await {
            Ok(child) => watch(child, &plan, &job, stop).await,
            Err(error) => Err(refuse(format!("the helper does not start: {error}"))),
        };
        let Some(trusted) = trusted else { return ran };
        let undone = off(move || trusted.end().map_err(|error| error.to_string())).await;
        let undone = undone.and_then(|it| it).map_err(|error| {
            let cause = format!("a trusted name could not be put back: {error}");
            requirement::SANDBOX_FS.refuse("a tool changed what it must not change", cause)
        })?;
        Ok(Ran { removed: undone, ..ran? })
    }

    /// What the trial found; it is made once.
    async fn measured(&self) -> Result<measure::Found, Refusal> {
        if let Some(found) = self.measured.get() {
            return found.clone();
        }
        let found = measure::measure(self).await;
        self.measured.get_or_init(|| found).clone()
    }

    /// Orders for a helper that holds nothing yet.
    fn orders(&self, work: &Work) -> Orders {
        Orders {
            limits: None,
            interface: false,
            reap: true,
            contain: None,
            environment: Some(environment(&self.workspace)),
            workspace: self.workspace.clone(),
            work: match work {
                Work::Trial => orders::Work::Nothing,
                Work::Worker(call) => orders::Work::Worker { bytes: call.len() },
                Work::Program(argv) => orders::Work::Program(
                    argv.iter().map(|word| word.encode_wide().collect()).collect(),
                ),
            },
            #[cfg(feature = "knockout")]
            knockout: requirement::knockout::told(),
            #[cfg(not(feature = "knockout"))]
            knockout: None,
        }
    }

    /// Starts a helper and gives it its orders, and the call of a file tool. It ends when its
    /// standard input does.
    async fn start(&self, orders: &Orders, call: &[u8]) -> io::Result<Child> {
        #[expect(clippy::disallowed_methods, reason = "the one place where sandboxes are started")]
        let mut command = Command::new(&self.program);
        command.arg("contain").creation_flags(NO_WINDOW).kill_on_drop(true);
        if orders.environment.is_some() {
            command.env_clear();
        }
        // What the system's libraries need before any line of ours.
        for name in ["SystemRoot", "SystemDrive", "USERPROFILE", "LOCALAPPDATA", "USERNAME"] {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut text = serde_json::to_vec(orders)?;
        text.push(b'\n');
        text.extend_from_slice(call);
        let input = child.stdin.as_mut().ok_or_else(|| io::Error::other("no input"))?;
        input.write_all(&text).await?;
        input.flush().await?;
        Ok(child)
    }
}

/// Does what waits for the disk beside other work.
async fn off<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

/// What a program is given, and no more. Its home is the workspace: it may write nowhere else.
fn environment(workspace: &Path) -> Vec<(String, String)> {
    let root = env::var("SystemRoot").unwrap_or_else(|_| r"C:\Windows".to_owned());
    let workspace = workspace.to_string_lossy().into_owned();
    [
        ("SystemRoot", root.clone()),
        ("windir", root.clone()),
        ("ComSpec", format!(r"{root}\System32\cmd.exe")),
        ("PATH", format!(r"{root}\System32;{root};{root}\System32\WindowsPowerShell\v1.0")),
        ("PATHEXT", ".COM;.EXE".to_owned()),
        ("USERPROFILE", workspace.clone()),
        ("TEMP", workspace.clone()),
        ("TMP", workspace),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Resolves the workspace to a plain path (programs of the system do not take verbatim ones) and
/// refuses one that is no folder for work.
fn workspace(asked: &Path) -> Result<PathBuf, Refusal> {
    const PUBLIC: &str = "the workspace cannot be used, so no tool runs";
    let refuse = |cause: String| Refusal::new(PUBLIC, cause);
    let plain = dunce::canonicalize(asked)
        .map_err(|error| refuse(format!("{}: {error}", asked.display())))?;
    // What has no plain form is on another machine, or too long for the programs of the system.
    if plain.to_string_lossy().starts_with(r"\\") {
        return Err(refuse(format!("{} has no plain path on this machine", plain.display())));
    }
    let root = env::var_os("SystemRoot").map(PathBuf::from);
    let in_system = root.is_some_and(|root| plain.starts_with(root));
    if !fs::metadata(&plain).is_ok_and(|data| data.is_dir())
        || in_system
        || plain.parent().is_none()
    {
        return Err(refuse(format!("{} is no folder for work", plain.display())));
    }
    Ok(plain)
}

/// What the helper said, as far as it came.
#[derive(Debug, Default)]
struct Heard {
    ready: bool,
    failed: Option<String>,
    missing: Option<String>,
    code: Option<i32>,
}

async fn watch(mut child: Child, plan: &Plan, job: &Job, stop: Stop) -> Result<Ran, Rejection> {
    let mut ran = Ran { landlock: "off".to_owned(), ..Ran::default() };
    let mut heard = Heard::default();
    let Some(output) = child.stdout.take() else {
        return Err(Refusal::new(NOT_BUILT, "the helper has no output").reject());
    };
    let finished = {
        let to = job.pass_on.then(|| {
            let wanted = plan.plain_terminal;
            [harmless(&io::stdout(), wanted), harmless(&io::stderr(), wanted)]
        });
        let read = listen(output, plan.output_bytes, to, &mut ran, &mut heard);
        let work = async {
            read.await;
            child.wait().await
        };
        tokio::select! {
            finished = timeout(job.timeout, work) => finished.map_err(|_| false),
            _ = stop => Err(true),
        }
    };
    ran.stopped = matches!(finished, Err(true));
    if finished.is_err() {
        // With the helper goes the last handle to the job, and with that everything in it.
        drop(child.stdin.take());
        let _ = child.start_kill();
        timeout(GRACE, child.wait()).await.ok().and_then(Result::ok).ok_or_else(|| {
            requirement::SANDBOX_REAP
                .refuse("a tool could not be ended in time", "the helper outlived its kill")
        })?;
    } else {
        ran.code = heard.code;
    }
    ran.missing = heard.missing;
    match (heard.failed, heard.ready) {
        (Some(cause), _) => Err(Refusal::new(NOT_BUILT, cause).reject()),
        (None, false) if requirement::SANDBOX_FAIL_CLOSED.enforced() => {
            Err(Refusal::new(NOT_BUILT, "the helper ended before the tool started").reject())
        }
        // Ended by something else: an end is no success.
        (None, _) if finished.is_ok() && ran.code.is_none() => {
            ran.code = Some(-1);
            Ok(ran)
        }
        (None, _) => Ok(ran),
    }
}

/// Reads the helper's frames to their end.
async fn listen(
    output: tokio::process::ChildStdout,
    limit: usize,
    mut pass_on: Option<[Option<Plain>; 2]>,
    ran: &mut Ran,
    heard: &mut Heard,
) {
    let mut output = BufReader::new(output);
    let (mut out, mut err) = (tokio::io::stdout(), tokio::io::stderr());
    while let Ok((kind, length)) = frame::head(&mut output).await {
        let mut bytes = vec![0; length];
        if output.read_exact(&mut bytes).await.is_err() {
            return;
        }
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        match kind {
            Kind::Ready => heard.ready = true,
            Kind::Failed => heard.failed = Some(text()),
            Kind::Missing => heard.missing = Some(text()),
            Kind::Code => heard.code = text().parse().ok(),
            Kind::Stdout => {
                let kept = keep(&mut ran.stdout, &bytes, limit);
                if let Some([plain, _]) = &mut pass_on {
                    let _ = pass(&mut out, kept, plain).await;
                }
            }
            Kind::Stderr => {
                let kept = keep(&mut ran.stderr, &bytes, limit);
                if let Some([_, plain]) = &mut pass_on {
                    let _ = pass(&mut err, kept, plain).await;
                }
            }
        }
    }
}

/// Passes bytes on, to a terminal as plain text.
async fn pass(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    bytes: &[u8],
    plain: &mut Option<Plain>,
) -> io::Result<()> {
    match plain {
        Some(plain) => to.write_all(&plain.push(bytes)).await?,
        None => to.write_all(bytes).await?,
    }
    to.flush().await
}

/// Keeps the start of a stream and counts the rest.
fn keep<'a>(captured: &mut Captured, bytes: &'a [u8], limit: usize) -> &'a [u8] {
    let room = limit.saturating_sub(captured.bytes.len());
    let (kept, dropped) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
    captured.bytes.extend_from_slice(kept);
    captured.dropped = captured.dropped.saturating_add(dropped.len() as u64);
    kept
}

/// The words of a program, as Windows has them.
fn wide(words: &[Vec<u16>]) -> Vec<OsString> {
    use std::os::windows::ffi::OsStringExt;
    words.iter().map(|word| OsString::from_wide(word)).collect()
}

/// Runs a helper's orders to their end, for a measurement.
async fn run_to_end(backend: &Backend, orders: &Orders) -> Result<Ran, String> {
    let job = Job {
        level: Level::None,
        capabilities: crate::registry::Capabilities::NONE,
        work: Work::Trial,
        timeout: Duration::from_secs(20),
        pass_on: false,
        stays: None,
    };
    let plan = Plan::new(
        Level::None,
        job.capabilities,
        Purpose::Program,
        &plan::Facts::default(),
        Heads::ALL,
    );
    let child = backend.start(orders, &[]).await.map_err(|error| error.to_string())?;
    let (_alive, stop) = measure::never();
    watch(child, &plan, &job, stop).await.map_err(|rejection| rejection.cause().to_owned())
}
