//! Reaches a server by the HTTP calls that its manifest describes. It fills templates and picks
//! values from answers; it must never know a method name or a shape of any one target.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::target::instance::Instance;
use crate::target::manifest::{Call, Manifest};
use crate::target::template::Vars;
use crate::target::world::random_hex;

use super::DriverError;
use super::http::{Reply, Request};

/// How long a call may take unless the caller says otherwise.
pub const CALL_LIMIT: Duration = Duration::from_secs(20);

/// How long the creation of a session may take: it is the least that a target does.
const SESSION_LIMIT: Duration = Duration::from_secs(10);

/// A way to one running server.
#[derive(Clone, Debug)]
pub struct Rpc {
    manifest: Arc<Manifest>,
    address: SocketAddr,
    vars: Vars,
}

impl Rpc {
    /// The way to this instance.
    #[must_use]
    pub fn new(instance: &Instance) -> Self {
        Self {
            manifest: Arc::clone(instance.manifest()),
            address: instance.address(),
            vars: instance.vars().clone(),
        }
    }

    /// The same way with another token (or a broken one).
    #[must_use]
    pub fn with_token(&self, token: impl Into<Vec<u8>>) -> Self {
        let mut other = self.clone();
        other.vars.set("TOKEN", token);
        other
    }

    /// Where the target listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The path of the target's WebSocket, and the place of what answers have and events have not.
    ///
    /// # Errors
    /// `Unsupported` where the manifest has no `[websocket]`.
    pub fn websocket(&self) -> Result<(String, String), DriverError> {
        let found = self.manifest.websocket.as_ref();
        let found = found.ok_or_else(|| DriverError::Unsupported("`[websocket]`".to_owned()))?;
        let path = self.vars.fill_text(&found.path);
        let path = path.map_err(|error| DriverError::Harness(format!("websocket: {error}")))?;
        Ok((path, found.answer.clone()))
    }

    /// The header that carries the token, if the manifest has one.
    ///
    /// # Errors
    /// `Harness` where a variable is missing.
    pub fn authorization(&self) -> Result<Vec<(String, String)>, DriverError> {
        let Some(header) = &self.manifest.authorization else { return Ok(Vec::new()) };
        let header = self
            .vars
            .fill_text(header)
            .map_err(|error| DriverError::Harness(format!("authorization: {error}")))?;
        let split = header.split_once(':');
        Ok(split
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .into_iter()
            .collect())
    }

    /// The description of a call.
    ///
    /// # Errors
    /// `Unsupported` where the manifest has none of that name.
    pub fn describe(&self, name: &str) -> Result<&Call, DriverError> {
        let found = self.manifest.calls.get(name);
        found.ok_or_else(|| DriverError::Unsupported(format!("call `{name}`")))
    }

    /// The request of a call, filled in: for a caller that changes it before it is sent.
    ///
    /// # Errors
    /// `Unsupported` without such a call; `Harness` where a variable is missing.
    pub fn request(&self, name: &str, extra: &Vars) -> Result<Request, DriverError> {
        let call = self.describe(name)?;
        let mut vars = self.vars.with(extra);
        vars.set("FRESH", random_hex(8));
        let wrong = |error: crate::target::template::TemplateError| {
            DriverError::Harness(format!("calls.{name}: {error}"))
        };
        let mut headers = if call.authorized { self.authorization()? } else { Vec::new() };
        for (key, value) in &call.headers {
            headers.push((key.clone(), vars.fill_text(value).map_err(wrong)?));
        }
        let mut pieces = Vec::new();
        if let Some(body) = &call.body {
            if !call.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
                headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
            }
            pieces.push(vars.fill(body).map_err(wrong)?);
        }
        let default = if call.body.is_some() { "POST" } else { "GET" };
        Ok(Request {
            method: call.method.clone().unwrap_or_else(|| default.to_owned()),
            path: vars.fill_text(&call.path).map_err(wrong)?,
            headers,
            pieces,
            pause: Duration::ZERO,
        })
    }

    /// Makes a call.
    ///
    /// # Errors
    /// As [`Rpc::request`] and [`Request::send`].
    pub async fn call(&self, name: &str, extra: &Vars) -> Result<Reply, DriverError> {
        self.send(&self.request(name, extra)?).await
    }

    /// Sends a request that may have been changed.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub async fn send(&self, request: &Request) -> Result<Reply, DriverError> {
        request.send(self.address, CALL_LIMIT).await
    }

    /// What the manifest picks of a call's answer; a JSON string without its quotes.
    #[must_use]
    pub fn pick(&self, name: &str, reply: &Reply) -> Option<String> {
        let pointer = self.manifest.calls.get(name)?.pick.as_deref()?;
        let json = reply.json()?;
        let value = json.pointer(pointer)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Creates a session and gives its id.
    ///
    /// # Errors
    /// `Refused` where the answer holds no id; else as [`Rpc::call`].
    pub async fn session(&self) -> Result<String, DriverError> {
        let request = self.request("session-create", &Vars::new())?;
        let reply = request.send(self.address, SESSION_LIMIT).await?;
        self.pick("session-create", &reply).ok_or_else(|| DriverError::Refused(reply.summary()))
    }

    /// The request that sends a user message; the text is escaped where it is valid UTF-8.
    ///
    /// # Errors
    /// As [`Rpc::request`].
    pub fn message_request(&self, session: &str, text: &[u8]) -> Result<Request, DriverError> {
        let mut vars = Vars::new();
        vars.set("SESSION", session).set("TEXT", text);
        self.request("message", &vars)
    }

    /// Sends a user message.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub async fn message(&self, session: &str, text: &[u8]) -> Result<Reply, DriverError> {
        self.send(&self.message_request(session, text)?).await
    }

    /// Whether the manifest has a call of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.manifest.calls.contains_key(name)
    }

    /// Whether the health call answers with a success within five seconds.
    pub async fn alive(&self) -> bool {
        let Ok(request) = self.request("health", &Vars::new()) else { return false };
        let answer = request.send(self.address, Duration::from_secs(5)).await;
        answer.is_ok_and(|reply| (200..300).contains(&reply.status))
    }
}
