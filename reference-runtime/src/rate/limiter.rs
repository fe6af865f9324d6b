//! An exact sliding window: never more than the limit in any window, wherever it begins. It must
//! never take memory without bound, nor forget what an active identity spent.
//!
//! Why not a crate: what is promised is that the 61st request of *any* minute is refused and that
//! exactly 60 of 200 parallel ones are admitted. `governor` and most others count by GCRA or by a
//! bucket, which after a full burst lets new requests in as the old ones drain: up to 119 in one
//! minute. Fixed windows let twice the limit through at their edge, counters of two neighbouring
//! windows estimate. A log of what was admitted is exact. Crates that keep one (looked for in November
//! 2026): `rate_limiters` and `tower-resilience-ratelimiter` keep none for each identity under one
//! bound of memory. `rate-net` does, and where the bound is reached it forgets who was seen longest
//! ago: whoever spent a minute begins another by sending others ahead. Here a newcomer waits, and
//! who is active is never forgotten; a limit can also change while it counts.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::requirement;

/// Ledgers of a limiter for many identities.
const SHARDS: usize = 32;
/// A ledger that would hold fewer than so many is not worth its lock.
const FEW: usize = 256;

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

/// Counts what each identity spent in the last window, on the monotonic clock: a jump of the wall
/// clock changes nothing.
#[derive(Debug)]
pub struct Limiter<K> {
    limit: AtomicU32,
    window: Duration,
    /// Identities that one ledger may hold.
    capacity: usize,
    /// Each identity has its one ledger, by hash, so that many threads seldom wait for one lock.
    ledgers: Vec<Mutex<Ledger<K>>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Ledger<K> {
    accounts: HashMap<K, Account>,
    swept: Instant,
}

/// What one identity spent: when and how much, oldest first, and the sum.
#[derive(Debug, Default)]
struct Account {
    spent: VecDeque<(Instant, u32)>,
    sum: u32,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// A limiter that admits `limit` units of cost in any `window` to each of at most `capacity`
    /// identities that are active at a time. A large capacity is split evenly, and each part
    /// refuses newcomers when it is full.
    #[must_use]
    pub fn new(limit: u32, window: Duration, capacity: usize) -> Self {
        let shards = if capacity >= SHARDS * FEW { SHARDS } else { 1 };
        let ledger = || Ledger { accounts: HashMap::new(), swept: Instant::now() };
        Self {
            limit: AtomicU32::new(limit),
            window,
            capacity: capacity / shards,
            ledgers: (0..shards).map(|_| Mutex::new(ledger())).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Admits a request of this cost, or says when to come back. A refused request costs nothing;
    /// one that costs more than the limit is never admitted.
    ///
    /// # Errors
    /// The identity has spent its limit, or there are too many active identities.
    pub fn admit(&self, key: &K, cost: u32) -> Result<(), RetryAfter> {
        self.admit_at(key, cost, Instant::now())
    }

    /// Changes the limit; what was spent in the window stays spent.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// How many identities are held in memory.
    #[must_use]
    pub fn identities(&self) -> usize {
        let held = |ledger: &Mutex<Ledger<K>>| {
            ledger.lock().unwrap_or_else(PoisonError::into_inner).accounts.len()
        };
        self.ledgers.iter().map(held).sum()
    }

    fn admit_at(&self, key: &K, cost: u32, now: Instant) -> Result<(), RetryAfter> {
        // Nobody outside knows the hash, so nobody can fill the ledger of another on purpose.
        let count = u64::try_from(self.ledgers.len()).unwrap_or(1);
        let place = usize::try_from(self.hasher.hash_one(key) % count).unwrap_or_default();
        // There always is one: without it nobody is admitted.
        let Some(ledger) = self.ledgers.get(place) else { return Err(RetryAfter(self.window)) };
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        self.sweep(&mut ledger, now);
        let full = ledger.accounts.len() >= self.capacity && requirement::RATE_BOUNDED.enforced();
        let account = match ledger.accounts.get_mut(key) {
            Some(account) => account,
            // Who is active is never forgotten for a newcomer: that would be a new bucket for
            // whoever can make identities.
            None if full => return Err(RetryAfter(self.pause())),
            None => ledger.accounts.entry(key.clone()).or_default(),
        };
        account.expire(now, self.window);
        account.afford(cost, self.limit.load(Ordering::Relaxed), self.window, now)?;
        account.spend(cost, now);
        Ok(())
    }

    /// Drops idle identities, now and then, so that its cost is spread.
    fn sweep(&self, ledger: &mut Ledger<K>, now: Instant) {
        if now.saturating_duration_since(ledger.swept) < self.pause() {
            return;
        }
        ledger.swept = now;
        ledger.accounts.retain(|_, account| {
            account.expire(now, self.window);
            !account.spent.is_empty()
        });
        if ledger.accounts.capacity() > 4 * ledger.accounts.len() {
            ledger.accounts.shrink_to(2 * ledger.accounts.len());
        }
    }

    fn pause(&self) -> Duration {
        self.window / 64
    }
}

impl Account {
    /// Forgets what was spent a whole window ago.
    fn expire(&mut self, now: Instant, window: Duration) {
        while let Some((at, cost)) = self.spent.front()
            && now.saturating_duration_since(*at) >= window
        {
            self.sum -= cost;
            self.spent.pop_front();
        }
    }

    fn afford(
        &self,
        cost: u32,
        limit: u32,
        window: Duration,
        now: Instant,
    ) -> Result<(), RetryAfter> {
        let Some(over) = self.sum.saturating_add(cost).checked_sub(limit).filter(|over| *over > 0)
        else {
            return Ok(());
        };
        let mut freed = 0_u32;
        let enough = self.spent.iter().find(|(_, cost)| {
            freed = freed.saturating_add(*cost);
            freed >= over
        });
        let wait = enough.map(|(at, _)| (*at + window).saturating_duration_since(now));
        Err(RetryAfter(wait.unwrap_or(window)))
    }

    fn spend(&mut self, cost: u32, now: Instant) {
        if cost > 0 {
            self.spent.push_back((now, cost));
            self.sum += cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn refuses_the_61st_request_of_a_minute() {
        let limiter = Limiter::new(60, MINUTE, 10);
        let start = Instant::now();
        for n in 0..60 {
            assert_eq!(limiter.admit_at(&1, 1, start + Duration::from_millis(n)), Ok(()));
        }
        let late = start + Duration::from_secs(30);
        assert_eq!(limiter.admit_at(&1, 1, late), Err(RetryAfter(Duration::from_secs(30))));
        assert_eq!(limiter.admit_at(&2, 1, late), Ok(()));
        assert_eq!(limiter.admit_at(&1, 1, start + MINUTE), Ok(()));
        assert!(limiter.admit_at(&1, 1, start + MINUTE).is_err());
    }

    #[test]
    fn a_batch_costs_what_it_holds_and_all_or_nothing() {
        let limiter = Limiter::new(60, MINUTE, 10);
        let now = Instant::now();
        assert_eq!(limiter.admit_at(&1, 61, now), Err(RetryAfter(MINUTE)));
        assert_eq!(limiter.admit_at(&1, u32::MAX, now), Err(RetryAfter(MINUTE)));
        assert_eq!(limiter.admit_at(&1, 40, now), Ok(()));
        assert!(limiter.admit_at(&1, 21, now).is_err());
        assert_eq!(limiter.admit_at(&1, 20, now), Ok(()));
        assert!(limiter.admit_at(&1, u32::MAX, now).is_err());
        assert_eq!(limiter.admit_at(&1, 0, now), Ok(()));
    }

    #[test]
    fn many_identities_cost_bounded_memory_and_active_ones_are_kept() {
        let limiter = Limiter::new(2, MINUTE, 100);
        let start = Instant::now();
        assert_eq!(limiter.admit_at(&0, 2, start), Ok(()));
        let admitted = (1..1_000_000).filter(|key| limiter.admit_at(key, 1, start).is_ok()).count();
        assert_eq!((admitted, limiter.identities()), (99, 100));
        assert!(limiter.admit_at(&0, 1, start).is_err());
        assert_eq!(limiter.admit_at(&500, 1, start + MINUTE), Ok(()));
        assert_eq!(limiter.identities(), 1);
    }

    #[test]
    fn a_lower_limit_counts_what_was_spent_before_it() {
        let limiter = Limiter::new(60, MINUTE, 10);
        let now = Instant::now();
        assert_eq!(limiter.admit_at(&1, 20, now), Ok(()));
        limiter.set_limit(20);
        assert!(limiter.admit_at(&1, 1, now).is_err());
        limiter.set_limit(21);
        assert_eq!(limiter.admit_at(&1, 1, now), Ok(()));
    }

    #[test]
    fn whole_seconds_are_rounded_up() {
        let seconds = |millis| RetryAfter(Duration::from_millis(millis)).seconds();
        assert_eq!([seconds(0), seconds(1), seconds(1000), seconds(1001)], [1, 1, 1, 2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_window_holds_at_most_the_limit_and_no_refusal_is_needless(
            steps in prop::collection::vec((0_u8..3, 0_u64..40, 0_u32..6), 1..120),
        ) {
            let (limit, window) = (10, Duration::from_millis(100));
            let limiter = Limiter::new(limit, window, 100);
            let start = Instant::now();
            let mut now = start;
            let mut admitted: Vec<(u8, Instant, u32)> = Vec::new();
            for (key, wait, cost) in steps {
                now += Duration::from_millis(wait);
                // The model: all that this key was ever admitted, looked through anew.
                let recent: u32 = admitted
                    .iter()
                    .filter(|(other, at, _)| *other == key && now - *at < window)
                    .map(|(_, _, cost)| cost)
                    .sum();
                match limiter.admit_at(&key, cost, now) {
                    Ok(()) => {
                        prop_assert!(recent + cost <= limit);
                        admitted.push((key, now, cost));
                    }
                    Err(RetryAfter(wait)) => {
                        prop_assert!(recent + cost > limit);
                        prop_assert!(wait <= window);
                        // Exactly then it is admitted, and not a moment before.
                        let then = now + wait;
                        let left: u32 = admitted
                            .iter()
                            .filter(|(other, at, _)| *other == key && then - *at < window)
                            .map(|(_, _, cost)| cost)
                            .sum();
                        prop_assert!(left + cost <= limit);
                    }
                }
            }
        }

        #[test]
        fn who_is_active_is_never_forgotten_for_a_newcomer_whatever_the_limit_becomes(
            steps in prop::collection::vec((0_u8..8, 0_u64..40, 0_u32..6, 0_u32..12), 1..150),
        ) {
            let (capacity, window) = (3, Duration::from_millis(100));
            let limiter = Limiter::new(10, window, capacity);
            let (mut now, mut limit) = (Instant::now(), 10);
            let mut admitted: Vec<(u8, Instant, u32)> = Vec::new();
            for (key, wait, cost, change) in steps {
                now += Duration::from_millis(wait);
                if change > 8 {
                    limit = change - 8;
                    limiter.set_limit(limit);
                }
                // The model keeps everything and forgets nobody.
                let recent = admitted.iter().filter(|(_, at, _)| now - *at < window);
                let own: u32 =
                    recent.clone().filter(|(other, ..)| *other == key).map(|(.., cost)| cost).sum();
                let others: std::collections::HashSet<u8> =
                    recent.filter(|(.., cost)| *cost > 0).map(|(other, ..)| *other).collect();
                match limiter.admit_at(&key, cost, now) {
                    Ok(()) => {
                        prop_assert!(own + cost <= limit);
                        prop_assert!(others.contains(&key) || others.len() < capacity);
                        admitted.push((key, now, cost));
                    }
                    // Names that are idle leave when it is looked for them, a 64th of a window later.
                    Err(_) => prop_assert!(own + cost > limit || !others.contains(&key)),
                }
                prop_assert!(limiter.identities() <= capacity);
            }
        }
    }
}
