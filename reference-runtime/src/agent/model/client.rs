//! The way to a model's server: TLS (plain HTTP to this machine only), no redirect, no proxy, and a
//! bound on what is read. It must never log or show the key, nor know
//! what a request or an answer says.

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::Value;

use super::events::Events;
use crate::audit::Rejection;
use crate::boundary::Limits;
use crate::config;
use crate::outbound;
use crate::requirement;
use crate::vault::ApiKey;

const UNAVAILABLE: &str = "the model is not available";

/// A client for one URL.
pub(super) struct Server {
    client: Client,
    url: Url,
    /// Header and value that carry the key.
    key: Option<(HeaderName, HeaderValue)>,
    /// Headers of the protocol.
    fixed: &'static [(&'static str, &'static str)],
}

impl Server {
    /// The server that the configuration names, asked at `path` below its base URL.
    pub(super) fn new(config: &config::Model, path: &str) -> Result<Self, Rejection> {
        let url = endpoint(config.base_url.as_deref().unwrap_or_default(), path)?;
        let client = outbound::client().map_err(unavailable)?;
        let client = client.timeout(config.timeout).build().map_err(unavailable)?;
        Ok(Self { client, url, key: None, fixed: &[] })
    }

    /// The same server, with headers that every request has.
    pub(super) fn with(mut self, fixed: &'static [(&'static str, &'static str)]) -> Self {
        self.fixed = fixed;
        self
    }

    /// The same server, shown the key behind `prefix` in a header.
    pub(super) fn key(
        mut self,
        header: HeaderName,
        prefix: &str,
        key: Option<&ApiKey>,
    ) -> Result<Self, Rejection> {
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("{prefix}{}", key.expose()))
                .map_err(|_| unavailable("the key of the model is no header value"))?;
            value.set_sensitive(true);
            self.key = Some((header, value));
        }
        Ok(self)
    }

    /// Asks, and waits for the head of the answer.
    pub(super) async fn ask(&self, body: &Value, limits: &Limits) -> Result<Answering, Rejection> {
        let body = serde_json::to_vec(body).map_err(unavailable)?;
        let mut request: RequestBuilder = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body);
        for (name, value) in self.fixed {
            request = request.header(*name, *value);
        }
        if let Some((name, value)) = &self.key {
            request = request.header(name, value.clone());
        }
        // The error of reqwest holds the URL, which is the operator's, and no header.
        let response = request.send().await.map_err(unavailable)?;
        if !response.status().is_success() {
            return Err(unavailable(format!("the model answered {}", response.status())));
        }
        Ok(Answering { response, events: Events::default(), left: limits.body_bytes })
    }
}

/// An answer that is arriving.
pub(super) struct Answering {
    response: Response,
    events: Events,
    /// How many more bytes are taken.
    left: usize,
}

impl Answering {
    /// Whether it comes as a stream of events, which a server need not do when it is asked to.
    pub(super) fn streamed(&self) -> bool {
        let kind = self.response.headers().get(CONTENT_TYPE);
        kind.and_then(|kind| kind.to_str().ok()).is_some_and(|kind| {
            kind.split(';')
                .next()
                .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
        })
    }

    /// The whole body of an answer that is no stream.
    pub(super) async fn whole(mut self) -> Result<Vec<u8>, Rejection> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The data of the next event; none at the end of the stream.
    pub(super) async fn event(&mut self) -> Result<Option<Vec<u8>>, Rejection> {
        loop {
            if let Some(data) = self.events.next() {
                return Ok(Some(data));
            }
            match self.chunk().await? {
                Some(chunk) => self.events.push(&chunk),
                None => return Ok(self.events.last()),
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Rejection> {
        let Some(chunk) = self.response.chunk().await.map_err(unavailable)? else {
            return Ok(None);
        };
        let fits = chunk.len() <= self.left;
        requirement::INPUT_ALL_DOORS.check(fits, "the answer of the model is too large", || {
            format!("{} bytes over the limit", chunk.len() - self.left)
        })?;
        self.left = self.left.saturating_sub(chunk.len());
        Ok(Some(chunk.to_vec()))
    }
}

/// The URL to ask: `https`, or `http` to this machine.
fn endpoint(base: &str, path: &str) -> Result<Url, Rejection> {
    let url: Url = format!("{}/{path}", base.trim_end_matches('/'))
        .parse()
        .map_err(|error| unavailable(format!("model.baseUrl is no URL: {error}")))?;
    let local = match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse().is_ok_and(|host: std::net::Ipv4Addr| host.is_loopback()),
        None => false,
    };
    let allowed = url.scheme() == "https" || (url.scheme() == "http" && local);
    if !allowed || !url.username().is_empty() || url.password().is_some() {
        return Err(unavailable(
            "model.baseUrl must be https (http to this machine only) and hold no password",
        ));
    }
    Ok(url)
}

/// The refusal where a model cannot be reached or does not speak its protocol.
pub(super) fn unavailable(error: impl std::fmt::Display) -> Rejection {
    requirement::ERROR_DENY.refuse(UNAVAILABLE, format!("model: {error}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn plain_http_goes_to_this_machine_only() {
        let endpoint = |base| super::endpoint(base, "chat/completions");
        for good in ["https://api.example/v1", "http://127.0.0.1:9/v1/", "http://localhost:9"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://api.example/v1",
            "http://127.0.0.1.evil.example",
            "http://user:pw@localhost",
            "https://user@api.example",
            "file:///etc",
            "ftp://localhost",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
        assert_eq!(endpoint("http://localhost:9/v1/").unwrap().path(), "/v1/chat/completions");
    }
}
