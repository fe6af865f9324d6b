//! One turn: a message in, model answers and tool calls one by one, an answer out. Text is never
//! executed, whatever it looks like: calls come from the model's call list alone.

use std::sync::Arc;

use serde::Serialize;

use super::attachment::Attachment;
use super::execute::as_text;
use super::history::{Entry, ProposedCall};
use super::integrity::Seen;
use super::session::SessionId;
use super::{Agent, HISTORY_BYTES, Live, Stop, vet};
use crate::audit::{Correlation, Rejection};
use crate::boundary::Checked;
use crate::boundary::text::Message;
use crate::requirement::{ERROR_DENY, REGISTRY_CALL_INTEGRITY};

/// The most calls that one answer may hold; the rest is refused.
const CALLS_PER_ANSWER: usize = 32;
/// The longest name or id of a call that is stored and sent back, in bytes.
const NAME_BYTES: usize = 200;
const STEP_LIMIT: &str = "[stopped: the turn reached its step limit]";

/// What a turn came to.
#[derive(Debug, Serialize)]
pub struct Reply {
    /// The model's last words.
    pub reply: String,
    /// Every call of the turn, in order.
    pub calls: Vec<CallReport>,
}

/// What became of one call.
#[derive(Debug, Serialize)]
pub struct CallReport {
    /// The id that the model gave it.
    pub id: String,
    /// The name that the model gave.
    pub name: String,
    /// How it ended.
    pub outcome: CallOutcome,
    /// The requirement that refused it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requirement: Option<&'static str>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CallOutcome {
    /// The tool did what it was asked.
    Completed,
    /// The tool did not run.
    Refused,
    /// The tool ran and could not do it.
    Failed,
}

/// Whose doing a failed turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The model or another part of the runtime, not the caller.
    Runtime,
    /// The caller, who for instance ended the session meanwhile.
    Caller,
}

/// A turn that came to no answer.
#[derive(Debug)]
pub struct Failure {
    /// What refused.
    pub rejection: Rejection,
    /// Whose doing it is.
    pub blame: Blame,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        let ended = rejection.requirement() == REGISTRY_CALL_INTEGRITY;
        Self { rejection, blame: if ended { Blame::Caller } else { Blame::Runtime } }
    }
}

/// Who asked, and how long the turn may go on.
struct Turn<'turn> {
    subject: &'turn str,
    correlation: &'turn Correlation,
    session: &'turn SessionId,
    live: Arc<Live>,
    stop: Stop,
    seen: Seen,
    calls: Vec<CallReport>,
}

impl Agent {
    /// Runs a turn. `attachments` are those of this session; tools find copies of them in the
    /// workspace. The message is on disk before the model sees it, and everything that was said
    /// is before this returns. Turns of one session come one after the other.
    ///
    /// # Errors
    /// `error.deny` where a part is not available or the time is over; what the boundary refused
    /// the model's answer by.
    pub async fn message(
        &self,
        subject: &str,
        session: &SessionId,
        message: Checked<Message>,
        attachments: Vec<Attachment>,
        correlation: &Correlation,
    ) -> Result<Reply, Failure> {
        let live = self.live(session);
        let stop = Stop::after(self.timeout).or_when(live.ended.subscribe());
        let _turn = stop.guard(async { Ok(live.turn.lock().await) }).await?;
        let text = message.into_inner().into_string();
        for attachment in &attachments {
            self.store.hand_out(attachment, self.workspace()?).await?;
        }
        self.store.append(session, vec![Entry::User { text, attachments }]).await?;
        let history = self.store.history(session, HISTORY_BYTES).await?;
        let mut turn = Turn {
            subject,
            correlation,
            session,
            live: Arc::clone(&live),
            stop,
            seen: Seen::of(&history),
            calls: Vec::new(),
        };
        let reply = self.converse(&mut turn, history).await?;
        Ok(Reply { reply, calls: turn.calls })
    }

    async fn converse(
        &self,
        turn: &mut Turn<'_>,
        mut history: Vec<Entry>,
    ) -> Result<String, Rejection> {
        let tools = self.registry.list();
        for _ in 0..self.max_steps {
            let answer = self.model.answer(&history, &tools, &self.limits);
            let answer = match turn.stop.guard(answer).await {
                Err(_) if !ERROR_DENY.enforced() => super::model::Answer::default(),
                answer => answer?,
            };
            let text = vet::external(&answer.text, self.audit.redactor(), &self.limits)?;
            #[cfg_attr(not(feature = "knockout"), expect(unused_mut, reason = "knockout adds"))]
            let mut calls = answer.calls;
            #[cfg(feature = "knockout")]
            self.conjure(&text, &history, &mut calls);
            let mut entries = vec![self.assistant(&text, &calls)?];
            for (index, call) in calls.iter().enumerate() {
                let cut = answer.cut || index >= CALLS_PER_ANSWER;
                let text = self.call(turn, call, cut).await?;
                entries.push(Entry::Tool { call: self.label(&call.id)?, text });
            }
            self.store.append(turn.session, entries.clone()).await?;
            if calls.is_empty() {
                return Ok(text);
            }
            history.extend(entries);
        }
        let text = STEP_LIMIT.to_owned();
        let entry = Entry::Assistant { text: text.clone(), calls: Vec::new() };
        self.store.append(turn.session, vec![entry]).await?;
        Ok(text)
    }

    /// One call, from proposal to what the model is told.
    async fn call(
        &self,
        turn: &mut Turn<'_>,
        proposed: &ProposedCall,
        cut: bool,
    ) -> Result<String, Rejection> {
        let ended = *turn.live.ended.borrow();
        let admitted = REGISTRY_CALL_INTEGRITY
            .check(!ended, "the session was ended", || format!("call {:?}", proposed.id))
            .and_then(|()| turn.seen.admit(proposed, cut));
        let result = match admitted {
            Ok(call) => self.execute(turn.subject, turn.correlation, call, &turn.stop).await,
            Err(rejection) => {
                self.refused(turn.subject, turn.correlation, proposed, &rejection).await?;
                Err(rejection)
            }
        };
        let (outcome, requirement, text) = match result {
            Ok(executed) => {
                let outcome =
                    if executed.completed { CallOutcome::Completed } else { CallOutcome::Failed };
                (outcome, None, as_text(&executed.output))
            }
            Err(rejection) => {
                tracing::info!(
                    correlation = turn.correlation.as_str(),
                    requirement = rejection.requirement().id(),
                    cause = rejection.cause(),
                    "call refused: {}",
                    rejection.public()
                );
                let requirement = rejection.requirement().id();
                let told = format!("refused ({requirement}): {}", rejection.public());
                (CallOutcome::Refused, Some(requirement), told)
            }
        };
        turn.calls.push(CallReport {
            id: self.label(&proposed.id)?,
            name: self.label(&proposed.name)?,
            outcome,
            requirement,
        });
        vet::external(&text, self.audit.redactor(), &self.limits)
    }

    /// The answer as it is stored and sent back: every part of it vetted.
    fn assistant(&self, text: &str, calls: &[ProposedCall]) -> Result<Entry, Rejection> {
        let vetted = calls.iter().map(|call| {
            Ok(ProposedCall {
                id: self.label(&call.id)?,
                name: self.label(&call.name)?,
                arguments: vet::external(&call.arguments, self.audit.redactor(), &self.limits)?,
            })
        });
        Ok(Entry::Assistant {
            text: text.to_owned(),
            calls: vetted.collect::<Result<_, Rejection>>()?,
        })
    }

    fn label(&self, text: &str) -> Result<String, Rejection> {
        let mut label = vet::external(text, self.audit.redactor(), &self.limits)?;
        vet::truncate(&mut label, NAME_BYTES);
        Ok(label)
    }

    /// What `registry.no-conjuring` prevents.
    #[cfg(feature = "knockout")]
    fn conjure(&self, answer: &str, history: &[Entry], calls: &mut Vec<ProposedCall>) {
        if crate::requirement::REGISTRY_NO_CONJURING.enforced() || !calls.is_empty() {
            return;
        }
        let heard = match history.last() {
            Some(Entry::User { text, .. } | Entry::Tool { text, .. }) => text.as_str(),
            _ => "",
        };
        for (place, text) in [("answer", answer), ("heard", heard)] {
            for mut call in super::conjure::calls(text) {
                call.id = format!("{}-{place}-{}", call.id, history.len());
                calls.push(call);
            }
        }
    }
}
