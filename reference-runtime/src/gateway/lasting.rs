//! Work that runs to its end although nobody waits for it any more. It must never know what the
//! work is.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The work of one who waits for it. It costs no task of its own unless the waiting is given up:
/// what is left of it then is handed to the runtime.
#[must_use]
pub(super) struct Lasting<T: Send + 'static>(Option<Work<T>>);

/// Begins when it is waited for.
pub(super) fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Lasting<T> {
    Lasting(Some(Box::pin(work)))
}

impl<T: Send + 'static> Future for Lasting<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Taken out while it is polled: what panics is not polled again.
        let Some(mut work) = self.0.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.0 = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Lasting<T> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { drop(work.await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it_any_more() {
        let (go, wait) = oneshot::channel::<()>();
        let (done, told) = oneshot::channel();
        let work = run(async move {
            let _ = wait.await;
            let _ = done.send(7);
        });
        assert!(tokio::time::timeout(Duration::from_millis(10), work).await.is_err());
        go.send(()).unwrap();
        assert_eq!(told.await, Ok(7));
    }

    #[tokio::test]
    async fn work_that_nobody_began_to_wait_for_is_done_too() {
        let (done, told) = oneshot::channel();
        drop(run(async move { done.send(7) }));
        assert_eq!(told.await, Ok(7));
        assert_eq!(run(async { 8 }).await, 8);
    }
}
