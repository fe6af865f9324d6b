//! The configuration in force, and its change while the process runs: recorded first, then taken
//! over. It must never take over a change that could not be recorded, nor half of one.

use std::sync::{Arc, PoisonError};

use serde_json::Value;

use super::Gateway;
use crate::audit::{Correlation, Event, Kind, Outcome, Rejection};
use crate::config::{Adopted, Config};

impl Gateway {
    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what of a configuration can be.
    ///
    /// # Errors
    /// Where its tools do not exist, or the change cannot be recorded; nothing changes then.
    pub(super) async fn adopt(
        &self,
        wanted: Config,
        subject: &str,
        action: &str,
        correlation: Correlation,
    ) -> Result<Adopted, Rejection> {
        let _alone = self.changing.lock().await;
        let adopted = self.config().adopt(wanted);
        if adopted.changed.is_empty() && adopted.waiting.is_empty() {
            return Ok(adopted);
        }
        let registry = self.agent.registry(&adopted.config)?;
        let shown = |value: Result<Value, serde_json::Error>| value.unwrap_or_default();
        let event = Event::new(Kind::Config, Outcome::Completed, subject, action, correlation)
            .with("changed", shown(serde_json::to_value(&adopted.changed)))
            .with("atNextStart", shown(serde_json::to_value(&adopted.waiting)));
        self.agent.audit().record(event).await?;
        self.agent.reconfigure(registry, &adopted.config);
        self.rates.set(&adopted.config.rates);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(adopted.config.clone());
        Ok(adopted)
    }

    /// Takes over a file that was read again; gives how many settings changed.
    ///
    /// # Errors
    /// Why it could not be read or taken over, which is recorded.
    pub async fn reload(&self, read: Result<Config, Rejection>) -> Result<usize, Rejection> {
        let (subject, action) = ("operator", "reload");
        let refused = match read {
            Ok(wanted) => match self.adopt(wanted, subject, action, Correlation::new()).await {
                Ok(adopted) => return Ok(adopted.changed.len()),
                Err(rejection) => rejection,
            },
            Err(rejection) => rejection,
        };
        let correlation = refused.correlation().clone();
        let event = Event::new(Kind::Config, Outcome::Failed, subject, action, correlation)
            .refused_by(refused.requirement())
            .with("cause", refused.cause());
        self.agent.audit().record(event).await?;
        Err(refused)
    }
}
