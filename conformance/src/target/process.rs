//! Processes of a world: commands run to their end, servers kept, all of them ended by pid.
//! It must never signal a process that did not start in the world it is asked about.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::group::Group;

/// Bytes kept of the beginning of a stream.
const HEAD_LIMIT: usize = 4_000_000;
/// Bytes kept of its end.
const TAIL_LIMIT: usize = 64_000;

/// A stream's beginning and end; what lies between is counted and dropped.
#[derive(Debug, Default)]
struct Bounded {
    head: Vec<u8>,
    tail: Vec<u8>,
    total: u64,
}

impl Bounded {
    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = HEAD_LIMIT.saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        self.tail.extend_from_slice(rest);
        if self.tail.len() > 2 * TAIL_LIMIT {
            self.tail.drain(..self.tail.len() - TAIL_LIMIT);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), self.tail.as_slice()].concat()
    }
}

/// A captured stream of a running process.
#[derive(Clone, Debug, Default)]
pub struct Capture(Arc<Mutex<Bounded>>);

impl Capture {
    fn follow(&self, stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> Option<Reader> {
        let mut stream = stream?;
        let bounded = Arc::clone(&self.0);
        Some(Reader(tokio::spawn(async move {
            let mut buffer = vec![0_u8; 65_536];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                let bytes = buffer.get(..count).unwrap_or_default();
                bounded.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
            }
        })))
    }

    /// What is kept of it: the first 4 MB and the last 64 KB.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes()
    }

    /// How many bytes were written in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// The last lines, for an error message.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        let bytes = self.bytes();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
    }
}

/// A task that ends with its owner, so that a held pipe cannot keep it.
#[derive(Debug)]
struct Reader(tokio::task::JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A running process and its group. Dropping it kills both.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: u32,
    group: Group,
    /// Standard output.
    pub stdout: Capture,
    /// Standard error.
    pub stderr: Capture,
    readers: [Option<Reader>; 2],
}

impl Process {
    /// Starts a command made by [`super::world::World::command`], with captured output.
    ///
    /// # Errors
    /// The program could not be started.
    pub fn start(command: &mut Command) -> std::io::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdout, stderr) = (Capture::default(), Capture::default());
        let readers = [stdout.follow(child.stdout.take()), stderr.follow(child.stderr.take())];
        let pid = child.id().unwrap_or_default();
        let group = Group::of(&child);
        Ok(Self { child, pid, group, stdout, stderr, readers })
    }

    /// Starts a command with the standard streams that it was given: nothing is captured.
    ///
    /// # Errors
    /// The program could not be started.
    #[cfg(target_os = "linux")]
    pub fn detached(command: &mut Command) -> std::io::Result<Self> {
        let child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        let group = Group::of(&child);
        let (stdout, stderr) = (Capture::default(), Capture::default());
        Ok(Self { child, pid, group, stdout, stderr, readers: [None, None] })
    }

    /// Starts a command that is spoken to on its standard input and output; only its standard
    /// error is captured.
    ///
    /// # Errors
    /// The program could not be started.
    pub fn converse(command: &mut Command) -> std::io::Result<(Self, ChildStdin, ChildStdout)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let gone = || std::io::Error::other("a pipe of the process is missing");
        let input = child.stdin.take().ok_or_else(gone)?;
        let output = child.stdout.take().ok_or_else(gone)?;
        let (stdout, stderr) = (Capture::default(), Capture::default());
        let readers = [None, stderr.follow(child.stderr.take())];
        let pid = child.id().unwrap_or_default();
        let group = Group::of(&child);
        Ok((Self { child, pid, group, stdout, stderr, readers }, input, output))
    }

    /// Its process id, which is its group's id as well.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills the group and waits for the process.
    pub async fn kill(&mut self) {
        self.group.kill();
        let _ = self.child.start_kill();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await;
    }

    /// Kills the process alone, not its group, and waits for it.
    pub async fn kill_alone(&mut self) {
        let _ = self.child.start_kill();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await;
    }

    /// Asks it to end (SIGTERM), kills it after `grace`; says how it ended.
    pub async fn stop(&mut self, grace: Duration) -> Option<ExitStatus> {
        self.group.terminate();
        let waited = tokio::time::timeout(grace, self.child.wait()).await;
        let status = waited.ok().and_then(Result::ok);
        self.kill().await;
        status
    }

    /// Waits for its end, at most so long; says how it ended.
    pub async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        tokio::time::timeout(limit, self.child.wait()).await.ok()?.ok()
    }

    async fn finish(&mut self) -> Option<ExitStatus> {
        let status = self.child.wait().await.ok();
        for reader in self.readers.iter_mut().flatten() {
            // A grandchild may hold the pipe: what it writes later is not this command's output.
            let _ = tokio::time::timeout(Duration::from_millis(500), &mut reader.0).await;
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.group.kill();
        }
    }
}

/// A proxy that nobody is: the discard port.
const NOWHERE: &str = "http://127.0.0.1:9";

/// Points the proxies of what others published to a port where nobody listens: what it would say to
/// the world at large meets a closed door, and the suite's model does not.
pub(crate) fn nowhere(command: &mut Command) {
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"] {
        command.env(name, NOWHERE);
    }
    command.env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
}

/// What a command that ran to its end left.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit status; `None` when it had to be killed or died of a signal.
    pub code: Option<i32>,
    /// Standard output (bounded).
    pub stdout: Vec<u8>,
    /// Standard error (bounded).
    pub stderr: Vec<u8>,
    /// Wall time.
    pub elapsed: Duration,
    /// Whether the time limit ended it.
    pub timed_out: bool,
}

/// Runs a command to its end or its time limit; the whole group is killed then.
///
/// # Errors
/// The program could not be started.
pub async fn run(
    command: &mut Command,
    stdin: Option<&[u8]>,
    limit: Duration,
) -> std::io::Result<Ended> {
    let begun = Instant::now();
    if stdin.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut process = Process::start(command)?;
    let input = process.child.stdin.take();
    let work = async {
        if let (Some(mut pipe), Some(bytes)) = (input, stdin) {
            // A command that does not read its input is no error of ours.
            let _ = pipe.write_all(bytes).await;
        }
        process.finish().await
    };
    let status = tokio::time::timeout(limit, work).await;
    let timed_out = status.is_err();
    process.group.kill();
    Ok(Ended {
        code: status.ok().flatten().and_then(|status| status.code()),
        stdout: process.stdout.bytes(),
        stderr: process.stderr.bytes(),
        elapsed: begun.elapsed(),
        timed_out,
    })
}

/// The live processes whose folder, program, arguments or environment name this world (Linux;
/// elsewhere none are found). Zombies are left out.
#[must_use]
pub fn processes_of(root: &Path) -> Vec<u32> {
    let needle = root.as_os_str().as_encoded_bytes();
    let own = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let folder = Path::new("/proc").join(pid.to_string());
            let linked = ["cwd", "exe", "root"].into_iter().any(|name| {
                std::fs::read_link(folder.join(name)).is_ok_and(|path| path.starts_with(root))
            });
            linked
                || ["cmdline", "environ"].into_iter().any(|name| {
                    std::fs::read(folder.join(name)).is_ok_and(|bytes| contains(&bytes, needle))
                })
        })
        .collect()
}

/// Kills what still lives in a world; says how many processes there were.
pub fn sweep(root: &Path) -> usize {
    let found = processes_of(root);
    #[cfg(unix)]
    for pid in &found {
        let pid = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    found.len()
}

/// Whether `needle` stands in `bytes`.
#[must_use]
pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && memchr::memmem::find(bytes, needle).is_some()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::target::world::World;

    #[tokio::test]
    async fn a_command_that_floods_and_hangs_ends_in_time_with_bounded_output() {
        let world = World::new().unwrap();
        let mut command = world.command("/bin/sh");
        command.args(["-c", "head -c 9000000 /dev/zero; echo end >&2; sleep 60"]);
        let ended = run(&mut command, None, Duration::from_millis(1500)).await.unwrap();
        assert!(ended.timed_out);
        assert!(ended.stdout.len() <= HEAD_LIMIT + 2 * TAIL_LIMIT + 65_536);
        assert_eq!(ended.stderr, b"end\n");
    }

    #[tokio::test]
    async fn a_process_that_left_its_group_is_swept() {
        let world = World::new().unwrap();
        let mut command = world.command("/bin/sh");
        command.args(["-c", "setsid sleep 60 >/dev/null 2>&1 </dev/null & sleep 0.4"]);
        run(&mut command, None, Duration::from_secs(5)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(processes_of(world.root()).len(), 1);
        assert_eq!(sweep(world.root()), 1);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(processes_of(world.root()).is_empty());
    }

    #[tokio::test]
    async fn standard_input_arrives() {
        let world = World::new().unwrap();
        let mut command = world.command("/bin/cat");
        let ended = run(&mut command, Some(b"abc"), Duration::from_secs(5)).await.unwrap();
        assert_eq!((ended.code, ended.stdout.as_slice()), (Some(0), b"abc".as_slice()));
    }
}
