//! The methods: a table of names and roles, and what each does with checked parameters. It must
//! never read a byte that the boundary has not seen, nor serve a caller that the gate has not.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::{Layer as _, Service as _, service_fn};

use super::Gateway;
use super::auth::{Authenticated, Identity};
use super::envelope::{Request, invalid_params};
use super::listen::Listeners;
use super::reply::Refusal;
use super::token::Role;
use crate::agent::{Attachment, Blame, SessionId};
use crate::audit::{Correlation, Event, Kind, Outcome, Plain, Rejection};
use crate::boundary::{Checked, Limits, attachment, text};
use crate::registry::ToolCall;
use crate::requirement;
use crate::vault::{ApiKey, Vault};

/// Every method, and the role that it asks for.
pub const METHODS: &[(&str, Role)] = &[
    ("config.get", Role::Admin),
    ("config.set", Role::Admin),
    ("credentials.delete", Role::Admin),
    ("credentials.list", Role::Admin),
    ("credentials.put", Role::Admin),
    ("events.subscribe", Role::User),
    ("events.unsubscribe", Role::User),
    ("session.cancel", Role::User),
    ("session.create", Role::User),
    ("session.end", Role::User),
    ("session.history", Role::User),
    ("session.list", Role::User),
    ("session.message", Role::User),
    ("system.health", Role::User),
    ("system.status", Role::User),
    ("system.version", Role::User),
    ("tools.execute", Role::User),
    ("tools.list", Role::User),
];

const NO_SESSION: &str = "there is no such session";
const NO_ATTACHMENT: &str = "there is no such attachment";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InSession {
    session: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    session: String,
    text: String,
    /// Anything: it was scanned like all input, and nothing here reads it.
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(default)]
    attachments: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Execute {
    name: String,
    arguments: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    name: String,
    secret: ApiKey,
}

/// A message of the caller's own session, whole.
struct Said {
    session: SessionId,
    text: Checked<text::Message>,
    attachments: Vec<Attachment>,
}

/// What every method works with.
struct Context<'request> {
    gateway: &'request Gateway,
    caller: &'request Identity,
    /// None where the answer is all that can be sent.
    listeners: Option<&'request Listeners>,
    correlation: &'request Correlation,
}

/// Runs one request of an authenticated caller. The decision whether the caller may use the method
/// is recorded before anything happens.
///
/// # Errors
/// The refusal.
pub(super) async fn dispatch(
    gateway: &Gateway,
    request: Authenticated<Request<'_>>,
    listeners: Option<&Listeners>,
    correlation: &Correlation,
) -> Result<Value, Refusal> {
    let caller = request.identity();
    let name = request.get().method();
    let Some((method, role)) = METHODS.iter().find(|(method, _)| *method == name) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, -32601, "there is no such method"));
    };
    let admin = caller.role == Role::Admin || !requirement::AUTH_REQUIRED.enforced();
    let allowed = *role == Role::User || admin;
    let outcome = if allowed { Outcome::Allow } else { Outcome::Deny };
    let event = Plain {
        kind: Kind::Authorization,
        outcome,
        subject: caller.subject.clone(),
        action: method,
        correlation: correlation.clone(),
        peer: None,
    };
    // Both records, who came and whether it may, are waited for here at once.
    gateway.agent.audit().record_after(request.attempt(), event).await?;
    if !allowed {
        return Err(Refusal::forbidden());
    }
    let context = Context { gateway, caller, listeners, correlation };
    context.run(name, request.get()).await
}

impl Context<'_> {
    /// What waits long has a box of its own: the others need not carry its size.
    async fn run(&self, name: &str, request: &Request<'_>) -> Result<Value, Refusal> {
        match name {
            "session.create" => Box::pin(self.session_create(request.params()?)).await,
            "session.message" => Box::pin(self.session_message(request.params()?)).await,
            "session.history" => Box::pin(self.session_history(request.params()?)).await,
            "session.cancel" => Box::pin(self.session_cancel(request.params()?)).await,
            "events.subscribe" => Box::pin(self.listen(request.params()?, true)).await,
            "events.unsubscribe" => Box::pin(self.listen(request.params()?, false)).await,
            "session.end" => Box::pin(self.session_end(request.params()?)).await,
            "session.list" => Box::pin(self.session_list(request.params()?)).await,
            "tools.list" => self.tools_list(request.params()?),
            "tools.execute" => Box::pin(self.tools_execute(request.params()?)).await,
            "credentials.put" => Box::pin(self.credentials_put(request.params()?)).await,
            "credentials.list" => Box::pin(self.credentials_list(request.params()?)).await,
            "credentials.delete" => Box::pin(self.credentials_delete(request.params()?)).await,
            "system.status" => self.system_status(request.params()?),
            "system.health" => request.params::<Nothing>().map(|_| json!({ "status": "ok" })),
            "system.version" => request.params::<Nothing>().map(|_| version()),
            "config.get" => self.config_get(request.params()?),
            "config.set" => Box::pin(self.config_set(request.params()?)).await,
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, -32601, "there is no such method")),
        }
    }

    fn limits(&self) -> Limits {
        self.gateway.config().limits
    }

    /// Attachments of a session by their ids, each of them once.
    async fn attachments(
        &self,
        session: &SessionId,
        ids: &[Value],
    ) -> Result<Vec<Attachment>, Refusal> {
        let mut found: Vec<Attachment> = Vec::with_capacity(ids.len());
        for id in ids {
            let id =
                id.as_str().ok_or_else(|| invalid_params("the id of an attachment is a string"))?;
            text::identifier(id)?;
            if found.iter().any(|other| other.id == id) {
                return Err(invalid_params("the message names an attachment twice"));
            }
            let attachment = self.gateway.agent.attachment(session, id).await?;
            found.push(attachment.ok_or_else(|| Refusal::not_found(NO_ATTACHMENT))?);
        }
        Ok(found)
    }

    /// The caller's own session; somebody else's is as absent as one that never was.
    async fn session(&self, id: &str) -> Result<SessionId, Refusal> {
        own_session(self.gateway, self.caller, id).await
    }

    async fn session_create(&self, _: Nothing) -> Result<Value, Refusal> {
        let id = self.gateway.agent.create(self.caller.subject.as_str()).await?;
        Ok(json!({ "session": id.as_str() }))
    }

    /// The rate of a session stands as a layer before what stores a message and has it answered. It
    /// is here and not at the door because the session is named in the body, and because a frame
    /// and a part of a batch come here too.
    async fn session_message(&self, message: Message) -> Result<Value, Refusal> {
        let text = text::message(message.text, &self.limits())?;
        attachment::count(message.attachments.len(), &self.limits())?;
        let session = self.session(&message.session).await?;
        let attachments = self.attachments(&session, &message.attachments).await?;
        let counted = self.gateway.rates.messages(
            |said: &Said| (said.session.clone(), 1),
            |_, retry_after| async move {
                let rates = &self.gateway.rates;
                Err(rates.too_many_messages(self.caller, retry_after, self.correlation).await)
            },
        );
        let said = Said { session, text, attachments };
        counted.layer(service_fn(|said| self.say(said))).call(said).await
    }

    async fn say(&self, Said { session, text, attachments }: Said) -> Result<Value, Refusal> {
        let subject = self.caller.subject.as_str();
        let agent = &self.gateway.agent;
        match agent.message(subject, &session, text, attachments, self.correlation).await {
            Ok(reply) => serde_json::to_value(reply).map_err(internal),
            Err(failure) => {
                let refusal = Refusal::from(failure.rejection);
                Err(match failure.blame {
                    Blame::Runtime => refusal.unavailable(),
                    Blame::Caller => refusal,
                })
            }
        }
    }

    async fn session_history(&self, InSession { session }: InSession) -> Result<Value, Refusal> {
        let id = self.session(&session).await?;
        let entries = self.gateway.agent.history(&id).await?;
        Ok(json!({ "session": session, "entries": entries }))
    }

    async fn session_end(&self, InSession { session }: InSession) -> Result<Value, Refusal> {
        let id = self.session(&session).await?;
        self.gateway.agent.end(&id).await?;
        Ok(json!({ "ended": true }))
    }

    async fn session_cancel(&self, InSession { session }: InSession) -> Result<Value, Refusal> {
        let id = self.session(&session).await?;
        self.gateway.agent.cancel(&id);
        Ok(json!({ "cancelled": true }))
    }

    async fn listen(
        &self,
        InSession { session }: InSession,
        listen: bool,
    ) -> Result<Value, Refusal> {
        let id = self.session(&session).await?;
        let Some(listeners) = self.listeners else {
            let public = "events are told over a WebSocket connection";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, -32600, public));
        };
        if !listen {
            return Ok(json!({ "unsubscribed": listeners.unsubscribe(&id) }));
        }
        listeners.subscribe(&id, || self.gateway.agent.listen(&id))?;
        Ok(json!({ "subscribed": session }))
    }

    async fn session_list(&self, _: Nothing) -> Result<Value, Refusal> {
        let sessions = self.gateway.agent.list(self.caller.subject.as_str()).await?;
        Ok(json!({ "sessions": sessions }))
    }

    fn tools_list(&self, _: Nothing) -> Result<Value, Refusal> {
        Ok(json!({ "tools": self.gateway.agent.tools() }))
    }

    async fn tools_execute(&self, Execute { name, arguments }: Execute) -> Result<Value, Refusal> {
        let agent = &self.gateway.agent;
        let id = format!("direct-{}", SessionId::random()?.as_str());
        let call = ToolCall { id, name, arguments };
        let subject = self.caller.subject.as_str();
        let limit = agent.time_limit();
        let executed = agent.execute(subject, self.correlation, call, &limit).await?;
        Ok(json!({ "completed": executed.completed, "output": executed.output }))
    }

    async fn credentials_put(&self, Put { name, secret }: Put) -> Result<Value, Refusal> {
        text::identifier(&name)?;
        let redactor = self.gateway.agent.audit().redactor().clone();
        redactor.hold(secret.expose());
        let (record, key) = (name.clone(), secret.clone());
        let replaced = self.in_vault(move |vault| {
            // A record that does not open is replaced all the same.
            let old = vault.get(&record).ok().flatten();
            vault.put(&record, &key).map(|()| old)
        });
        let replaced = match replaced.await {
            Ok(old) => old,
            Err(refusal) => {
                redactor.release(secret.expose());
                return Err(refusal);
            }
        };
        if let Some(old) = replaced {
            redactor.release(old.expose());
        }
        tracing::debug!(name, ?secret, "a credential is stored");
        let shown = serde_json::to_value(&secret).map_err(internal)?;
        self.changed("credentials.put", &name, Some(shown)).await?;
        Ok(json!({ "stored": name }))
    }

    async fn credentials_list(&self, _: Nothing) -> Result<Value, Refusal> {
        let names = self.in_vault(|vault| vault.list()).await?;
        Ok(json!({ "credentials": names }))
    }

    async fn credentials_delete(&self, Named { name }: Named) -> Result<Value, Refusal> {
        text::identifier(&name)?;
        let record = name.clone();
        let removed = self.in_vault(move |vault| {
            let old = vault.get(&record).ok().flatten();
            vault.remove(&record).map(|removed| removed.then_some(old))
        });
        let Some(old) = removed.await? else {
            return Err(Refusal::not_found("there is no such credential"));
        };
        if let Some(old) = old {
            // Nothing here holds it any more. What came of it stays redacted where it was written.
            self.gateway.agent.audit().redactor().release(old.expose());
        }
        self.changed("credentials.delete", &name, None).await?;
        Ok(json!({ "deleted": name }))
    }

    /// Vault work blocks (a key derivation takes a large part of a second).
    async fn in_vault<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Vault) -> Result<T, Rejection> + Send + 'static,
    ) -> Result<T, Refusal> {
        let vault: Arc<Vault> = self.gateway.vault()?;
        let done = tokio::task::spawn_blocking(move || work(&vault)).await;
        Ok(done.map_err(internal)??)
    }

    async fn changed(
        &self,
        action: &str,
        name: &str,
        value: Option<Value>,
    ) -> Result<(), Rejection> {
        let subject = self.caller.subject.as_str();
        let correlation = self.correlation.clone();
        let event = Event::new(Kind::Config, Outcome::Completed, subject, action, correlation);
        let event = event.with("name", name);
        let event = value.into_iter().fold(event, |event, value| event.with("value", value));
        self.gateway.agent.audit().record(event).await
    }

    fn system_status(&self, _: Nothing) -> Result<Value, Refusal> {
        let sandbox = self.gateway.agent.sandbox();
        Ok(json!({ "version": env!("CARGO_PKG_VERSION"), "sandbox": sandbox }))
    }

    fn config_get(&self, _: Nothing) -> Result<Value, Refusal> {
        serde_json::to_value(&*self.gateway.config()).map_err(internal)
    }

    /// A merge patch of what can change while the process runs.
    async fn config_set(&self, patch: Value) -> Result<Value, Refusal> {
        const WRONG: &str = "the settings are not valid, or are taken at the start alone";
        let wrong =
            |cause: String| Refusal::new(StatusCode::BAD_REQUEST, -32602, WRONG).because(cause);
        let config = self.gateway.config();
        let wanted = config.patched(&patch).map_err(|it| wrong(it.cause().to_owned()))?;
        if let Some(waiting) = config.adopt(wanted.clone()).waiting.first() {
            return Err(wrong(format!("{} is taken at the start", waiting.key)));
        }
        let subject = self.caller.subject.as_str();
        let correlation = self.correlation.clone();
        let adopted = self.gateway.adopt(wanted, subject, "config.set", correlation).await?;
        serde_json::to_value(adopted.changed)
            .map(|changed| json!({ "changed": changed }))
            .map_err(internal)
    }
}

/// The caller's own session; somebody else's is as absent as one that never was.
///
/// # Errors
/// 404 without one, or the requirement of Layer 1 that the id breaks.
pub(super) async fn own_session(
    gateway: &Gateway,
    caller: &Identity,
    id: &str,
) -> Result<SessionId, Refusal> {
    text::identifier(id)?;
    let id = SessionId::parse(id).ok_or_else(|| Refusal::not_found(NO_SESSION))?;
    if gateway.agent.owns(caller.subject.as_str(), &id).await? {
        Ok(id)
    } else {
        Err(Refusal::not_found(NO_SESSION))
    }
}

fn version() -> Value {
    json!({ "version": env!("CARGO_PKG_VERSION") })
}

pub(super) fn internal(error: impl std::fmt::Display) -> Refusal {
    requirement::ERROR_NO_PANIC
        .refuse("the runtime met a fault of its own", error.to_string())
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_methods_is_sorted_and_has_no_double() {
        assert!(METHODS.is_sorted_by(|left, right| left.0 < right.0));
    }
}
