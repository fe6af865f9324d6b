//! Reaches an agent behind a web service whose answers come by a stream of events, by a socket, by
//! asking again, or after it asked for leave; the manifest says which. It must never know what is
//! expected of an answer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::target::instance::Instance;
use crate::target::manifest::{Approval, Manifest, Told};
use crate::target::template::Vars;

use super::events::Events;
use super::http::Reply;
use super::rpc::{CALL_LIMIT, Rpc};
use super::turn::{Event, Reading, Step};
use super::websocket::Socket;
use super::{APPROVAL, Converse, DriverError, excerpt};

/// How long a turn may take.
const TURN: Duration = Duration::from_secs(120);
/// How long lies between two looks at a turn that is asked for again.
const PAUSE: Duration = Duration::from_millis(100);
/// So many events are read for one turn, and no more.
const EVENTS: usize = 20_000;

/// A target behind a web service.
#[derive(Debug)]
pub struct Web {
    manifest: Arc<Manifest>,
    rpc: Rpc,
    /// The server's names of our sessions.
    sessions: Mutex<HashMap<String, String>>,
}

/// Where the events of a turn come from.
enum Source {
    /// The answer to the message alone.
    Once(Option<Value>),
    Events(Events),
    Socket(Box<Socket>),
    Poll(Rpc, Vars),
}

impl Web {
    /// The way to this instance.
    #[must_use]
    pub fn of(instance: &Instance) -> Self {
        Self {
            manifest: Arc::clone(instance.manifest()),
            rpc: Rpc::new(instance),
            sessions: Mutex::default(),
        }
    }

    async fn session(&self, ours: &str) -> Result<String, DriverError> {
        if !self.rpc.has("session-create") {
            return Ok(ours.to_owned());
        }
        let mut sessions = self.sessions.lock().await;
        if let Some(id) = sessions.get(ours) {
            return Ok(id.clone());
        }
        let id = self.rpc.session().await?;
        sessions.insert(ours.to_owned(), id.clone());
        Ok(id)
    }

    async fn ask(&self, session: &str, text: &[u8]) -> Result<Reply, DriverError> {
        let begun = Instant::now();
        let mut vars = Vars::new();
        vars.set("SESSION", self.session(session).await?).set("TEXT", text);
        // Its events may begin before the message is answered.
        let mut source = match self.manifest.turn.told {
            Told::Events => {
                let request = self.rpc.request("events", &vars)?;
                let open =
                    tokio::time::timeout(CALL_LIMIT, Events::open(self.rpc.address(), &request));
                Source::Events(open.await.map_err(|_| silent(CALL_LIMIT))??)
            }
            Told::Websocket => Source::Socket(Box::new(Socket::open(&self.rpc, |_| {}).await?)),
            Told::Reply | Told::Poll => Source::Once(None),
        };
        if let Source::Socket(socket) = &mut source {
            let body = self.rpc.request("message", &vars)?.pieces.concat();
            socket.text(&[body]).await?;
        } else {
            let request = self.rpc.request("message", &vars)?;
            let reply = request.send(self.rpc.address(), TURN).await?;
            if reply.refused() {
                return Ok(reply);
            }
            match self.manifest.turn.told {
                Told::Reply if self.manifest.turn.asks.is_empty() => return Ok(reply),
                Told::Reply => source = Source::Once(reply.json()),
                Told::Poll => {
                    let run = self.rpc.pick("message", &reply);
                    let lacks = || {
                        let words = reply.summary();
                        DriverError::Refused(format!(
                            "calls.message picks nothing to poll: {words}"
                        ))
                    };
                    vars.set(
                        "RUN",
                        if self.picks() { run.ok_or_else(lacks)? } else { String::new() },
                    );
                    source = Source::Poll(self.rpc.clone(), vars.clone());
                }
                Told::Events | Told::Websocket => {}
            }
        }
        let left = TURN.saturating_sub(begun.elapsed());
        let read = tokio::time::timeout(left, self.read(&mut source, &vars));
        let mut reply = read.await.map_err(|_| silent(TURN))??;
        reply.elapsed = begun.elapsed();
        Ok(reply)
    }

    fn picks(&self) -> bool {
        self.manifest.calls.get("message").is_some_and(|call| call.pick.is_some())
    }

    /// Reads a turn to its end and answers what it asks leave for.
    async fn read(&self, source: &mut Source, vars: &Vars) -> Result<Reply, DriverError> {
        let mut reading = Reading::new(&self.manifest.turn);
        let (mut asked, mut answered) = (0, HashSet::new());
        let mut last = Event::default();
        for _ in 0..EVENTS {
            let event = source.next().await.map_err(|error| after(error, &last))?;
            match reading.hear(&event) {
                Step::On => {}
                Step::Asked(id) => {
                    // A turn that is looked at again asks the same again.
                    if !matches!(source, Source::Poll(..)) || answered.insert(id.clone()) {
                        asked += 1;
                        self.approve(source, vars, &id).await?;
                    }
                }
                Step::End { failed } => {
                    return Ok(self.reply(if failed { 500 } else { 200 }, reading.words, asked));
                }
            }
            last = event;
            if let Source::Once(None) = source {
                return Ok(self.reply(200, reading.words, asked));
            }
        }
        Err(DriverError::Died(format!("the server told {EVENTS} events and did not end the turn")))
    }

    /// Answers a request for leave as the manifest's policy says.
    async fn approve(&self, source: &mut Source, vars: &Vars, id: &str) -> Result<(), DriverError> {
        let turn = &self.manifest.turn;
        let allow = self.manifest.approval == Approval::Allow;
        let mut vars = vars.clone();
        vars.set("REQUEST", id).set("DECISION", if allow { &*turn.allow } else { &*turn.deny });
        let request = self.rpc.request("approve", &vars)?;
        if let Source::Socket(socket) = source {
            return socket.text(&[request.pieces.concat()]).await;
        }
        let reply = request.send(self.rpc.address(), TURN).await?;
        if reply.refused() {
            let words = reply.summary();
            return Err(DriverError::Refused(format!(
                "the answer to its question was refused: {words}"
            )));
        }
        // Where the answer to the message was the question, what follows is the answer to this.
        if let Source::Once(next) = source {
            *next = reply.json();
        }
        Ok(())
    }

    fn reply(&self, status: u16, words: String, asked: usize) -> Reply {
        let mut headers = Vec::new();
        if asked > 0 {
            let answer = if self.manifest.approval == Approval::Allow { "allow" } else { "deny" };
            let words = format!("leave was asked for {asked} times, answered: {answer}");
            headers.push((APPROVAL.to_owned(), words));
        }
        Reply { status, headers, body: words.into_bytes(), ..Reply::default() }
    }
}

impl Source {
    async fn next(&mut self) -> Result<Event, DriverError> {
        let unnamed = |value| Event { name: String::new(), value };
        match self {
            Self::Once(value) => Ok(unnamed(value.take().unwrap_or_default())),
            Self::Events(events) => events.next().await,
            Self::Socket(socket) => {
                let frame = socket.frame().await?;
                let text = || Value::String(String::from_utf8_lossy(&frame).into_owned());
                Ok(unnamed(serde_json::from_slice(&frame).unwrap_or_else(|_| text())))
            }
            Self::Poll(rpc, vars) => {
                tokio::time::sleep(PAUSE).await;
                let reply = rpc.call("poll", vars).await?;
                if reply.refused() {
                    return Err(DriverError::Refused(format!("calls.poll: {}", reply.summary())));
                }
                let none =
                    || DriverError::Refused(format!("calls.poll is no JSON: {}", reply.summary()));
                reply.json().map(unnamed).ok_or_else(none)
            }
        }
    }
}

/// What went wrong, with the last event that came before it.
fn after(error: DriverError, last: &Event) -> DriverError {
    match error {
        DriverError::Died(words) if !last.value.is_null() => {
            let event = excerpt(last.value.to_string().as_bytes(), 200);
            DriverError::Died(format!("{words}; its last event: {event}"))
        }
        other => other,
    }
}

fn silent(limit: Duration) -> DriverError {
    DriverError::Timeout(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
}

impl Converse for Web {
    fn message<'a>(
        &'a self,
        session: &'a str,
        text: &'a [u8],
    ) -> BoxFuture<'a, Result<Reply, DriverError>> {
        Box::pin(self.ask(session, text))
    }

    fn alive(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { !self.rpc.has("health") || self.rpc.alive().await })
    }
}
