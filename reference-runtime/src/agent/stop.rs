//! When work must stop: its time is over or its session ended. It must never know the work.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::audit::Rejection;
use crate::requirement::{ERROR_DENY, REGISTRY_CALL_INTEGRITY};

const ENDED: &str = "the session was ended";
const OVER: &str = "the turn took too long";

/// The two reasons to stop.
#[derive(Clone, Debug)]
pub struct Stop {
    deadline: Instant,
    ended: Option<watch::Receiver<bool>>,
}

impl Stop {
    /// Stops when the time is over.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self { deadline: Instant::now() + time, ended: None }
    }

    /// Stops also when the session ends.
    #[must_use]
    pub(super) fn or_when(mut self, ended: watch::Receiver<bool>) -> Self {
        self.ended = Some(ended);
        self
    }

    /// Runs `work` to its end, or drops it when it must stop.
    ///
    /// # Errors
    /// What the work fails with, or why it was stopped: `registry.call-integrity` where the
    /// session ended, `error.deny` where the time was over.
    pub async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, Rejection>>,
    ) -> Result<T, Rejection> {
        let ended = async {
            match self.ended.clone() {
                Some(mut ended) if REGISTRY_CALL_INTEGRITY.enforced() => {
                    // An error means that nobody is left who could end the session.
                    if ended.wait_for(|ended| *ended).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ended => Err(REGISTRY_CALL_INTEGRITY.refuse(ENDED, "stopped by session.end")),
            () = tokio::time::sleep_until(self.deadline) => {
                Err(ERROR_DENY.refuse(OVER, "stopped by agent.timeoutSeconds"))
            }
            result = work => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_stops_at_its_deadline_and_when_its_session_ends() {
        let forever = std::future::pending::<Result<(), Rejection>>;
        let late = Stop::after(Duration::from_secs(5)).guard(forever()).await.unwrap_err();
        assert_eq!(late.requirement(), ERROR_DENY);

        let ended = watch::Sender::new(false);
        let stop = Stop::after(Duration::from_secs(5)).or_when(ended.subscribe());
        ended.send_replace(true);
        assert_eq!(stop.guard(forever()).await.unwrap_err().requirement(), REGISTRY_CALL_INTEGRITY);
        assert!(Stop::after(Duration::from_secs(5)).guard(async { Ok(()) }).await.is_ok());
    }
}
