//! Who asks. `Authenticated<T>` can be built here alone, so a method that takes one cannot be
//! reached without a token. This file must never know what is asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};

use super::reply::Refusal;
use super::token::{Role, Tokens};
use crate::audit::{Audit, Correlation, Event, HandedIn, Kind, Outcome, Plain, Rejection, Subject};
use crate::rate::Limiter;
use crate::requirement;

const REFUSED: &str = "a valid token is required";
const TOO_OFTEN: &str = "too many failed attempts";
/// Failed attempts that one address may make in a minute.
const FAILURES_PER_MINUTE: u32 = 30;
/// Addresses whose failures are counted at a time. Beyond it newcomers *without* a valid token are
/// put off; a valid one is never asked.
const ADDRESSES: usize = 16_384;

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name in the audit log: `token:<id>`.
    pub subject: Subject,
    /// What the speaker may do.
    pub role: Role,
    /// The bucket that requests are counted in.
    pub client: Arc<str>,
}

/// The proof that a value came with a valid token.
#[derive(Clone, Debug)]
pub struct Authenticated<T> {
    identity: Identity,
    value: T,
    /// The record of the attempt, where nobody waited for it yet.
    attempt: Option<HandedIn>,
}

impl<T> Authenticated<T> {
    /// Who spoke.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What came.
    #[must_use]
    pub fn get(&self) -> &T {
        &self.value
    }

    /// The same proof over what was read later from the same request.
    #[must_use]
    pub fn carrying<U>(&self, value: U) -> Authenticated<U> {
        Authenticated { identity: self.identity.clone(), value, attempt: self.attempt }
    }

    /// The record of the attempt to authenticate, where nobody waited for it yet: whoever answers
    /// or lets something happen waits for a record behind it first.
    pub(super) fn attempt(&self) -> Option<HandedIn> {
        self.attempt
    }

    /// Waits for the record of the attempt.
    ///
    /// # Errors
    /// `error.deny`: it was not written.
    pub(super) async fn settle(&mut self, audit: &Audit) -> Result<(), Rejection> {
        audit.settle(self.attempt.take()).await
    }
}

/// The gate.
pub(super) struct Gate {
    tokens: Tokens,
    audit: Audit,
    failures: Limiter<IpAddr>,
}

impl Gate {
    /// A gate for these tokens.
    #[must_use]
    pub(super) fn new(tokens: Tokens, audit: Audit) -> Self {
        let minute = Duration::from_secs(60);
        Self { tokens, audit, failures: Limiter::new(FAILURES_PER_MINUTE, minute, ADDRESSES) }
    }

    /// Lets a request through that carries a token in force. Every attempt is recorded; a wrong,
    /// a cut, an expired and a missing token are refused with the same words. The record of a good
    /// one is on its way: see [`Authenticated::attempt`].
    ///
    /// # Errors
    /// `auth.required`; `auth.no-oracle` where an address fails too often; `error.deny` where the
    /// attempt cannot be recorded.
    pub(super) async fn admit(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        correlation: &Correlation,
    ) -> Result<Authenticated<()>, Refusal> {
        let Some(identity) = self.identify(peer, headers) else {
            return Err(self.refuse(peer, words(headers), correlation).await);
        };
        let event = Plain {
            kind: Kind::Auth,
            outcome: Outcome::Allow,
            subject: identity.subject.clone(),
            action: "authenticate",
            correlation: correlation.clone(),
            peer: Some(peer.ip()),
        };
        let attempt = Some(self.audit.hand_in(event)?);
        Ok(Authenticated { identity, value: (), attempt })
    }

    /// Whether the token of a connection that was admitted is still in force; only where it is
    /// not, an attempt is recorded.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub(super) async fn still(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        identity: &Identity,
        correlation: &Correlation,
    ) -> Result<(), Refusal> {
        match self.identify(peer, headers) {
            Some(now) if now == *identity => Ok(()),
            _ => Err(self.refuse(peer, words(headers), correlation).await),
        }
    }

    async fn refuse(
        &self,
        peer: SocketAddr,
        public: &'static str,
        correlation: &Correlation,
    ) -> Refusal {
        let admitted = self.failures.admit(&network(peer.ip()), 1);
        let event = Event::new(
            Kind::Auth,
            Outcome::Deny,
            format!("address:{}", peer.ip()),
            "authenticate",
            correlation.clone(),
        );
        let event = event.refused_by(requirement::AUTH_REQUIRED);
        if let Err(rejection) = self.audit.record(event).await {
            return rejection.into();
        }
        match admitted {
            Err(retry_after) if requirement::AUTH_NO_ORACLE.enforced() => {
                let event = Event::new(
                    Kind::RateLimit,
                    Outcome::Deny,
                    format!("address:{}", peer.ip()),
                    "authenticate",
                    correlation.clone(),
                );
                let event = event.refused_by(requirement::AUTH_NO_ORACLE);
                if let Err(rejection) = self.audit.record(event).await {
                    return rejection.into();
                }
                Refusal::rate(requirement::AUTH_NO_ORACLE, TOO_OFTEN, retry_after)
            }
            _ => requirement::AUTH_REQUIRED.refuse(public, "no token in force").into(),
        }
    }

    fn identify(&self, peer: SocketAddr, headers: &HeaderMap) -> Option<Identity> {
        let holder = bearer(headers)
            .and_then(|token| self.tokens.presented(token, || self.audit.redactor().add(token)));
        let (subject, role) = match holder {
            Some(holder) => (holder.subject, holder.role),
            None if requirement::AUTH_REQUIRED.enforced() => return None,
            None => (Subject::address(network(peer.ip())), Role::Admin),
        };
        let client = client(&subject, headers);
        Some(Identity { subject, role, client })
    }
}

/// The bucket of a subject: itself. What the request says about where it came from is not
/// believed, however it is written.
fn client(subject: &Subject, headers: &HeaderMap) -> Arc<str> {
    if requirement::RATE_IDENTITY.enforced() {
        return subject.shared();
    }
    let (one, other) = (headers.get("x-forwarded-for"), headers.get("forwarded"));
    format!("{subject} {one:?} {other:?}").into()
}

/// The words of a refusal: the same ones, whatever was wrong with the token.
fn words(headers: &HeaderMap) -> &'static str {
    let cause =
        if bearer(headers).is_some() { "the token is not known" } else { "no token was sent" };
    if requirement::AUTH_NO_ORACLE.enforced() { REFUSED } else { cause }
}

/// The token of the one `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// What one party can be said to hold: an IPv4 address, or the /64 of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(prefix.into())
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_header_is_read_once_and_exactly() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "bearer abc".parse().unwrap());
        assert_eq!(bearer(&headers), Some("abc"));
        headers.append(header::AUTHORIZATION, "Bearer other".parse().unwrap());
        assert_eq!(bearer(&headers), None);
        headers.insert(header::AUTHORIZATION, "Basic abc".parse().unwrap());
        assert_eq!(bearer(&headers), None);
    }

    #[test]
    fn forwarding_headers_do_not_change_the_bucket() {
        let mut headers = HeaderMap::new();
        let subject = Subject::token("00000001").unwrap();
        let plain = client(&subject, &headers);
        headers.insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
        headers.insert("Forwarded", "for=203.0.113.9".parse().unwrap());
        assert_eq!(client(&subject, &headers), plain);
    }

    #[test]
    fn an_ipv6_neighbourhood_is_one_party_and_a_mapped_address_is_ipv4() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
