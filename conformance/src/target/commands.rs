//! The commands of a manifest as processes: filled in, run to their end, or started and waited for. It
//! must never know what becomes of the target afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::command_line::Command;
use super::manifest::Manifest;
use super::process::{self, Ended, Process};
use super::start_error::StartError;
use super::template::Vars;
use super::world::World;

/// How long a command of a manifest may take: key derivations are slow in debug builds.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// What stands around a server's own command line.
#[derive(Clone, Debug)]
pub(super) struct Around {
    pub(super) env: BTreeMap<String, String>,
    pub(super) wrap: Vec<String>,
}

/// A command of the manifest with its variables filled in; the knockout's arguments stand behind
/// the program where the program is the target itself, and `wrap` before it.
pub(super) fn build(
    manifest: &Manifest,
    knockout: Option<&str>,
    world: &World,
    vars: &Vars,
    command: &Command,
    wrap: &[String],
) -> Result<tokio::process::Command, StartError> {
    let program = command
        .argv
        .first()
        .ok_or_else(|| StartError::Manifest("a command of the manifest is empty".to_owned()))?;
    let own = vars.fill_text(program)?;
    let mut built = match wrap.split_first() {
        None => world.command(own),
        Some((wrapper, before)) => {
            let mut built = world.command(wrapper);
            built.args(before).arg(own);
            built
        }
    };
    for (place, argument) in command.argv.iter().enumerate() {
        if place > 0 {
            built.arg(vars.fill_text(argument)?);
        }
        // The target's program may stand behind another one that sets its stage.
        if knockout.is_some() && argument == "${BIN}" {
            for argument in &manifest.knockout {
                built.arg(vars.fill_text(argument)?);
            }
        }
    }
    if manifest.subject.is_some() {
        process::nowhere(&mut built);
    }
    for (name, value) in &command.env {
        built.env(name, vars.fill_text(value)?);
    }
    Ok(built)
}

/// Runs a command to its end, or to the end of its time.
pub(super) async fn run_command(
    manifest: &Manifest,
    knockout: Option<&str>,
    world: &World,
    vars: &Vars,
    command: &Command,
) -> Result<Ended, StartError> {
    let mut built = build(manifest, knockout, world, vars, command, &[])?;
    let stdin = command.stdin.as_deref().map(|text| vars.fill(text)).transpose()?;
    process::run(&mut built, stdin.as_deref(), COMMAND_LIMIT)
        .await
        .map_err(|error| StartError::Target(format!("cannot run {}: {error}", line(command))))
}

/// A command that must succeed did.
pub(super) fn expect_success(command: &Command, ended: &Ended) -> Result<(), StartError> {
    if ended.code == Some(0) {
        return Ok(());
    }
    let how = match ended.code {
        _ if ended.timed_out => "did not end in time".to_owned(),
        Some(code) => format!("ended with status {code}"),
        None => "was killed by a signal".to_owned(),
    };
    let words = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    Err(StartError::Target(format!("`{}` {how}: {words}", line(command))))
}

/// The command line, for people.
pub(super) fn line(command: &Command) -> String {
    command.argv.join(" ")
}

/// Starts the server and waits until it listens.
pub(super) async fn begin(
    manifest: &Manifest,
    knockout: Option<&str>,
    world: &World,
    vars: &Vars,
    around: &Around,
    address: SocketAddr,
) -> Result<Process, StartError> {
    let start = manifest.start.as_ref();
    let start = start.ok_or_else(|| StartError::Unsupported("[start]".to_owned()))?;
    let mut built = build(manifest, knockout, world, vars, start, &around.wrap)?;
    built.envs(&around.env);
    let mut process = Process::start(&mut built)
        .map_err(|error| StartError::Target(format!("cannot run {}: {error}", line(start))))?;
    let begun = Instant::now();
    let limit = Duration::from_secs(manifest.ready_seconds);
    while begun.elapsed() < limit {
        if let Some(status) = process.ended() {
            // Its last words may still be in the pipe.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let words = process.stderr.last_lines(4);
            return Err(StartError::Target(format!(
                "the target ended at once ({status}): {words}"
            )));
        }
        if TcpStream::connect(address).await.is_ok() {
            return Ok(process);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let words = process.stderr.last_lines(4);
    let seconds = manifest.ready_seconds;
    Err(StartError::Target(format!("the target did not listen within {seconds} s: {words}")))
}
