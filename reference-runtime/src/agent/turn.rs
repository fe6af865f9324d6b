//! One turn: a message in, model answers and tool calls one by one, an answer out. Text is never
//! executed, whatever it looks like: calls come from the model's call list alone.

use std::sync::Arc;

use serde::Serialize;

use super::call_report::{CallOutcome, CallReport};
use super::execute::as_text;
use super::history::{Attachment, Entry, ProposedCall};
use super::integrity::Seen;
use super::progress::Progress;
use super::session_id::SessionId;
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
/// What a model is told of a call whose end nobody saw.
const UNKNOWN_END: &str = "[stopped: what came of this call is not known]";

/// What a turn came to.
#[derive(Debug, Serialize)]
pub struct Reply {
    /// The model's last words.
    pub reply: String,
    /// Every call of the turn, in order.
    pub calls: Vec<CallReport>,
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

/// Results for the calls at the end of a history that have none: the process ended while they ran.
fn unanswered(history: &[Entry]) -> Vec<Entry> {
    let mut open: Vec<&str> = Vec::new();
    for entry in history {
        match entry {
            Entry::Assistant { calls, .. } => {
                open = calls.iter().map(|call| call.id.as_str()).collect();
            }
            Entry::Tool { call, .. } => {
                if let Some(at) = open.iter().position(|id| id == call) {
                    open.remove(at);
                }
            }
            Entry::User { .. } => {}
        }
    }
    let told = |call: &str| Entry::Tool { call: call.to_owned(), text: UNKNOWN_END.to_owned() };
    open.into_iter().map(told).collect()
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
        let stop = Stop::after(self.settings().timeout).or_when(live.order.subscribe());
        let _turn = stop.guard(async { Ok(live.turn.lock().await) }).await?;
        live.tell(Progress::Started { correlation: correlation.as_str().to_owned() });
        let reply = self.turn(subject, session, message, attachments, (&live, stop), correlation);
        let reply = reply.await;
        live.tell(match &reply {
            Ok(reply) => Progress::Finished { reply: reply.reply.clone() },
            Err(rejection) => Progress::Failed {
                message: rejection.public(),
                requirement: rejection.requirement().id(),
            },
        });
        Ok(reply?)
    }

    async fn turn(
        &self,
        subject: &str,
        session: &SessionId,
        message: Checked<Message>,
        attachments: Vec<Attachment>,
        (live, stop): (&Arc<Live>, Stop),
        correlation: &Correlation,
    ) -> Result<Reply, Rejection> {
        let text = message.into_inner().into_string();
        for attachment in &attachments {
            self.store.hand_out(attachment, self.workspace()?).await?;
        }
        let mut said = unanswered(&self.store.history(session, HISTORY_BYTES).await?);
        said.push(Entry::User { text, attachments });
        self.store.append(session, said).await?;
        let history = self.store.history(session, HISTORY_BYTES).await?;
        let mut turn = Turn {
            subject,
            correlation,
            session,
            live: Arc::clone(live),
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
        let tools = self.settings().registry.list();
        for _ in 0..self.settings().max_steps {
            let answer = match self.ask(turn, &history, &tools).await {
                Err(_) if !ERROR_DENY.enforced() => super::model::Answer::default(),
                answer => answer?,
            };
            let text = vet::external(&answer.text, self.audit.redactor(), &self.settings().limits)?;
            #[cfg_attr(not(feature = "knockout"), expect(unused_mut, reason = "knockout adds"))]
            let mut calls = answer.calls;
            #[cfg(feature = "knockout")]
            self.conjure(&text, &history, &mut calls);
            let said = self.assistant(&text, &calls)?;
            // On disk before a call runs: its id is used up whatever happens to this process.
            self.store.append(turn.session, vec![said.clone()]).await?;
            history.push(said);
            if calls.is_empty() {
                return Ok(text);
            }
            let mut entries = Vec::with_capacity(calls.len());
            for (index, call) in calls.iter().enumerate() {
                let cut = answer.cut || index >= CALLS_PER_ANSWER;
                let text = self.call(turn, call, cut).await?;
                entries.push(Entry::Tool { call: self.label(&call.id)?, text });
            }
            self.store.append(turn.session, entries.clone()).await?;
            history.extend(entries);
        }
        let text = STEP_LIMIT.to_owned();
        let entry = Entry::Assistant { text: text.clone(), calls: Vec::new() };
        self.store.append(turn.session, vec![entry]).await?;
        Ok(text)
    }

    /// The model's next answer; who listens hears its text as it comes.
    async fn ask(
        &self,
        turn: &Turn<'_>,
        history: &[Entry],
        tools: &[crate::registry::Listing],
    ) -> Result<super::model::Answer, Rejection> {
        let mut deltas = vet::Deltas::new(self.audit.redactor(), &self.settings().limits);
        let mut heard = |piece: &str| {
            if let Some(text) = deltas.push(piece) {
                turn.live.tell(Progress::Delta { text });
            }
        };
        let limits = self.settings().limits;
        let answer = self.model.answer(history, tools, &limits, &mut heard);
        let answer = turn.stop.guard(answer).await?;
        if let Some(text) = deltas.finish() {
            turn.live.tell(Progress::Delta { text });
        }
        Ok(answer)
    }

    /// One call, from proposal to what the model is told.
    async fn call(
        &self,
        turn: &mut Turn<'_>,
        proposed: &ProposedCall,
        cut: bool,
    ) -> Result<String, Rejection> {
        let (id, name) = (self.label(&proposed.id)?, self.label(&proposed.name)?);
        turn.live.tell(Progress::CallStarted { id: id.clone(), name: name.clone() });
        let admitted = turn.stop.in_force().and_then(|()| turn.seen.admit(proposed, cut));
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
        let report = CallReport { id, name, outcome, requirement };
        turn.live.tell(Progress::CallFinished(report.clone()));
        turn.calls.push(report);
        vet::external(&text, self.audit.redactor(), &self.settings().limits)
    }

    /// The answer as it is stored and sent back: every part of it vetted.
    fn assistant(&self, text: &str, calls: &[ProposedCall]) -> Result<Entry, Rejection> {
        let vetted = calls.iter().map(|call| {
            Ok(ProposedCall {
                id: self.label(&call.id)?,
                name: self.label(&call.name)?,
                arguments: vet::external(
                    &call.arguments,
                    self.audit.redactor(),
                    &self.settings().limits,
                )?,
            })
        });
        Ok(Entry::Assistant {
            text: text.to_owned(),
            calls: vetted.collect::<Result<_, Rejection>>()?,
        })
    }

    fn label(&self, text: &str) -> Result<String, Rejection> {
        let mut label = vet::external(text, self.audit.redactor(), &self.settings().limits)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ids: &[&str]) -> Entry {
        let call =
            |id: &&str| ProposedCall { id: (*id).into(), name: "x".into(), arguments: "{}".into() };
        Entry::Assistant { text: String::new(), calls: ids.iter().map(call).collect() }
    }

    fn result(call: &str, text: &str) -> Entry {
        Entry::Tool { call: call.into(), text: text.into() }
    }

    #[test]
    fn calls_without_a_result_are_told_to_have_an_unknown_end() {
        let whole = [Entry::user("go"), answer(&["a", "b"]), result("a", "1"), result("b", "2")];
        assert!(unanswered(&whole).is_empty());
        assert_eq!(unanswered(&whole[..3]), [result("b", UNKNOWN_END)]);
        assert_eq!(unanswered(&whole[..2]).len(), 2);
        assert!(unanswered(&[]).is_empty());
    }
}
