//! Who listens to which sessions over one connection. A slow listener misses events and is told
//! how many; nobody waits for it. It must never know what an event means.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::envelope::invalid_params;
use super::reply::Refusal;
use crate::agent::{Heard, Listener, SessionId};

/// The most sessions that one connection may listen to.
const SESSIONS: usize = 16;

/// The listeners of one connection; they end with it.
pub(super) struct Listeners {
    out: mpsc::Sender<String>,
    sessions: Mutex<HashMap<SessionId, AbortHandle>>,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        let sessions = self.sessions.get_mut().unwrap_or_else(PoisonError::into_inner);
        sessions.values().for_each(AbortHandle::abort);
    }
}

impl Listeners {
    /// Nobody listens yet; what is heard goes to `out`.
    pub(super) fn new(out: mpsc::Sender<String>) -> Self {
        Self { out, sessions: Mutex::default() }
    }

    /// Listens to a session, once.
    ///
    /// # Errors
    /// Where the connection listens to too many.
    pub(super) fn subscribe(
        &self,
        session: &SessionId,
        listener: impl FnOnce() -> Listener,
    ) -> Result<(), Refusal> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, task| !task.is_finished());
        if sessions.contains_key(session) {
            return Ok(());
        }
        if sessions.len() >= SESSIONS {
            return Err(invalid_params("the connection listens to too many sessions"));
        }
        let (id, out) = (session.as_str().to_owned(), self.out.clone());
        let task = tokio::spawn(forward(id, listener(), out));
        sessions.insert(session.clone(), task.abort_handle());
        Ok(())
    }

    /// Stops to listen; says whether it did.
    pub(super) fn unsubscribe(&self, session: &SessionId) -> bool {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(session).inspect(AbortHandle::abort).is_some()
    }
}

async fn forward(session: String, mut listener: Listener, out: mpsc::Sender<String>) {
    while let Some(heard) = listener.next().await {
        let (params, last) = match heard {
            Heard::Event(event) => {
                let last = matches!(*event, crate::agent::Progress::Ended);
                (serde_json::to_value(&*event).unwrap_or(Value::Null), last)
            }
            Heard::Missed(count) => (json!({ "event": "events.missed", "count": count }), false),
        };
        let mut params = params;
        if let Some(members) = params.as_object_mut() {
            members.insert("session".to_owned(), session.as_str().into());
        }
        let notice = json!({ "jsonrpc": "2.0", "method": "event", "params": params });
        if out.send(notice.to_string()).await.is_err() || last {
            return;
        }
    }
}
