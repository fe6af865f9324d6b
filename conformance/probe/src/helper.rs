//! The toolbox of a probe: this program again in a helper role, other programs, the stand in
//! position. It must never know what a role does or which probe it serves.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Params, step};

/// How long a process waits to be looked at before it goes on by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

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

/// Says "in position" and waits until the suite has looked.
pub(crate) fn hold(params: &Params) -> io::Result<()> {
    std::fs::write(step::of(params, step::hold), b"")?;
    wait_for(&step::of(params, step::release), PATIENCE)
}

/// Waits until a file is there, or so long.
pub(crate) fn wait_for(path: &Path, patience: Duration) -> io::Result<()> {
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

/// Memory that is really there: every byte written.
pub(crate) fn touched(bytes: u64) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    let mut block = Vec::new();
    block.try_reserve_exact(bytes).map_err(io::Error::other)?;
    block.resize(bytes, 1);
    Ok(block)
}

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
