//! Which `Host` and `Origin` a request may carry. Pure rules, so that they can be tested without
//! a socket. They must never know who asks or what for.
//!
//! A foreign `Host` is the mark of DNS rebinding, a foreign `Origin` that of a web page that
//! drives the gateway from a browser. Only loopback names and what the configuration names pass.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};

use crate::audit::Rejection;
use crate::requirement;

const FOREIGN_HOST: &str = "the host of the request is not one of this gateway";
const FOREIGN_ORIGIN: &str = "the origin of the request is not allowed";

/// The hosts and origins that may speak to this gateway.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    hosts: Vec<String>,
    origins: Vec<String>,
    port: u16,
}

impl Origins {
    /// Rules for a gateway that listens on `listen`, with the configured extra `hosts` (a name or
    /// an address, without port) and `origins` (`scheme://host[:port]`).
    #[must_use]
    pub(super) fn new(listen: SocketAddr, hosts: &[String], origins: &[String]) -> Self {
        let mut hosts: Vec<String> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        if !listen.ip().is_unspecified() {
            hosts.push(match listen.ip() {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            });
        }
        let origins = origins
            .iter()
            .map(|origin| origin.trim_end_matches('/').to_ascii_lowercase())
            .collect();
        Self { hosts, origins, port: listen.port() }
    }

    /// Refuses a request whose `Host` or `Origin` is missing, doubled, malformed or foreign.
    ///
    /// # Errors
    /// `auth.origin`.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Rejection> {
        let host = single(headers, header::HOST);
        let host_holds = matches!(host, Ok(Some(host)) if self.host_allowed(host))
            && uri.authority().is_none_or(|authority| self.host_allowed(authority.as_str()));
        requirement::AUTH_ORIGIN.check(host_holds, FOREIGN_HOST, || format!("host {host:?}"))?;

        let origin = single(headers, header::ORIGIN);
        let origin_holds = match origin {
            Ok(None) => true,
            Ok(Some(origin)) => self.origin_allowed(origin),
            Err(()) => false,
        };
        requirement::AUTH_ORIGIN
            .check(origin_holds, FOREIGN_ORIGIN, || format!("origin {origin:?}"))
    }

    fn host_allowed(&self, authority: &str) -> bool {
        let Some((host, _)) = split_port(authority) else { return false };
        is_loopback(host) || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }

    /// A configured origin, or this gateway's own port under a loopback name: a page of another
    /// local server has another port and is foreign.
    fn origin_allowed(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.origins.contains(&origin) {
            return true;
        }
        let Some(authority) =
            origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
        else {
            return false;
        };
        matches!(split_port(authority), Some((host, Some(port))) if is_loopback(host) && port == self.port)
    }
}

/// The one value of a header: `None` where it is absent, an error where it is doubled or not
/// printable ASCII.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Splits `host[:port]`; an IPv6 host keeps its brackets. `None` where it is neither.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = if authority.starts_with('[') {
        authority.split_at(authority.find(']')? + 1)
    } else {
        authority.split_at(authority.find(':').unwrap_or(authority.len()))
    };
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':');
    if host.is_empty() || !host.chars().all(plain) {
        return None;
    }
    match rest.strip_prefix(':') {
        None => rest.is_empty().then_some((host, None)),
        Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok()?)))
        }
        Some(_) => None,
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host == "[::1]"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Origins {
        Origins::new(
            "127.0.0.1:18789".parse().unwrap(),
            &["claw.example".into()],
            &["https://app.example".into()],
        )
    }

    fn verdict(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        rules().check(&Uri::from_static("/rpc"), &headers).is_ok()
    }

    #[test]
    fn loopback_and_configured_names_pass() {
        for host in ["localhost", "127.0.0.1:18789", "[::1]:18789", "LOCALHOST:1", "claw.example"] {
            assert!(verdict(host, None), "{host}");
        }
        for origin in ["http://127.0.0.1:18789", "http://localhost:18789", "https://app.example"] {
            assert!(verdict("localhost", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn foreign_names_are_refused() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "localhost:18789:1",
            "0.0.0.0:18789",
            "127.1",
            "[::1",
            "[::1]x",
            "localhost:",
            "",
        ] {
            assert!(!verdict(host, None), "{host}");
        }
        for origin in [
            "null",
            "https://evil.example",
            "http://localhost:3000",
            "http://localhost",
            "https://app.example.evil.example",
            "http://localhost:18789@evil.example",
            "file://",
            "",
        ] {
            assert!(!verdict("localhost", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn a_missing_or_doubled_host_is_refused() {
        assert!(rules().check(&Uri::from_static("/rpc"), &HeaderMap::new()).is_err());
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().unwrap());
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(rules().check(&Uri::from_static("/rpc"), &headers).is_err());
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().unwrap());
        let absolute = Uri::from_static("http://evil.example/rpc");
        assert!(rules().check(&absolute, &headers).is_err());
    }
}
