//! Lines of JSON over the standard streams of a process that the suite starts: bounded in length,
//! number and time, whatever the other side does. It must never know what a line means.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::excerpt;
use crate::target::process::Process;

/// The longest line that is read, in bytes with its line end.
pub const LINE_LIMIT: usize = 4_000_000;

/// Why a conversation of lines cannot go on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LineError {
    /// The other side closed its output or ended.
    #[error("it closed its output{0}")]
    Closed(String),
    /// A line is longer than [`LINE_LIMIT`].
    #[error("a line is longer than {LINE_LIMIT} bytes: {0}")]
    TooLong(String),
    /// A line is no JSON object, in one sentence.
    #[error("a line is no JSON object ({0})")]
    NotJson(String),
    /// Nothing came, or what was sent was not taken, in time; in milliseconds.
    #[error("nothing came within {0} ms")]
    Timeout(u64),
}

/// A process that is spoken to in lines. Dropping it kills its process group.
#[derive(Debug)]
pub struct Lines {
    process: Process,
    /// Closed by [`Lines::close`].
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Lines {
    /// Starts a command that speaks in lines.
    ///
    /// # Errors
    /// The program could not be started.
    pub fn start(command: &mut Command) -> std::io::Result<Self> {
        let (process, input, output) = Process::converse(command)?;
        Ok(Self { process, input: Some(input), output: BufReader::new(output) })
    }

    /// Writes bytes as they are, and a line end behind them.
    ///
    /// # Errors
    /// `Closed` where the other side does not read any more, `Timeout` where it does not take them.
    pub async fn send(&mut self, bytes: &[u8], limit: Duration) -> Result<(), LineError> {
        let Some(input) = self.input.as_mut() else {
            return Err(LineError::Closed(String::new()));
        };
        let write = async {
            input.write_all(bytes).await?;
            input.write_all(b"\n").await?;
            input.flush().await
        };
        match tokio::time::timeout(limit, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.closed().await),
            Err(_) => Err(LineError::Timeout(milliseconds(limit))),
        }
    }

    /// Reads the next line that is not empty, as a JSON object.
    ///
    /// # Errors
    /// See [`LineError`].
    pub async fn next(&mut self, limit: Duration) -> Result<Value, LineError> {
        let read = async {
            loop {
                let mut line = Vec::new();
                let bound = u64::try_from(LINE_LIMIT + 1).unwrap_or(u64::MAX);
                let mut bounded = (&mut self.output).take(bound);
                let count = bounded.read_until(b'\n', &mut line).await.unwrap_or(0);
                if count == 0 {
                    return None;
                }
                if line.len() > LINE_LIMIT {
                    return Some(Err(LineError::TooLong(excerpt(&line, 80))));
                }
                if !line.trim_ascii().is_empty() {
                    return Some(object(&line));
                }
            }
        };
        match tokio::time::timeout(limit, read).await {
            Ok(Some(line)) => line,
            Ok(None) => Err(self.closed().await),
            Err(_) => Err(LineError::Timeout(milliseconds(limit))),
        }
    }

    /// Closes its standard input.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// Waits for its end, at most so long: its status, or none where it still runs.
    pub async fn ended(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        self.process.wait(limit).await
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// The last lines of its standard error.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.process.stderr.last_lines(3)
    }

    /// That it is closed, with how it ended and its last words where there are any.
    async fn closed(&mut self) -> LineError {
        let status = self.process.wait(Duration::from_millis(500)).await;
        let mut words = status.map(|status| format!(" and ended ({status})")).unwrap_or_default();
        let last = self.last_words();
        if !last.is_empty() {
            words.push_str(&format!("; its last words: {}", excerpt(last.as_bytes(), 300)));
        }
        LineError::Closed(words)
    }
}

fn object(line: &[u8]) -> Result<Value, LineError> {
    match serde_json::from_slice(line) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(LineError::NotJson(excerpt(line, 80))),
        Err(error) => Err(LineError::NotJson(format!("{error}: {}", excerpt(line, 80)))),
    }
}

pub(super) fn milliseconds(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}
