//! What a caller is told. A refusal has two messages: a constant sentence for the caller and a
//! cause for the log; only the first may leave the process. This file must never know a method.
//! The statuses and codes stand in `docs/errors.md`, and a test holds the two together.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::id::Id;
use crate::audit::OTHER_WORDS;
use crate::audit::{Correlation, Rejection};
use crate::rate::RetryAfter;
use crate::requirement::{self, Requirement, variant};

/// A refusal on its way to the caller.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: i32,
    public: &'static str,
    cause: String,
    requirement: Option<Requirement>,
    retry_after: Option<RetryAfter>,
    close: bool,
}

impl Refusal {
    /// What the log is told of it.
    #[cfg(feature = "knockout")]
    pub(super) fn cause(&self) -> &str {
        &self.cause
    }

    /// A refusal that no requirement asks for: a protocol error.
    pub(super) fn new(status: StatusCode, code: i32, public: &'static str) -> Self {
        Self {
            status,
            code,
            public,
            cause: String::new(),
            requirement: None,
            retry_after: None,
            close: false,
        }
    }

    /// The answer where something is not there, or not there for this caller.
    pub(super) fn not_found(public: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, -32004, public)
    }

    /// The answer where a token is valid but its role is not enough.
    pub(super) fn forbidden() -> Self {
        let mut refusal =
            Self::new(StatusCode::FORBIDDEN, -32003, "the token may not use this method");
        refusal.requirement = Some(requirement::AUTH_REQUIRED);
        refusal
    }

    /// The answer of a rate limit.
    pub(super) fn rate(limit: Requirement, public: &'static str, retry_after: RetryAfter) -> Self {
        let mut refusal = Self::from(limit.refuse(public, "the window is full"));
        refusal.retry_after = Some(retry_after);
        refusal
    }

    /// The same refusal, with a cause for the log.
    pub(super) fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    /// The same refusal where its cause lies with the runtime or its model, not with the caller.
    pub(super) fn unavailable(mut self) -> Self {
        if self.status.is_client_error() {
            (self.status, self.code) = (StatusCode::SERVICE_UNAVAILABLE, -32050);
        }
        self
    }

    /// The same refusal, in the words of JSON-RPC where the fault lies in the parameters.
    pub(super) fn with_code(mut self, code: i32) -> Self {
        if self.status == StatusCode::BAD_REQUEST {
            self.code = code;
        }
        self
    }

    /// The same refusal, after which the connection is of no use.
    pub(super) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The requirement that refused, if one did.
    #[cfg(test)]
    pub(super) fn requirement(&self) -> Option<Requirement> {
        self.requirement
    }

    /// The JSON-RPC error object of this refusal as text; writes the cause to the log.
    pub(super) fn object(&self, id: Option<&Id>, correlation: &Correlation) -> String {
        self.value(id, correlation).to_string()
    }

    fn value(&self, id: Option<&Id>, correlation: &Correlation) -> Value {
        tracing::info!(
            correlation = correlation.as_str(),
            requirement = self.requirement.map(Requirement::id),
            status = self.status.as_u16(),
            cause = self.cause,
            "refused: {}",
            self.public
        );
        let public = if variant::WORDS.on() { OTHER_WORDS } else { self.public };
        let message = if requirement::ERROR_SANITISED.enforced() {
            public.to_owned()
        } else {
            format!("{public}: {}", self.cause)
        };
        let mut data = json!({ "correlation": correlation.as_str() });
        if let (Some(requirement), Some(data)) = (self.requirement, data.as_object_mut()) {
            data.insert("requirement".to_owned(), requirement.id().into());
        }
        json!({
            "jsonrpc": "2.0",
            "id": id,
            "error": { "code": self.code, "message": message, "data": data },
        })
    }

    /// The whole HTTP answer of this refusal.
    pub(super) fn respond(&self, id: Option<&Id>, correlation: &Correlation) -> Response {
        let mut response = json(self.status, self.object(id, correlation));
        let headers = response.headers_mut();
        if let Some(retry_after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after.seconds()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let (status, code) = status_of(rejection.requirement());
        Self {
            status,
            code,
            public: rejection.public(),
            cause: rejection.cause().to_owned(),
            requirement: Some(rejection.requirement()),
            retry_after: None,
            close: false,
        }
    }
}

fn status_of(requirement: Requirement) -> (StatusCode, i32) {
    use crate::requirement as r;
    let unavailable = [r::ERROR_DENY, r::SANDBOX_FAIL_CLOSED, r::SANDBOX_HONEST, r::SANDBOX_REAP];
    let rates = [r::RATE_CLIENT, r::RATE_SESSION, r::RATE_IDENTITY, r::RATE_BOUNDED];
    let too_large = [
        r::INPUT_MESSAGE_SIZE,
        r::INPUT_ATTACHMENT_SIZE,
        r::INPUT_ATTACHMENT_SIZE_EXACT,
        r::INPUT_BOUNDED_MEMORY,
    ];
    match requirement {
        r::AUTH_REQUIRED => (StatusCode::UNAUTHORIZED, -32001),
        r::AUTH_ORIGIN => (StatusCode::FORBIDDEN, -32003),
        r::AUTH_NO_ORACLE => (StatusCode::TOO_MANY_REQUESTS, -32029),
        r::REGISTRY_ONLY_REGISTERED => (StatusCode::NOT_FOUND, -32004),
        r::ERROR_NO_PANIC => (StatusCode::INTERNAL_SERVER_ERROR, -32603),
        other if rates.contains(&other) => (StatusCode::TOO_MANY_REQUESTS, -32029),
        other if too_large.contains(&other) => (StatusCode::PAYLOAD_TOO_LARGE, -32000),
        other if unavailable.contains(&other) || other.id().starts_with("vault.") => {
            (StatusCode::SERVICE_UNAVAILABLE, -32050)
        }
        _ => (StatusCode::BAD_REQUEST, -32000),
    }
}

/// The JSON-RPC object of a success as text; `result` is JSON.
pub(super) fn success(id: &Id, result: &Value) -> String {
    #[derive(Serialize)]
    struct Success<'answer> {
        id: &'answer Id,
        jsonrpc: &'static str,
        result: &'answer Value,
    }
    // Maps of these have texts as keys: they do not fail.
    serde_json::to_string(&Success { id, jsonrpc: "2.0", result }).unwrap_or_default()
}

/// An answer of JSON.
pub(super) fn json(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_reads_the_constant_sentence_and_never_the_cause() {
        let refusal = Refusal::from(requirement::PATH_TRAVERSAL.refuse("no", "/etc/shadow"));
        let text = refusal.object(None, &Correlation::new());
        assert!(!text.contains("shadow"));
        assert!(text.contains("\"requirement\":\"path.traversal\""));
    }

    #[test]
    fn every_requirement_has_its_status_and_code() {
        let table: Vec<String> = requirement::ALL
            .iter()
            .map(|requirement| {
                let (status, code) = status_of(*requirement);
                format!("{} {code} {requirement}", status.as_u16())
            })
            .collect();
        insta::assert_snapshot!("codes", table.join("\n"));
        let documented = include_str!("../../../docs/errors.md");
        for line in &table {
            let mut words = line.split(' ');
            let (status, code) = (words.next().unwrap(), words.next().unwrap());
            let row = documented.lines().find(|row| row.contains(&format!("| {code} |")));
            assert!(row.is_some_and(|row| row.contains(status)), "docs/errors.md has no {line}");
        }
    }

    #[test]
    fn an_error_has_this_shape() {
        let refusal = Refusal::from(requirement::INPUT_MESSAGE_SIZE.refuse("too long", "100001"));
        let correlation = Correlation::new();
        let text = format!("{:#}", refusal.value(None, &correlation));
        insta::assert_snapshot!("shape", text.replace(correlation.as_str(), "<32 hex digits>"));
    }
}
