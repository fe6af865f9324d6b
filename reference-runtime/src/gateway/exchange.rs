//! From the text of one request or batch to the text of its answer, the same for every door. It
//! must never know which door the text came in by.

use serde_json::Value;

use super::auth::Authenticated;
use super::envelope::{self, Incoming, Request};
use super::listen::Listeners;
use super::reply::{Refusal, success};
use super::{Gateway, method};
use crate::audit::Correlation;
use crate::requirement;

/// What a text came to.
pub(super) enum Answered {
    /// A JSON-RPC object, or an array of them.
    Done(Value),
    /// A single request was refused, or a text as a whole (then without an id).
    Refused(Option<envelope::Id>, Refusal),
}

impl Answered {
    /// The JSON-RPC value of this answer.
    pub(super) fn into_value(self, correlation: &Correlation) -> Value {
        match self {
            Self::Done(value) => value,
            Self::Refused(id, refusal) => refusal.object(id.as_ref(), correlation),
        }
    }
}

/// Answers a text whose first request was counted at the door.
pub(super) async fn answer(
    gateway: &Gateway,
    caller: &Authenticated<()>,
    text: &[u8],
    listeners: Option<&Listeners>,
    correlation: &Correlation,
) -> Answered {
    let refused = |refusal| {
        #[cfg(feature = "knockout")]
        fall_over(&refusal);
        Answered::Refused(None, refusal)
    };
    let document = match envelope::scan(text, &gateway.config().limits) {
        Ok(document) => document,
        Err(refusal) => return refused(refusal),
    };
    let exchange = Exchange { gateway, caller, listeners, correlation };
    match envelope::read(&document) {
        Ok(Incoming::Single(request)) => exchange.single(request).await,
        Ok(Incoming::Batch(requests)) => exchange.batch(requests).await,
        Err(refusal) => refused(refusal),
    }
}

struct Exchange<'exchange> {
    gateway: &'exchange Gateway,
    caller: &'exchange Authenticated<()>,
    listeners: Option<&'exchange Listeners>,
    correlation: &'exchange Correlation,
}

impl Exchange<'_> {
    async fn single(&self, request: Request<'_>) -> Answered {
        let id = request.id().clone();
        match self.dispatch(request).await {
            Ok(result) => Answered::Done(success(&id, result)),
            Err(refusal) => Answered::Refused(Some(id), refusal),
        }
    }

    /// A batch costs what it holds (its first request was counted at the door) and is answered in
    /// order.
    async fn batch(&self, requests: Vec<Result<Request<'_>, Refusal>>) -> Answered {
        let rest = u32::try_from(requests.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let cost = if requirement::RATE_IDENTITY.enforced() { rest } else { 0 };
        let rates = &self.gateway.rates;
        if let Err(refusal) = rates.client(self.caller.identity(), cost, self.correlation).await {
            return Answered::Refused(None, refusal);
        }
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            let answered = match request {
                Ok(request) => self.single(request).await,
                Err(refusal) => Answered::Refused(None, refusal),
            };
            answers.push(answered.into_value(self.correlation));
        }
        Answered::Done(Value::Array(answers))
    }

    async fn dispatch(&self, request: Request<'_>) -> Result<Value, Refusal> {
        let request = self.caller.carrying(request);
        method::dispatch(self.gateway, request, self.listeners, self.correlation).await
    }
}

/// What `error.no-panic` prevents: a server that takes every document to be whole and dies of one
/// with a container left open.
#[cfg(feature = "knockout")]
fn fall_over(refusal: &Refusal) {
    let unclosed = refusal.cause().contains(crate::boundary::json::UNCLOSED);
    if unclosed && !requirement::ERROR_NO_PANIC.enforced() {
        std::process::abort();
    }
}
