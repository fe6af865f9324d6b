//! When work must stop: its time is over, it was cancelled, or its session ended. It must never
//! know the work.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::audit::Rejection;
use crate::requirement::{ERROR_DENY, REGISTRY_CALL_INTEGRITY};

const ENDED: &str = "the session was ended";
const CANCELLED: &str = "the turn was cancelled";
const OVER: &str = "the turn took too long";

/// What is said to the turns of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// The session ended.
    pub(super) ended: bool,
    /// How often its turns were cancelled; a turn began at some count and stops at the next.
    pub(super) cancelled: u64,
}

/// The reasons to stop.
#[derive(Clone, Debug)]
pub struct Stop {
    deadline: Instant,
    order: Option<(watch::Receiver<Order>, u64)>,
}

impl Stop {
    /// Stops when the time is over.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self { deadline: Instant::now() + time, order: None }
    }

    /// Stops also when the session ends, or from now on when its turns are cancelled.
    #[must_use]
    pub(super) fn or_when(mut self, order: watch::Receiver<Order>) -> Self {
        let begun = order.borrow().cancelled;
        self.order = Some((order, begun));
        self
    }

    /// Whether the work may go on as far as the session is asked.
    ///
    /// # Errors
    /// `registry.call-integrity` where it ended or its turn was cancelled.
    pub(super) fn in_force(&self) -> Result<(), Rejection> {
        let Some((order, begun)) = &self.order else { return Ok(()) };
        let now = *order.borrow();
        REGISTRY_CALL_INTEGRITY.check(!now.ended, ENDED, || "stopped by session.end".into())?;
        REGISTRY_CALL_INTEGRITY
            .check(now.cancelled == *begun, CANCELLED, || "stopped by session.cancel".into())
    }

    /// Runs `work` to its end, or drops it when it must stop.
    ///
    /// # Errors
    /// What the work fails with, or why it was stopped: `registry.call-integrity` where the
    /// session ended or the turn was cancelled, `error.deny` where the time was over.
    pub async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, Rejection>>,
    ) -> Result<T, Rejection> {
        let ordered = async {
            match self.order.clone() {
                Some((mut order, begun)) if REGISTRY_CALL_INTEGRITY.enforced() => {
                    let stops = |now: &Order| now.ended || now.cancelled != begun;
                    // An error means that nobody is left who could order anything.
                    if order.wait_for(stops).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ordered => {
                self.in_force()?;
                Err(REGISTRY_CALL_INTEGRITY.refuse(CANCELLED, "stopped"))
            }
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
    async fn work_stops_at_its_deadline_when_it_is_cancelled_and_when_its_session_ends() {
        let forever = std::future::pending::<Result<(), Rejection>>;
        let late = Stop::after(Duration::from_secs(5)).guard(forever()).await.unwrap_err();
        assert_eq!(late.requirement(), ERROR_DENY);

        for (order, words) in [
            (Order { ended: true, cancelled: 0 }, ENDED),
            (Order { ended: false, cancelled: 1 }, CANCELLED),
        ] {
            let orders = watch::Sender::new(Order::default());
            let stop = Stop::after(Duration::from_secs(5)).or_when(orders.subscribe());
            assert!(stop.in_force().is_ok());
            orders.send_replace(order);
            let stopped = stop.guard(forever()).await.unwrap_err();
            assert_eq!(stopped.requirement(), REGISTRY_CALL_INTEGRITY);
            assert_eq!(stopped.public(), words);
            assert!(stop.in_force().is_err());
        }
        assert!(Stop::after(Duration::from_secs(5)).guard(async { Ok(()) }).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_begins_after_a_cancel_is_not_stopped_by_it() {
        let orders = watch::Sender::new(Order { ended: false, cancelled: 3 });
        let stop = Stop::after(Duration::from_secs(5)).or_when(orders.subscribe());
        assert!(stop.guard(async { Ok(()) }).await.is_ok() && stop.in_force().is_ok());
    }
}
