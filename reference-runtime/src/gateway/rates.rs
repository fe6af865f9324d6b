//! How often: a window per client, which a layer counts before the body is read, and one per session,
//! which a layer counts before a message is stored, whichever door and batch it came by. Every refusal
//! is recorded. This file must never know how a window counts.

use std::sync::Arc;
use std::time::Duration;

use super::auth::Identity;
use super::reply::Refusal;
use crate::agent::SessionId;
use crate::audit::{Audit, Correlation, Event, Kind, Outcome};
use crate::config;
use crate::rate::{Limiter, RateLayer, RetryAfter};
use crate::requirement::{RATE_CLIENT, RATE_OVERRIDE, RATE_SESSION, Requirement};

const WINDOW: Duration = Duration::from_secs(60);
/// Clients and sessions whose windows are kept at a time.
const CAPACITY: usize = 65_536;

/// The two windows.
pub(super) struct Rates {
    clients: Arc<Limiter<Arc<str>>>,
    sessions: Arc<Limiter<SessionId>>,
    audit: Audit,
}

impl Rates {
    pub(super) fn new(configured: &config::Rates, audit: Audit) -> Self {
        let defaults = config::Rates::default();
        let rates = if RATE_OVERRIDE.enforced() { configured } else { &defaults };
        Self {
            clients: Arc::new(Limiter::new(rates.requests_per_minute, WINDOW, CAPACITY)),
            sessions: Arc::new(Limiter::new(rates.messages_per_minute, WINDOW, CAPACITY)),
            audit,
        }
    }

    /// Changes both limits.
    pub(super) fn set(&self, rates: &config::Rates) {
        if RATE_OVERRIDE.enforced() {
            self.clients.set_limit(rates.requests_per_minute);
            self.sessions.set_limit(rates.messages_per_minute);
        }
    }

    /// The windows of the clients, for the layer that counts HTTP requests.
    pub(super) fn clients(&self) -> Arc<Limiter<Arc<str>>> {
        Arc::clone(&self.clients)
    }

    /// The layer that counts the messages of sessions.
    pub(super) fn messages<I, R>(&self, identify: I, refuse: R) -> RateLayer<SessionId, I, R> {
        RateLayer::new(Arc::clone(&self.sessions), RATE_SESSION, identify, refuse)
    }

    /// Records that a client's window is full, and refuses.
    pub(super) async fn too_often(
        &self,
        identity: &Identity,
        retry_after: RetryAfter,
        correlation: &Correlation,
    ) -> Refusal {
        self.refuse(retry_after, RATE_CLIENT, identity, "request", correlation).await
    }

    /// Records that a session's window is full, and refuses.
    pub(super) async fn too_many_messages(
        &self,
        identity: &Identity,
        retry_after: RetryAfter,
        correlation: &Correlation,
    ) -> Refusal {
        self.refuse(retry_after, RATE_SESSION, identity, "session.message", correlation).await
    }

    /// Counts `cost` requests of a client that no layer counted: frames, and what a batch holds.
    pub(super) async fn client(
        &self,
        identity: &Identity,
        cost: u32,
        correlation: &Correlation,
    ) -> Result<(), Refusal> {
        match self.clients.admit(&identity.client, cost) {
            Err(retry_after) if RATE_CLIENT.enforced() => {
                Err(self.too_often(identity, retry_after, correlation).await)
            }
            _ => Ok(()),
        }
    }

    async fn refuse(
        &self,
        retry_after: RetryAfter,
        limit: Requirement,
        identity: &Identity,
        action: &str,
        correlation: &Correlation,
    ) -> Refusal {
        let event = Event::new(
            Kind::RateLimit,
            Outcome::Deny,
            identity.subject.as_str(),
            action,
            correlation.clone(),
        );
        let event = event.refused_by(limit).with("retryAfter", retry_after.seconds());
        match self.audit.record(event).await {
            Ok(()) => Refusal::rate(limit, "too many requests in a minute", retry_after),
            Err(unrecorded) => unrecorded.into(),
        }
    }
}
