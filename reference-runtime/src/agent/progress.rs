//! What can be heard of a turn while it runs. Everything in it has passed the same door as what is
//! stored. It must never know who listens, nor wait for them.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::broadcast;

use super::call_report::CallReport;

/// How many events a slow listener may lag behind before it misses some.
pub(super) const LAG: usize = 256;

/// One thing that happened in a session. Its serialised form is what listeners are told.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event")]
pub enum Progress {
    /// A turn began.
    #[serde(rename = "turn.started")]
    Started {
        /// The id that joins it with the logs.
        correlation: String,
    },
    /// The model said more; pieces come in order, and the reply of the turn is what counts.
    #[serde(rename = "message.delta")]
    Delta {
        /// The text, vetted.
        text: String,
    },
    /// A call was proposed and is looked at.
    #[serde(rename = "call.started")]
    CallStarted {
        /// The id that the model gave it.
        id: String,
        /// The name that it gave.
        name: String,
    },
    /// What became of a call.
    #[serde(rename = "call.finished")]
    CallFinished(CallReport),
    /// The turn came to an answer.
    #[serde(rename = "turn.finished")]
    Finished {
        /// The whole reply.
        reply: String,
    },
    /// The turn came to none.
    #[serde(rename = "turn.failed")]
    Failed {
        /// What refused, in public words.
        message: &'static str,
        /// The requirement that refused.
        requirement: &'static str,
    },
    /// The session is gone; nothing more will be heard.
    #[serde(rename = "session.ended")]
    Ended,
}

/// Hears what happens in one session.
pub struct Listener {
    /// Keeps the session's events alive while somebody listens.
    pub(super) _live: Arc<super::Live>,
    pub(super) events: broadcast::Receiver<Arc<Progress>>,
}

/// What a listener heard.
#[derive(Debug)]
pub enum Heard {
    /// An event.
    Event(Arc<Progress>),
    /// It was too slow, and that many are lost.
    Missed(u64),
}

impl Listener {
    /// The next event; none when there will be no more.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.events.recv().await {
            Ok(event) => Some(Heard::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
