//! Timers for connections that are moved with each request and almost never ring: one is moved
//! without the runtime's wheel being touched, and rings late rather than never. It must never ring
//! before its time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt;
use tokio::time;

/// The clock of hyper's connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock;

/// A timer whose end may lie later than what the runtime was told.
struct Movable {
    told: Pin<Box<time::Sleep>>,
    end: Instant,
}

impl rt::Timer for Clock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, end: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Movable { told: Box::pin(time::sleep_until(end.into())), end })
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, end: Instant) {
        if let Some(mut movable) = sleep.as_mut().downcast_mut_pin::<Movable>() {
            movable.end = end;
            if end < movable.told.deadline().into_std() {
                movable.told.as_mut().reset(end.into());
            }
        }
    }
}

impl rt::Sleep for Movable {}

impl Future for Movable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while self.told.as_mut().poll(cx).is_ready() {
            let end = self.end.into();
            if time::Instant::now() >= end {
                return Poll::Ready(());
            }
            // It was moved since the runtime was told.
            self.told.as_mut().reset(end);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Timer as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_rings_at_its_end_however_it_was_moved() {
        for moves in [&[][..], &[5], &[30], &[30, 7], &[5, 40, 12], &[20, 20]] {
            let began = time::Instant::now();
            let mut timer = Clock.sleep_until((began + Duration::from_secs(10)).into_std());
            for end in moves {
                time::timeout(Duration::from_secs(1), timer.as_mut()).await.unwrap_err();
                Clock.reset(&mut timer, (began + Duration::from_secs(*end)).into_std());
            }
            timer.await;
            let passed = began.elapsed().as_secs();
            assert_eq!(passed, moves.last().copied().unwrap_or(10), "{moves:?}");
        }
    }
}
