//! An exact sliding window: never more than the limit in any window, wherever it begins. It must
//! never take memory without bound.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long to wait before the same request can be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl RetryAfter {
    /// Whole seconds for the `Retry-After` header, rounded up, at least 1.
    #[must_use]
    pub fn seconds(self) -> u64 {
        let whole = self.0.as_secs();
        (whole + u64::from(self.0.subsec_nanos() > 0)).max(1)
    }
}

/// Counts what each identity spent in the last window.
#[derive(Debug)]
pub struct Limiter<K> {
    limit: u32,
    window: Duration,
    capacity: usize,
    spent: Mutex<HashMap<K, VecDeque<Instant>>>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// A limiter that admits `limit` units of cost in any `window` to each of at most `capacity`
    /// identities that are active at a time.
    #[must_use]
    pub fn new(limit: u32, window: Duration, capacity: usize) -> Self {
        Self { limit, window, capacity, spent: Mutex::new(HashMap::new()) }
    }

    /// Admits a request of this cost, or says when to come back. A refused request costs nothing.
    ///
    /// # Errors
    /// The identity has spent its limit, or there are too many active identities.
    pub fn admit(&self, key: &K, cost: u32) -> Result<(), RetryAfter> {
        let now = Instant::now();
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if !spent.contains_key(key) && spent.len() >= self.capacity {
            return Err(RetryAfter(self.window));
        }
        let log = spent.entry(key.clone()).or_default();
        while log.front().is_some_and(|at| now.duration_since(*at) >= self.window) {
            log.pop_front();
        }
        if log.len() + cost as usize > self.limit as usize {
            return Err(RetryAfter(self.window));
        }
        log.extend((0..cost).map(|_| now));
        Ok(())
    }
}
