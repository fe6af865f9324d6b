//! The limiter as a tower layer: who asks and what it costs is told by a function, the answer to
//! a refusal by another. It must never know the protocol between them.

use std::{
    future::Future,
    hash::Hash,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use tower::{Layer, Service};

use super::{Limiter, RetryAfter};
use crate::requirement::Requirement;

/// Puts a [`Limiter`] before a service.
///
/// It adds no memory and no lock to a request but the one of the identity's ledger.
///
/// `identify: Fn(&Request) -> (K, u32)` names the identity and the cost of a request;
/// `refuse: Fn(Request, RetryAfter) -> Future<Output = Result<Response, Error>>` answers for the
/// service. The requirement is the one that the limit stands for.
pub struct RateLayer<K, I, R> {
    shared: Arc<Shared<K, I, R>>,
}

struct Shared<K, I, R> {
    limiter: Arc<Limiter<K>>,
    requirement: Requirement,
    identify: I,
    refuse: R,
}

impl<K, I, R> RateLayer<K, I, R> {
    /// A layer over a limiter that others may share.
    pub fn new(limiter: Arc<Limiter<K>>, requirement: Requirement, identify: I, refuse: R) -> Self {
        Self { shared: Arc::new(Shared { limiter, requirement, identify, refuse }) }
    }
}

impl<K, I, R> Clone for RateLayer<K, I, R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S, K, I, R> Layer<S> for RateLayer<K, I, R> {
    type Service = Rate<S, K, I, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Rate { inner, shared: Arc::clone(&self.shared) }
    }
}

/// A service behind a limiter.
pub struct Rate<S, K, I, R> {
    inner: S,
    shared: Arc<Shared<K, I, R>>,
}

impl<S: Clone, K, I, R> Clone for Rate<S, K, I, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<Q, S, K, I, R, F> Service<Q> for Rate<S, K, I, R>
where
    S: Service<Q>,
    K: Hash + Eq + Clone,
    I: Fn(&Q) -> (K, u32),
    R: Fn(Q, RetryAfter) -> F,
    F: Future<Output = Result<S::Response, S::Error>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, F>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let Shared { limiter, requirement, identify, refuse } = &*self.shared;
        let (key, cost) = identify(&request);
        match limiter.admit(&key, cost) {
            Err(retry) if requirement.enforced() => Either::Right(refuse(request, retry)),
            _ => Either::Left(self.inner.call(request)),
        }
    }
}
