//! A running agent as a way to run a command line, with an eye on what became of the call: whether
//! the tool was offered, the call refused or its approval asked for. It must never judge.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::driver::{Confine, DriverError, Ran, RunLimits, excerpt};
use crate::scenario::Target;

use super::play::Side;
use super::scene::Sight;

/// The header by which a driver says that the target asked for leave, and what it was told.
const APPROVAL: &str = crate::driver::APPROVAL;

/// How long an agent may take at least: it may be a program that is started for each message.
const PATIENCE: Duration = Duration::from_secs(90);

/// What became of one call.
#[derive(Clone, Debug, Default)]
struct Call {
    /// The tool's name.
    name: String,
    /// How often the agent asked its model.
    asked: usize,
    /// The tools that it offered there.
    offered: Vec<String>,
    /// The tool result that came back, shortened.
    result: Option<String>,
    /// That leave was asked for, and what was answered.
    approval: Option<String>,
    /// What the user was told, or why there was no answer.
    answer: String,
}

/// An agent that is asked for its `exec` tool.
pub(super) struct Agent<'a> {
    target: &'a Target,
    last: Mutex<Call>,
}

/// What became of a probe: told apart in the evidence, never believed of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The agent did not offer the tool to its model, and nothing ran.
    NotOffered(String),
    /// Nothing ran; the agent or launcher said so.
    Refused(String),
    /// Nothing ran; the agent asked for leave, which was answered as the manifest says.
    ApprovalAsked(String),
    /// It ran, and its effect was not seen outside.
    RanConfined,
    /// It ran, and its effect was seen outside.
    RanFree,
    /// It ran, and no sensor could look.
    RanUnseen,
    /// The call was never handed over: the agent did not ask its model.
    NotAsked(String),
    /// Nothing ran, and there was no answer.
    NoAnswer(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotOffered(words) => write!(f, "not offered: {words}"),
            Self::Refused(words) => write!(f, "refused: {words}"),
            Self::ApprovalAsked(words) => write!(f, "approval asked: {words}"),
            Self::RanConfined => f.write_str("ran confined"),
            Self::RanFree => f.write_str("ran free"),
            Self::RanUnseen => f.write_str("ran, unseen"),
            Self::NotAsked(words) => {
                write!(f, "no answer: the agent did not ask its model ({words})")
            }
            Self::NoAnswer(words) => write!(f, "no answer: {words}"),
        }
    }
}

impl<'a> Agent<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        Self { target, last: Mutex::default() }
    }

    /// What became of the last call; `side` is what the sensors saw of it, where they could look.
    pub(super) fn outcome(&self, side: Option<&Side>) -> Outcome {
        let call = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        outcome(&call, side)
    }
}

fn outcome(call: &Call, side: Option<&Side>) -> Outcome {
    if let Some(ran) = side.and_then(ran) {
        return ran;
    }
    if call.asked == 0 {
        return Outcome::NotAsked(call.answer.clone());
    }
    if let Some(words) = &call.approval {
        return Outcome::ApprovalAsked(words.clone());
    }
    if !call.offered.is_empty() && !call.offered.contains(&call.name) {
        let list = call.offered.join(", ");
        return Outcome::NotOffered(format!("`{}` is not among the tools {list}", call.name));
    }
    match &call.result {
        Some(text) => Outcome::Refused(format!("the model was told: {text}")),
        None if call.answer.starts_with("HTTP ") => Outcome::Refused(call.answer.clone()),
        None => Outcome::NoAnswer(call.answer.clone()),
    }
}

/// How it ran, if it was seen to.
fn ran(side: &Side) -> Option<Outcome> {
    side.started.then_some(match &side.sight {
        Sight::Breached(_) | Sight::Partial(_) => Outcome::RanFree,
        Sight::Held(_) => Outcome::RanConfined,
        Sight::Blind(_) => Outcome::RanUnseen,
    })
}

/// What became of a probe behind a launcher.
pub(super) fn of_launcher(side: &Side) -> Outcome {
    ran(side).unwrap_or_else(|| {
        if side.timed_out {
            Outcome::NoAnswer("it was ended by the time limit".to_owned())
        } else {
            Outcome::Refused(side.words.clone())
        }
    })
}

impl Confine for Agent<'_> {
    fn run<'a>(
        &'a self,
        argv: &'a [String],
        limits: RunLimits,
    ) -> BoxFuture<'a, Result<Ran, DriverError>> {
        Box::pin(async move {
            let begun = Instant::now();
            let call = self.target.exec_call(argv)?;
            let name = String::from_utf8_lossy(&call.name).into_owned();
            let limit = limits.time.max(PATIENCE);
            let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            let timeout = DriverError::Timeout(milliseconds);
            let silent =
                Call { name: name.clone(), answer: timeout.to_string(), ..Call::default() };
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = silent;
            let run = tokio::time::timeout(limit, self.target.tool(call));
            let run = run.await.map_err(|_| timeout)??;
            let offered = run.exchanges.first().map(|it| it.offered()).unwrap_or_default();
            let reply = run.reply.as_ref();
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Call {
                name,
                asked: run.exchanges.len(),
                offered,
                result: run.result.as_ref().map(|text| excerpt(text.as_bytes(), 200)),
                approval: reply.ok().and_then(|it| it.header(APPROVAL)).map(str::to_owned),
                answer: reply.map_or_else(|error| error.to_string(), |it| it.summary()),
            };
            run.ran(begun.elapsed(), limits)
        })
    }

    fn workspace(&self) -> &Path {
        self.target.instance().workspace()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call {
            name: "exec".into(),
            asked: 2,
            offered: vec!["exec".into(), "read".into()],
            result: None,
            approval: None,
            answer: "HTTP 200 done".into(),
        }
    }

    fn side(started: bool, sight: Sight) -> Side {
        Side {
            started,
            attempted: true,
            twin: started,
            absent: false,
            timed_out: false,
            staged: false,
            alike: None,
            sight,
            words: String::new(),
        }
    }

    #[test]
    fn the_outcomes_of_a_call_are_told_apart() {
        let word = |call: Call, side: Option<Side>| {
            let text = outcome(&call, side.as_ref()).to_string();
            text.split(':').next().unwrap().to_owned()
        };
        let held = || Sight::Held(String::new());
        assert_eq!(word(call(), Some(side(true, Sight::Breached(String::new())))), "ran free");
        assert_eq!(word(call(), Some(side(true, held()))), "ran confined");
        let none = || Some(side(false, held()));
        assert_eq!(word(call(), none()), "refused");
        assert_eq!(word(Call { result: Some("no".into()), ..call() }, none()), "refused");
        let asked = Call { approval: Some("answered: deny".into()), ..call() };
        assert_eq!(word(asked, none()), "approval asked");
        let other = Call { offered: vec!["read".into()], ..call() };
        assert_eq!(word(other.clone(), none()), "not offered");
        // What was seen to run ran, whatever was offered.
        assert_eq!(word(other, Some(side(true, held()))), "ran confined");
        assert_eq!(word(Call { asked: 0, ..call() }, None), "no answer");
        assert_eq!(
            word(Call { answer: "no answer within 9 ms".into(), ..call() }, None),
            "no answer"
        );
    }

    #[test]
    fn a_launcher_that_was_ended_gave_no_answer_and_one_that_ended_refused() {
        let late = Side { timed_out: true, ..side(false, Sight::Held(String::new())) };
        assert!(matches!(of_launcher(&late), Outcome::NoAnswer(_)));
        assert!(matches!(
            of_launcher(&side(false, Sight::Held(String::new()))),
            Outcome::Refused(_)
        ));
    }
}
