//! The driver for sandbox commands: a prefix before the command line that it confines, started as
//! a careless caller would start it (environment, descriptors, terminal, standard input).
//! It must never know which probe runs or what is expected of it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clawproof_probe::Launch;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::task::JoinHandle;

use super::{Confine, DriverError, Ran, RunLimits};
use crate::target::manifest::Manifest;
use crate::target::template::Vars;
use crate::target::world::World;

/// How long the output may stay open after the launcher has ended before it counts as held.
const PIPE_GRACE: Duration = Duration::from_secs(2);

/// Standard input of a launch.
#[derive(Debug, Default)]
pub enum Input {
    /// Nothing to read.
    #[default]
    Null,
    /// These bytes on a pipe.
    Bytes(Vec<u8>),
    /// A terminal, which becomes the controlling one of a new session; `hidden`: standard input
    /// itself is then `/dev/null`.
    Terminal {
        /// The terminal's slave side.
        slave: OwnedFd,
        /// Whether it is only the controlling terminal and not standard input.
        hidden: bool,
    },
}

/// Keys that the launcher's session keyring holds and may be left in it.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// The name of the key that lies in it.
    pub name: String,
    /// What that key holds.
    pub content: String,
    /// The name of the key that is looked for afterwards.
    pub left: String,
    /// Where a process outside the sandbox, in the same session, writes what that key holds.
    pub report: PathBuf,
}

/// What a launch is handed, on top of nothing.
#[derive(Debug, Default)]
pub struct Ask {
    /// Environment variables of the launcher.
    pub env: Vec<(String, String)>,
    /// Its standard input.
    pub stdin: Input,
    /// Its working folder; the workspace without it.
    pub folder: Option<PathBuf>,
    /// The process group that it joins; its own without it.
    pub group: Option<u32>,
    /// What a helper of the suite sets up before it becomes the launcher: open descriptors,
    /// namespaces, limits.
    pub launch: Launch,
    /// Whether the suite's own uid starts it, where that is root.
    pub as_suite: bool,
    /// Whether its output goes to the terminal that is its input.
    pub shown: bool,
    /// Whether it is started by a thread of its own, which [`Interrupt::Thread`] ends.
    pub by_thread: bool,
    /// The session keyring that it is started with.
    pub keyring: Option<Keyring>,
}

/// How a running launch is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// SIGKILL to the launcher alone.
    Kill,
    /// What a time limit does: SIGTERM to its process group, and SIGKILL half a second later.
    TimeOut,
    /// SIGKILL to the launcher's child on the way to the probe; where the probe is the launcher,
    /// to itself.
    Monitor,
    /// The end of the thread that started it, which kills nobody.
    Thread,
}

/// A sandbox command in a world.
#[derive(Debug)]
pub struct Launcher<'w> {
    prefix: Vec<String>,
    env: Vec<(String, String)>,
    world: &'w World,
    workspace: PathBuf,
    /// The probe binary in the world's `bin/`, which sets up what no `Command` can.
    helper: PathBuf,
}

impl<'w> Launcher<'w> {
    /// No sandbox at all: the command line itself, under the same uid. The control.
    ///
    /// # Errors
    /// The probe binary could not be copied into the world.
    pub fn bare(world: &'w World, probe: &Path) -> Result<Self, DriverError> {
        let helper = world.install(probe).map_err(|e| DriverError::Harness(e.to_string()))?;
        Ok(Self {
            prefix: Vec::new(),
            env: Vec::new(),
            world,
            workspace: world.workspace(),
            helper,
        })
    }

    /// The launcher that a manifest names, at its own level or at Relaxed; `binary` is the program
    /// under test, where it has one.
    ///
    /// # Errors
    /// `Unsupported` without a `[launcher]`, or a command line for Relaxed; `Harness` for a variable
    /// that has no value here.
    pub fn of(
        manifest: &Manifest,
        relaxed: bool,
        binary: &Path,
        knockout: Option<&str>,
        world: &'w World,
        probe: &Path,
    ) -> Result<Self, DriverError> {
        let launcher = manifest
            .launcher
            .as_ref()
            .ok_or_else(|| DriverError::Unsupported("[launcher] section".to_owned()))?;
        let mut vars = Vars::new();
        vars.set("BIN", binary.as_os_str().as_encoded_bytes())
            .set("STATE", world.state().as_os_str().as_encoded_bytes())
            .set("WORKSPACE", world.workspace().as_os_str().as_encoded_bytes())
            .set("HOME", world.home().as_os_str().as_encoded_bytes())
            .set("UID", world.uid().unwrap_or_else(own_uid).to_string())
            .set("SUBJECT", manifest.folder(binary).as_os_str().as_encoded_bytes())
            .set("KNOCKOUT", knockout.unwrap_or_default());
        let fill = |text: &String| {
            vars.fill_text(text).map_err(|error| DriverError::Harness(format!("launcher: {error}")))
        };
        for file in &manifest.write {
            world
                .write(Path::new(&fill(&file.path)?), fill(&file.text)?.as_bytes(), 0o600)
                .map_err(|error| DriverError::Harness(error.to_string()))?;
        }
        let line = if relaxed { launcher.relaxed.as_ref() } else { Some(&launcher.prefix) };
        let line = line.ok_or_else(|| DriverError::Unsupported("launcher.relaxed".to_owned()))?;
        let mut prefix: Vec<String> = line.iter().map(fill).collect::<Result<_, _>>()?;
        if knockout.is_some() {
            let extra: Vec<String> =
                manifest.knockout.iter().map(fill).collect::<Result<_, _>>()?;
            let at = prefix.len().min(1);
            prefix.splice(at..at, extra);
        }
        let env = launcher
            .env
            .iter()
            .map(|(name, value)| Ok((name.clone(), fill(value)?)))
            .collect::<Result<_, DriverError>>()?;
        let bare = Self::bare(world, probe)?;
        Ok(Self { prefix, env, ..bare })
    }

    /// The words that stand before a command line.
    #[must_use]
    pub fn prefix(&self) -> &[String] {
        &self.prefix
    }

    /// Why the launcher's program cannot be used on this machine, in one sentence.
    #[must_use]
    pub fn missing(manifest: &Manifest) -> Option<String> {
        let program = manifest.launcher.as_ref()?.prefix.first()?;
        if program.starts_with("${") || found(program) {
            return None;
        }
        Some(format!(
            "the launcher `{program}` of target `{}` is not on this machine; install it (such as \
             `apt-get install {}`) or choose another target",
            manifest.name,
            if program == "bwrap" { "bubblewrap" } else { program }
        ))
    }

    /// Starts `argv` behind the prefix.
    ///
    /// # Errors
    /// `Unsupported` when the launcher's program is not there; `Harness` when it does not start.
    pub fn start(&self, argv: &[String], ask: Ask) -> Result<Launched, DriverError> {
        let mut line: Vec<String> = Vec::new();
        if let Some(keyring) = &ask.keyring {
            line.extend(with_keyring(keyring));
        }
        let terminal = matches!(ask.stdin, Input::Terminal { .. });
        let hidden = matches!(ask.stdin, Input::Terminal { hidden: true, .. });
        let launch = Launch { terminal, no_input: hidden, ..ask.launch };
        if launch != Launch::default() {
            let setup = serde_json::to_string(&launch)
                .map_err(|error| DriverError::Harness(error.to_string()))?;
            line.extend([self.helper.to_string_lossy().into_owned(), "@launch".to_owned(), setup]);
        }
        line.extend(self.prefix.iter().cloned());
        line.extend_from_slice(argv);
        let (program, rest) = line
            .split_first()
            .ok_or_else(|| DriverError::Harness("an empty command line".to_owned()))?;
        let mut command = if ask.as_suite {
            self.world.command_as_suite(program)
        } else {
            self.world.command(program)
        };
        command.args(rest).envs(self.env.iter().cloned()).envs(ask.env);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.current_dir(ask.folder.as_deref().unwrap_or(&self.workspace));
        if let Some(group) = ask.group.and_then(|group| i32::try_from(group).ok()) {
            command.process_group(group);
        }
        let mut input = Vec::new();
        match ask.stdin {
            Input::Null => {}
            Input::Bytes(bytes) => {
                command.stdin(Stdio::piped());
                input = bytes;
            }
            Input::Terminal { slave, .. } => {
                if ask.shown {
                    let copy = |slave: &OwnedFd| {
                        slave.try_clone().map_err(|error| DriverError::Harness(error.to_string()))
                    };
                    command.stdout(Stdio::from(copy(&slave)?)).stderr(Stdio::from(copy(&slave)?));
                }
                command.stdin(Stdio::from(slave));
            }
        }
        let begun = Instant::now();
        let (spawned, starter) = if ask.by_thread {
            let (spawned, starter) = Starter::start(command);
            (spawned, Some(starter))
        } else {
            (command.spawn(), None)
        };
        let mut child = spawned.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                DriverError::Unsupported(format!("program `{program}` on this machine"))
            }
            _ => DriverError::Harness(format!("{program}: {error}")),
        })?;
        if let Some(mut pipe) = child.stdin.take() {
            tokio::spawn(async move {
                // A launcher that does not read its input is what we hope for.
                let _ = pipe.write_all(&input).await;
            });
        }
        let pid = child.id().unwrap_or_default();
        let streams = [Stream::follow(child.stdout.take()), Stream::follow(child.stderr.take())];
        Ok(Launched { child, pid, starter, own_group: ask.group.is_none(), begun, streams })
    }
}

impl Confine for Launcher<'_> {
    fn run<'a>(
        &'a self,
        argv: &'a [String],
        limits: RunLimits,
    ) -> BoxFuture<'a, Result<Ran, DriverError>> {
        Box::pin(async move { Ok(self.start(argv, Ask::default())?.finish(limits).await.0) })
    }

    fn workspace(&self) -> &Path {
        &self.workspace
    }
}

/// A launch under way. Dropping it kills the launcher.
#[derive(Debug)]
pub struct Launched {
    child: Child,
    pid: u32,
    starter: Option<Starter>,
    own_group: bool,
    begun: Instant,
    streams: [Stream; 2],
}

impl Launched {
    /// What breaks this launch off, usable while it is being waited for.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        Breaker { pid: self.pid, starter: self.starter.clone() }
    }

    /// Waits for the launcher's end and its output. Says whether the output was still held open
    /// by somebody two seconds after its end.
    pub async fn finish(mut self, limits: RunLimits) -> (Ran, bool) {
        let waited = tokio::time::timeout(limits.time, self.child.wait()).await;
        let timed_out = waited.is_err();
        if timed_out {
            signal(self.pid, true, rustix::process::Signal::KILL);
            let _ = self.child.wait().await;
        }
        let mut held = false;
        for stream in &mut self.streams {
            held |= tokio::time::timeout(PIPE_GRACE, &mut stream.task).await.is_err();
        }
        let elapsed = self.begun.elapsed();
        if self.own_group {
            signal(self.pid, true, rustix::process::Signal::KILL);
        }
        let [stdout, stderr] = self.streams.each_ref().map(|stream| stream.bytes(limits.output));
        let code = waited.ok().and_then(Result::ok).as_ref().and_then(ExitStatus::code);
        (Ran { code, stdout, stderr, elapsed, timed_out }, held)
    }
}

/// The thread that started a launch and lives until it is told to end.
#[derive(Clone, Debug)]
struct Starter(Arc<Mutex<Option<Living>>>);

/// Dropping the sender is the message.
type Living = (std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>);

impl Starter {
    fn start(mut command: tokio::process::Command) -> (std::io::Result<Child>, Self) {
        let runtime = tokio::runtime::Handle::current();
        let (answer, spawned) = std::sync::mpsc::channel();
        let (end, told) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _context = runtime.enter();
            let _ = answer.send(command.spawn());
            // Ends by a message, or by the end of whoever could send one.
            let _ = told.recv();
        });
        let gone = |_| Err(std::io::Error::other("the starting thread ended early"));
        let spawned = spawned.recv().unwrap_or_else(gone);
        (spawned, Self(Arc::new(Mutex::new(Some((end, thread))))))
    }

    fn end(&self) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((end, thread)) = kept {
            drop(end);
            let _ = thread.join();
        }
    }
}

/// Breaks a launch off.
#[derive(Clone, Debug)]
pub struct Breaker {
    pid: u32,
    starter: Option<Starter>,
}

impl Breaker {
    /// Does it; `probe` is the probe's own process, where it was found.
    pub async fn interrupt(self, how: Interrupt, probe: Option<u32>) {
        match how {
            Interrupt::Kill => signal(self.pid, false, rustix::process::Signal::KILL),
            Interrupt::TimeOut => {
                signal(self.pid, true, rustix::process::Signal::TERM);
                tokio::time::sleep(Duration::from_millis(500)).await;
                signal(self.pid, true, rustix::process::Signal::KILL);
            }
            Interrupt::Monitor => {
                let monitor = probe.map_or(self.pid, |probe| child_towards(self.pid, probe));
                signal(monitor, false, rustix::process::Signal::KILL);
            }
            Interrupt::Thread => {
                if let Some(starter) = &self.starter {
                    starter.end();
                }
            }
        }
    }
}

/// The child of `launcher` that is an ancestor of `probe` and not the probe; the launcher itself
/// if there is none between.
fn child_towards(launcher: u32, probe: u32) -> u32 {
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let mut at = probe;
    // Deeper than any chain of helpers.
    for _ in 0..32 {
        match parent(at) {
            Some(above) if above == launcher => return if at == probe { launcher } else { at },
            Some(above) if above > 1 => at = above,
            _ => break,
        }
    }
    launcher
}

/// Bytes of a stream that are kept while more is drained.
const STREAM_LIMIT: usize = 80_000_000;

#[derive(Debug)]
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream {
    fn follow(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let task = tokio::spawn(async move {
            let Some(mut pipe) = pipe else { return };
            let mut buffer = vec![0_u8; 65_536];
            while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() < STREAM_LIMIT {
                    kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
                }
            }
        });
        Self { bytes, task }
    }

    fn bytes(&self, limit: usize) -> Vec<u8> {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.get(..limit).unwrap_or(&bytes).to_vec()
    }
}

fn signal(pid: u32, group: bool, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        // Gone already is fine.
        let _ = if group {
            rustix::process::kill_process_group(pid, signal)
        } else {
            rustix::process::kill_process(pid, signal)
        };
    }
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Whether a program is there: an absolute path, or a name on PATH.
fn found(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A perl line (no safe crate reaches keyrings) that joins a fresh session keyring, puts the key
/// into it, runs the rest of the command line, then reports what key was left in it.
fn with_keyring(keyring: &Keyring) -> [String; 8] {
    let (add, request, control) =
        if cfg!(target_arch = "x86_64") { (248, 249, 250) } else { (217, 218, 219) };
    let script = format!(
        r#"my ($name, $text, $left, $report, @line) = @ARGV; my $type = "user";
        syscall({control}, 1, 0) > 0 or die "join: $!\n";
        syscall({add}, $type, $name, $text, length $text, -3) > 0 or die "add: $!\n";
        my $status = system {{ $line[0] }} @line;
        my $id = syscall({request}, $type, $left, 0, 0);
        my $got = "\0" x 128; my $n = $id > 0 ? syscall({control}, 11, $id, $got, 128) : 0;
        open(my $f, ">", $report) or die "report: $!\n";
        print $f ($n > 0 ? substr($got, 0, $n) : "none"); close $f;
        exit($status >> 8);"#
    );
    [
        clawproof_probe::PERL.to_owned(),
        "-e".to_owned(),
        script,
        "--".to_owned(),
        keyring.name.clone(),
        keyring.content.clone(),
        keyring.left.clone(),
        keyring.report.to_string_lossy().into_owned(),
    ]
}
