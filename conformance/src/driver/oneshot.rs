//! Reaches a one-shot agent: one process for each user message, which asks the suite's model and
//! ends when it has answered. It must never know what is expected of the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::target::instance::Instance;
use crate::target::manifest::Manifest;
use crate::target::process;
use crate::target::template::Vars;
use crate::target::world::World;

use super::http::Reply;
use super::{Converse, DriverError, command};

/// How long one message may take: such programs start an interpreter and read their configuration.
const MESSAGE_LIMIT: Duration = Duration::from_secs(120);

/// A way to a one-shot agent in its world.
#[derive(Debug)]
pub struct OneShot {
    manifest: Arc<Manifest>,
    world: Arc<World>,
    vars: Vars,
}

impl OneShot {
    /// The way to this instance; none where its manifest names no `[message]` command.
    #[must_use]
    pub fn of(instance: &Instance) -> Option<Self> {
        let manifest = Arc::clone(instance.manifest());
        manifest.message.as_ref()?;
        Some(Self { world: Arc::clone(instance.world()), vars: instance.vars().clone(), manifest })
    }

    /// Hands one user message to a process of its own and waits for its end. The answer's body is
    /// its standard output (and error, behind it); its status is 200 where it ended with success,
    /// else 500.
    ///
    /// # Errors
    /// `Unsupported` for a text that no argument can hold, `Timeout`, `Harness` where it could not
    /// be started.
    async fn ask(&self, session: &str, text: &[u8]) -> Result<Reply, DriverError> {
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
        let mut command = command(&self.world, &vars, message)?;
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
}

impl Converse for OneShot {
    fn message<'a>(
        &'a self,
        session: &'a str,
        text: &'a [u8],
    ) -> BoxFuture<'a, Result<Reply, DriverError>> {
        Box::pin(self.ask(session, text))
    }

    fn alive(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}
