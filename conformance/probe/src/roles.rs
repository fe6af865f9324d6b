//! The probe binary's helper roles (`@name`): the children of a probe, the canary processes of the
//! suite, and the careless launch. It must never know which probe or target it serves.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use crate::helper::{PATIENCE, touched, wait_for};
use crate::{ended, reversed};

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
    ended(name, result)
}

fn copy_reversed(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::write(to, reversed(&std::fs::read_to_string(from)?))
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

/// How long a heart beats at most. An agent may take as long until its turn has ended and somebody
/// looks; what beats then is ended by the suite.
const LIFE: Duration = Duration::from_secs(60);

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
