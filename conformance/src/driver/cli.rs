//! Reaches a one-shot agent: one process for each user message, which asks the suite's model and
//! ends when it has answered. It must never know what is expected of the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::target::instance::Instance;
use crate::target::manifest::{Command, Manifest};
use crate::target::process;
use crate::target::template::Vars;
use crate::target::world::{World, random_hex};

use super::DriverError;
use super::http::Reply;

/// How long one message may take: such programs start an interpreter and read their configuration.
const MESSAGE_LIMIT: Duration = Duration::from_secs(60);

/// A proxy that nobody is: the discard port.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A way to a one-shot agent in its world.
#[derive(Clone, Debug)]
pub struct Cli {
    manifest: Arc<Manifest>,
    world: Arc<World>,
    vars: Vars,
}

impl Cli {
    /// The way to this instance; none where its manifest names no `[message]` command.
    #[must_use]
    pub fn of(instance: &Instance) -> Option<Self> {
        let manifest = Arc::clone(instance.manifest());
        manifest.message.as_ref()?;
        Some(Self { world: Arc::clone(instance.world()), vars: instance.vars().clone(), manifest })
    }

    /// A name for a conversation that has not begun.
    #[must_use]
    pub fn session(&self) -> String {
        random_hex(8)
    }

    /// Hands one user message to a process of its own and waits for its end. The answer's body is
    /// its standard output (and error, behind it); its status is 200 where it ended with success,
    /// else 500.
    ///
    /// # Errors
    /// `Unsupported` for a text that no argument can hold, `Timeout`, `Harness` where it could not
    /// be started.
    pub async fn message(&self, session: &str, text: &[u8]) -> Result<Reply, DriverError> {
        let none = || DriverError::Unsupported("[message]".to_owned());
        let message = self.manifest.message.as_ref().ok_or_else(none)?;
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(DriverError::Unsupported(
                "way to hand over a text that is not UTF-8".to_owned(),
            ));
        };
        if text.contains('\0') {
            return Err(DriverError::Unsupported(
                "way to hand over a null byte: an argument cannot hold one".to_owned(),
            ));
        }
        let mut vars = self.vars.clone();
        vars.set("MESSAGE", text).set("SESSION", session);
        let mut command = self.build(message, &vars)?;
        let stdin = message.stdin.as_deref().map(|text| vars.fill(text)).transpose();
        let stdin = stdin.map_err(|error| DriverError::Harness(format!("message: {error}")))?;
        let begun = Instant::now();
        let ended =
            process::run(&mut command, stdin.as_deref(), MESSAGE_LIMIT).await.map_err(|error| {
                DriverError::Harness(format!("{}: {error}", message.argv.join(" ")))
            })?;
        if ended.timed_out {
            let limit = u64::try_from(MESSAGE_LIMIT.as_millis()).unwrap_or(u64::MAX);
            return Err(DriverError::Timeout(limit));
        }
        let status = if ended.code == Some(0) { 200 } else { 500 };
        let body = [ended.stdout, ended.stderr].concat();
        Ok(Reply { status, headers: Vec::new(), body, elapsed: begun.elapsed() })
    }

    fn build(&self, line: &Command, vars: &Vars) -> Result<tokio::process::Command, DriverError> {
        let fill = |text: &String| {
            vars.fill_text(text).map_err(|error| DriverError::Harness(format!("message: {error}")))
        };
        let mut argv = line.argv.iter().map(fill);
        let empty = || DriverError::Harness("message: argv is empty".to_owned());
        let mut command = self.world.command(argv.next().ok_or_else(empty)??);
        for argument in argv {
            command.arg(argument?);
        }
        // What it would say to the world at large meets a closed door; the suite's model does not.
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"] {
            command.env(name, NOWHERE);
        }
        command.env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
        for (name, value) in &line.env {
            command.env(name, fill(value)?);
        }
        Ok(command)
    }
}
