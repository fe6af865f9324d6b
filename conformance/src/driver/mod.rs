//! Room: driver. How a target's surfaces are reached. A driver carries bytes there and back;
//! it must never know what is expected of the answer.

pub mod acp;
pub mod adapter;
mod events;
pub mod http;
#[cfg(target_os = "linux")]
pub mod launcher;
pub mod lines;
pub mod oneshot;
pub mod pairing;
pub mod process;
pub mod rpc;
mod toolloop;
mod turn;
pub mod way;
pub mod web;
pub mod websocket;

use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::target::command_line::Command;
use crate::target::process::nowhere;
use crate::target::template::Vars;
use crate::target::world::World;

/// Why a driver brought nothing back.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The target refused to run it, in its own words; nothing ran.
    #[error("the target refused: {0}")]
    Refused(String),
    /// The manifest does not say how this is done on this target.
    #[error("the manifest has no {0}")]
    Unsupported(String),
    /// No answer in time, in milliseconds.
    #[error("no answer within {0} ms")]
    Timeout(u64),
    /// The target's process was gone, or closed the connection without an answer.
    #[error("the target gave no answer: {0}")]
    Died(String),
    /// The suite's own side failed; says nothing about the target.
    #[error("the suite failed: {0}")]
    Harness(String),
}

/// How long one confined run may take and how much of its output is kept.
#[derive(Clone, Copy, Debug)]
pub struct RunLimits {
    /// Wall time, after which the driver gives up (and, where it can, kills what it started).
    pub time: Duration,
    /// Bytes kept of standard output, and again of standard error.
    pub output: usize,
}

impl Default for RunLimits {
    /// Ten seconds; 1 MB of each stream.
    fn default() -> Self {
        Self { time: Duration::from_secs(10), output: 1_000_000 }
    }
}

/// What came back of one confined run. None of it is believed about *effects*: sensors decide.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// The exit status, where the driver can see it; `None` through a chat surface.
    pub code: Option<i32>,
    /// Standard output. Through a chat surface: the whole text of the tool result as the model
    /// received it, unescaped once if it was JSON with an output field, so that marker lines
    /// which the action printed stand in it.
    pub stdout: Vec<u8>,
    /// Standard error; empty through a chat surface.
    pub stderr: Vec<u8>,
    /// Wall time of the run as seen from outside.
    pub elapsed: Duration,
    /// Whether the driver had to end it.
    pub timed_out: bool,
}

/// A way to run a command line inside the target's sandbox.
pub trait Confine: Send + Sync {
    /// Runs `argv` in the sandbox; `argv[0]` is an absolute path that the sandbox shows.
    ///
    /// # Errors
    /// See [`DriverError`]; `Refused` where the target says that it will not run it.
    fn run<'a>(
        &'a self,
        argv: &'a [String],
        limits: RunLimits,
    ) -> BoxFuture<'a, Result<Ran, DriverError>>;

    /// The workspace, as the host sees it.
    fn workspace(&self) -> &Path;
}

/// The header of a [`http::Reply`] by which a driver says that the target asked for leave, and what
/// it was told.
pub const APPROVAL: &str = "x-approval-asked";

/// A way to hand user messages to a target that has no HTTP calls of its own.
pub trait Converse: std::fmt::Debug + Send + Sync {
    /// Hands over one message of a conversation, which begins with its first message, and waits for
    /// the answer: status 200 where the target took it, 4xx where it refused, 500 where it failed;
    /// the body is what it said.
    ///
    /// # Errors
    /// See [`DriverError`].
    fn message<'a>(
        &'a self,
        session: &'a str,
        text: &'a [u8],
    ) -> BoxFuture<'a, Result<http::Reply, DriverError>>;

    /// Whether what it speaks to has not ended. A target that has no process between two messages,
    /// or that the first message starts, lives.
    fn alive(&self) -> BoxFuture<'_, bool>;
}

/// A command line of a manifest, filled in, to be run as the target's uid. Its proxies lead nowhere.
fn command(
    world: &World,
    vars: &Vars,
    line: &Command,
) -> Result<tokio::process::Command, DriverError> {
    let fill = |text: &String| {
        vars.fill_text(text).map_err(|error| DriverError::Harness(format!("manifest: {error}")))
    };
    let mut argv = line.argv.iter().map(fill);
    let empty = || DriverError::Harness("manifest: argv is empty".to_owned());
    let mut command = world.command(argv.next().ok_or_else(empty)??);
    for argument in argv {
        command.arg(argument?);
    }
    nowhere(&mut command);
    for (name, value) in &line.env {
        command.env(name, fill(value)?);
    }
    Ok(command)
}

/// The beginning of bytes as one printable line, for evidence: control characters, bidi controls
/// and malformed UTF-8 are escaped, at most `limit` characters are kept.
#[must_use]
pub fn excerpt(bytes: &[u8], limit: usize) -> String {
    let kept = bytes.get(..bytes.len().min(limit * 4)).unwrap_or_default();
    let mut line = String::new();
    for (count, character) in String::from_utf8_lossy(kept).chars().enumerate() {
        if count >= limit {
            break;
        }
        match character {
            ' '..='~' => line.push(character),
            _ if character.is_alphanumeric() => line.push(character),
            _ => line.extend(character.escape_default()),
        }
    }
    if bytes.len() > kept.len() || String::from_utf8_lossy(kept).chars().count() > limit {
        line.push_str(&format!("... ({} bytes)", bytes.len()));
    }
    line
}
