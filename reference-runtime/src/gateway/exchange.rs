//! From the text of one request or batch to the text of its answer, the same for every door. It
//! must never know which door the text came in by.

use serde_json::Value;

use super::auth::Authenticated;
use super::envelope::{self, Incoming, Request};
use super::id::Id;
use super::listen::Listeners;
use super::reply::{Refusal, success};
use super::{Gateway, method};
use crate::audit::Correlation;
use crate::requirement;

/// What a text came to.
pub(super) enum Answered {
    /// A JSON-RPC object, or an array of them, as text.
    Done(String),
    /// A single request was refused, or a text as a whole (then without an id).
    Refused(Option<Id>, Refusal),
}

impl Answered {
    /// This answer as the text of a JSON-RPC object, or of an array of them.
    pub(super) fn into_text(self, correlation: &Correlation) -> String {
        match self {
            Self::Done(text) => text,
            Self::Refused(id, refusal) => refusal.object(id.as_ref(), correlation),
        }
    }
}

/// Answers a text whose first request was counted at the door. Nothing is answered before the
/// caller's attempt to authenticate is on record.
pub(super) async fn answer(
    gateway: &Gateway,
    caller: &Authenticated<()>,
    text: &[u8],
    listeners: Option<&Listeners>,
    correlation: &Correlation,
) -> Answered {
    let exchange = Exchange { gateway, caller, listeners, correlation };
    let document = match envelope::scan(text, &gateway.config().limits) {
        Ok(document) => document,
        Err(refusal) => return exchange.unread(refusal).await,
    };
    match envelope::read(&document) {
        Ok(Incoming::Single(request)) => exchange.single(request).await,
        Ok(Incoming::Batch(requests)) => Box::pin(exchange.batch(requests)).await,
        Err(refusal) => exchange.unread(refusal).await,
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
            Ok(result) => Answered::Done(success(&id, &result)),
            Err(refusal) => self.refused(Some(id), refusal).await,
        }
    }

    /// The refusal of a text as a whole.
    async fn unread(&self, refusal: Refusal) -> Answered {
        #[cfg(feature = "knockout")]
        fall_over(&refusal);
        self.refused(None, refusal).await
    }

    /// A refusal, told once the caller's attempt is on record.
    async fn refused(&self, id: Option<Id>, refusal: Refusal) -> Answered {
        let settled = self.gateway.agent.audit().settle(self.caller.attempt()).await;
        Answered::Refused(id, settled.err().map_or(refusal, Refusal::from))
    }

    /// A batch costs what it holds (its first request was counted at the door) and is answered in
    /// order.
    async fn batch(&self, requests: Vec<Result<Request<'_>, Refusal>>) -> Answered {
        let rest = u32::try_from(requests.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let cost = if requirement::RATE_IDENTITY.enforced() { rest } else { 0 };
        let rates = &self.gateway.rates;
        if let Err(refusal) = rates.client(self.caller.identity(), cost, self.correlation).await {
            return self.refused(None, refusal).await;
        }
        let mut answers = String::from("[");
        for request in requests {
            let answered = match request {
                Ok(request) => self.single(request).await,
                Err(refusal) => self.refused(None, refusal).await,
            };
            if answers.len() > 1 {
                answers.push(',');
            }
            answers.push_str(&answered.into_text(self.correlation));
        }
        answers.push(']');
        Answered::Done(answers)
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
