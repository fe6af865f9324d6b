//! The hostile model: a server on loopback that speaks several model APIs. It answers each conversation
//! by the script laid down for the key (a nonce) in the user's message, and records all it is sent.
//! It must never know which answer is an attack.

mod answer;
mod chat;
mod dialect;
mod gemini;
mod messages;
mod responses;
mod server;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;

use dialect::Dialect;

pub use answer::{Answer, Break, ToolCall};

/// How many requests of one conversation are recorded and answered by script; a runaway loop
/// beyond it is answered with plain text.
const REQUEST_LIMIT: usize = 64;

/// What the model says where no script is left.
pub const DEFAULT_TEXT: &str = "Understood.";

/// One request that a target sent to its model.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
    /// The body as JSON, in the shape of chat completions whatever the API; `Null` if it is none.
    pub json: Value,
    /// What the model answered.
    pub answer: Answer,
}

impl Exchange {
    /// The messages, each an object with `role` and `content`.
    #[must_use]
    pub fn messages(&self) -> &[Value] {
        self.json.get("messages").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The texts of the messages of a role, in order; the parts of a message are joined.
    #[must_use]
    pub fn texts(&self, role: &str) -> Vec<String> {
        self.messages()
            .iter()
            .filter(|message| message.get("role").and_then(Value::as_str) == Some(role))
            .map(|message| content_text(message.get("content").unwrap_or(&Value::Null)))
            .collect()
    }

    /// The names of the tools offered to the model.
    #[must_use]
    pub fn offered(&self) -> Vec<String> {
        let tools = self.json.get("tools").and_then(Value::as_array);
        tools
            .into_iter()
            .flatten()
            .filter_map(|tool| tool.pointer("/function/name")?.as_str())
            .map(str::to_owned)
            .collect()
    }
}

fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect::<Vec<_>>()
            .join(""),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[derive(Debug, Default)]
struct Conversation {
    answers: Vec<Answer>,
    exchanges: Vec<Arc<Exchange>>,
}

#[derive(Debug, Default)]
struct State {
    conversations: HashMap<String, Conversation>,
    strays: Vec<Arc<Exchange>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

impl Shared {
    /// Chooses the answer to a request and records both.
    fn answer(&self, dialect: Dialect, headers: Vec<(String, String)>, body: Vec<u8>) -> Answer {
        let json: Value = serde_json::from_slice(&body)
            .or_else(|_| serde_json::from_str(&String::from_utf8_lossy(&body)))
            .unwrap_or(Value::Null);
        let json = dialect.normalise(json);
        let mut exchange = Exchange { headers, body, json, answer: Answer::default() };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key_of(&exchange, state.conversations.keys());
        let record = match key.and_then(|key| state.conversations.get_mut(&key)) {
            Some(conversation) => {
                let turn = conversation.exchanges.len();
                if let Some(answer) = conversation.answers.get(turn) {
                    exchange.answer = answer.clone();
                }
                &mut conversation.exchanges
            }
            None => &mut state.strays,
        };
        let answer = exchange.answer.clone();
        if record.len() < REQUEST_LIMIT {
            record.push(Arc::new(exchange));
        }
        drop(state);
        self.changed.notify_waiters();
        answer
    }
}

/// The key that stands in the last user message that has one; else anywhere in the body.
fn key_of<'a>(exchange: &Exchange, keys: impl Iterator<Item = &'a String>) -> Option<String> {
    let keys: Vec<&String> = keys.collect();
    let users = exchange.texts("user");
    for text in users.iter().rev() {
        if let Some(key) = keys.iter().find(|key| text.contains(key.as_str())) {
            return Some((*key).clone());
        }
    }
    let body = String::from_utf8_lossy(&exchange.body);
    keys.into_iter().find(|key| body.contains(key.as_str())).cloned()
}

/// A running model. It stops when it is dropped.
#[derive(Debug)]
pub struct Model {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Model {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Model {
    /// Starts a model on a free loopback port.
    ///
    /// # Errors
    /// No port could be had.
    pub async fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (address, task) = server::start(Arc::clone(&shared)).await?;
        Ok(Self { address, shared, task })
    }

    /// The base URL to give to a target: `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The loopback port on which the suite listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Lays down the answers for the conversation whose user message holds `key`. The key must be
    /// random, and long enough to stand nowhere by chance. Forgotten when the talk is dropped.
    #[must_use]
    pub fn expect(&self, key: impl Into<String>, answers: Vec<Answer>) -> Talk {
        let key = key.into();
        let conversation = Conversation { answers, exchanges: Vec::new() };
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.conversations.insert(key.clone(), conversation);
        Talk { key, shared: Arc::clone(&self.shared) }
    }

    /// Requests that held no known key, at most 64.
    #[must_use]
    pub fn strays(&self) -> Vec<Arc<Exchange>> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).strays.clone()
    }
}

/// One scripted conversation.
#[derive(Debug)]
pub struct Talk {
    key: String,
    shared: Arc<Shared>,
}

impl Drop for Talk {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.conversations.remove(&self.key);
    }
}

impl Talk {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The requests of this conversation so far.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Arc<Exchange>> {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.conversations.get(&self.key).map(|it| it.exchanges.clone()).unwrap_or_default()
    }

    /// Waits until the conversation has at least `count` requests; says whether it came to that.
    pub async fn wait(&self, count: usize, limit: Duration) -> bool {
        let arrived = async {
            loop {
                let changed = self.shared.changed.notified();
                if self.exchanges().len() >= count {
                    return;
                }
                // Bounded, since a notice between the check and the await could be missed.
                let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
            }
        };
        tokio::time::timeout(limit, arrived).await.is_ok()
    }

    /// The texts of tool results that came back to the model, in the order of their first sight.
    #[must_use]
    pub fn tool_results(&self) -> Vec<String> {
        self.exchanges().last().map(|exchange| exchange.texts("tool")).unwrap_or_default()
    }
}
