//! The probe binary's helper roles (`@name`): the children of a probe, the canary processes of the
//! suite, and the careless launch. It must never know which probe or target it serves.

use std::ffi::OsString;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use crate::{Params, reversed, step};

/// How long a process waits to be looked at before it goes on by itself.
const PATIENCE: Duration = Duration::from_secs(8);

/// Runs the helper role of that name.
pub(crate) fn run(name: &str, arguments: &[String]) -> ExitCode {
    let text = |index: usize| arguments.get(index).map_or("", String::as_str);
    let result = match name {
        "twin" => copy_reversed(Path::new(text(0)), Path::new(text(1))),
        "hold" => wait_for(Path::new(text(0)), PATIENCE),
        "memory" => memory(Path::new(text(0)), text(1)),
        "heartbeat" => heartbeat(Path::new(text(0))),
        "linger" => linger(),
        "abort" => std::process::abort(),
        "neighbour" => neighbour(),
        "queue" => crate::ipc::queue(text(0), text(1)),
        "launch" => crate::launch::run(text(0), arguments.get(1..).unwrap_or_default()),
        "exchange" => crate::traps::exchange(Path::new(text(0)), Path::new(text(1))),
        "overwrite" => crate::traps::overwrite(text(0), text(1)),
        "watches" => crate::resources::watches(Path::new(text(0))),
        _ => Err(io::Error::other("no such helper")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("@{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// This program again, in a helper role.
pub(crate) fn again(name: &str) -> Command {
    let program = std::env::args_os().next().unwrap_or_else(|| OsString::from("clawproof-probe"));
    let mut command = program_of(program);
    command.arg(format!("@{name}"));
    command
}

/// A command; every process of the probe is started here.
pub(crate) fn program_of(program: impl AsRef<std::ffi::OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a probe's action is to start processes")]
    Command::new(program)
}

/// Perl with a script and arguments, or `Unsupported` where the sandbox shows no perl.
pub(crate) fn perl(script: &str, arguments: &[&str]) -> io::Result<Command> {
    if !Path::new(crate::PERL).exists() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "no perl is shown here"));
    }
    let mut command = program_of(crate::PERL);
    command.arg("-e").arg(script).arg("--").args(arguments);
    Ok(command)
}

/// Runs it and passes on what it printed; a failing exit is an error with its last words.
pub(crate) fn finish(mut command: Command) -> io::Result<String> {
    let output = command.output()?;
    io::stdout().write_all(&output.stdout)?;
    if output.status.success() {
        Ok("it ended well".into())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// The allowed counterpart: start a process in the sandbox that reads and writes the workspace.
pub(crate) fn twin(params: &Params) -> io::Result<()> {
    let status = again("twin")
        .arg(step::of(params, step::twin_in))
        .arg(step::of(params, step::twin_out))
        .stdin(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

fn copy_reversed(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::write(to, reversed(&std::fs::read_to_string(from)?))
}

/// Says "in position" and waits until the suite has looked.
pub(crate) fn hold(params: &Params) -> io::Result<()> {
    std::fs::write(step::of(params, step::hold), b"")?;
    wait_for(&step::of(params, step::release), PATIENCE)
}

fn wait_for(path: &Path, patience: Duration) -> io::Result<()> {
    let begin = Instant::now();
    while !path.exists() && begin.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A child that waits for the release and dies with its parent; the token stands in its arguments.
pub(crate) fn held_child(params: &Params) -> Command {
    let mut command = again("hold");
    command.arg(step::of(params, step::release)).stdin(Stdio::null());
    command
}

/// Takes memory, says so with one byte, and waits for the release.
fn memory(release: &Path, bytes: &str) -> io::Result<()> {
    let block = touched(bytes.parse().unwrap_or(0))?;
    io::stdout().write_all(b".")?;
    io::stdout().flush()?;
    wait_for(release, PATIENCE)?;
    drop(block);
    Ok(())
}

/// Memory that is really there: every byte written.
pub(crate) fn touched(bytes: u64) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    let mut block = Vec::new();
    block.try_reserve_exact(bytes).map_err(io::Error::other)?;
    block.resize(bytes, 1);
    Ok(block)
}

/// How long a heart beats at most. An agent may take as long until its turn has ended and somebody
/// looks; what beats then is ended by the suite.
const LIFE: Duration = Duration::from_secs(60);

/// A process that leaves its session and its parent and shows that it lives.
pub(crate) fn leave_heartbeat(params: &Params) -> io::Result<()> {
    again("heartbeat")
        .arg(step::of(params, step::heartbeat))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let begin = Instant::now();
    while !step::of(params, step::heartbeat).exists() && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn heartbeat(path: &Path) -> io::Result<()> {
    let _ = rustix::process::setsid();
    let begin = Instant::now();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    while begin.elapsed() < LIFE {
        file.write_all(b".")?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Keeps the inherited standard output open, for eight seconds.
fn linger() -> io::Result<()> {
    let _ = rustix::process::setsid();
    std::thread::sleep(PATIENCE);
    Ok(())
}

/// A canary process of the host: keeps a secret in memory, signals pending, and ends with its
/// standard input. The first line of input is the secret; its address is printed.
fn neighbour() -> io::Result<()> {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGURG);
    blocked.add(Signal::SIGWINCH);
    blocked.thread_block()?;
    let mut input = io::stdin().lock();
    let mut secret = String::new();
    input.read_line(&mut secret)?;
    let secret = secret.trim_end().as_bytes().to_vec();
    println!("{} {}", secret.as_ptr().addr(), secret.len());
    io::stdout().flush()?;
    io::copy(&mut input.by_ref(), &mut io::sink())?;
    std::hint::black_box(&secret);
    Ok(())
}
