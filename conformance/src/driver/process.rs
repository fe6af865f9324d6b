//! Reaches a target through an adapter. One that floods, hangs, ends or breaks the protocol costs a
//! bounded time. It must never know what is expected of an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::target::instance::Instance;
use crate::target::manifest::Manifest;
use crate::target::template::Vars;
use crate::target::world::World;

use super::adapter::{Adapter, Hello, MESSAGE, Problem, SHORT, STATUS, introduction, string};
use super::http::Reply;
use super::{Converse, DriverError, command, toolloop};

/// So many adapters are started for one instance of a target, and no more.
const STARTS: u8 = 3;

/// A target behind an adapter.
#[derive(Debug)]
pub struct Adapted {
    manifest: Arc<Manifest>,
    world: Arc<World>,
    vars: Vars,
    live: Mutex<Live>,
}

#[derive(Debug, Default)]
struct Live {
    adapter: Option<(Adapter, Hello)>,
    /// The adapter's names of our sessions.
    sessions: HashMap<String, String>,
    starts: u8,
    /// Why none is started any more.
    given_up: Option<String>,
}

impl Adapted {
    /// The way to this instance; none where its manifest names no `[start]`.
    #[must_use]
    pub fn of(instance: &Instance) -> Option<Self> {
        let manifest = Arc::clone(instance.manifest());
        manifest.start.as_ref()?;
        Some(Self {
            world: Arc::clone(instance.world()),
            vars: instance.vars().clone(),
            manifest,
            live: Mutex::default(),
        })
    }

    async fn begin(&self, live: &mut Live) -> Result<(), DriverError> {
        if live.adapter.is_some() {
            return Ok(());
        }
        if let Some(words) = &live.given_up {
            return Err(DriverError::Died(words.clone()));
        }
        let start = self.manifest.start.as_ref();
        let start = start.ok_or_else(|| DriverError::Unsupported("[start]".to_owned()))?;
        live.starts += 1;
        live.sessions.clear();
        let begun = async {
            let mut command = command(&self.world, &self.vars, start)?;
            let mut adapter = Adapter::start(&mut command).map_err(|error| {
                DriverError::Died(format!("cannot start {}: {error}", start.argv.join(" ")))
            })?;
            let (url, key) = (self.vars.text("MODEL_URL"), self.vars.text("SECRET"));
            let hello = adapter.hello(introduction(&self.world, &url, &key)).await;
            let hello = hello.map_err(|problem| told(&problem, "hello"))?;
            Ok::<_, DriverError>((adapter, hello))
        };
        let begun = begun.await;
        if let Err(error) = &begun {
            live.given_up = Some(error.to_string());
        } else if live.starts >= STARTS {
            live.given_up =
                Some(format!("the adapter was started {STARTS} times and is again gone"));
        }
        live.adapter = Some(begun?);
        Ok(())
    }

    async fn ask(&self, session: &str, text: &[u8]) -> Result<Reply, DriverError> {
        let Ok(text) = std::str::from_utf8(text) else {
            let words = "way to hand over a text that is not UTF-8";
            return Err(DriverError::Unsupported(words.to_owned()));
        };
        let begun = Instant::now();
        let mut live = self.live.lock().await;
        self.begin(&mut live).await?;
        let Live { adapter, sessions, .. } = &mut *live;
        let Some((adapter, hello)) = adapter.as_mut() else {
            return Err(DriverError::Harness("no adapter".to_owned()));
        };
        let said = if hello.can("message") {
            message(adapter, sessions, session, text).await
        } else if hello.can("tool") {
            toolloop::run(adapter, hello, &self.vars.text("MODEL_URL"), text).await
        } else {
            return Err(DriverError::Unsupported("capability `message` or `tool`".to_owned()));
        };
        let (status, body) = match said {
            Ok(reply) => (200, reply),
            Err(Problem::Said { code, message }) => match code.as_str() {
                "refused" => (403, message),
                "invalid" => (400, message),
                "unsupported" => return Err(DriverError::Unsupported(format!("way: {message}"))),
                "failed" => {
                    if hello.can("status") && !alive(adapter).await {
                        live.adapter = None;
                        return Err(DriverError::Died(message));
                    }
                    (500, message)
                }
                _ => {
                    live.adapter = None;
                    let words = format!("the adapter does not know its own capability: {message}");
                    return Err(DriverError::Harness(words));
                }
            },
            Err(problem) => {
                live.adapter = None;
                return Err(told(&problem, "message"));
            }
        };
        let body = body.into_bytes();
        Ok(Reply { status, headers: Vec::new(), body, elapsed: begun.elapsed() })
    }
}

/// One message of a session, which is created with its first one.
async fn message(
    adapter: &mut Adapter,
    sessions: &mut HashMap<String, String>,
    session: &str,
    text: &str,
) -> Result<String, Problem> {
    let id = match sessions.get(session) {
        Some(id) => id.clone(),
        None => {
            let created = adapter.ask("session.create", json!({}), SHORT).await?;
            let id = string(&created, "session", "session.create")?;
            sessions.insert(session.to_owned(), id.clone());
            id
        }
    };
    let answer = adapter.ask("message", json!({ "session": id, "text": text }), MESSAGE).await?;
    string(&answer, "reply", "message")
}

/// Whether the target behind the adapter lives, in the adapter's words.
async fn alive(adapter: &mut Adapter) -> bool {
    let status = adapter.ask("status", json!({}), STATUS).await;
    status.is_ok_and(|status| status.get("alive") == Some(&Value::Bool(true)))
}

fn told(problem: &Problem, method: &str) -> DriverError {
    match problem {
        Problem::Silent(milliseconds) => DriverError::Timeout(*milliseconds),
        Problem::Gone(words) => DriverError::Died(format!("the adapter, at {method}: {words}")),
        Problem::Fault(_) | Problem::Said { .. } => {
            DriverError::Harness(format!("the adapter, at {method}: {problem}"))
        }
    }
}

impl Converse for Adapted {
    fn message<'a>(
        &'a self,
        session: &'a str,
        text: &'a [u8],
    ) -> BoxFuture<'a, Result<Reply, DriverError>> {
        Box::pin(self.ask(session, text))
    }

    fn alive(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let mut live = self.live.lock().await;
            match &mut live.adapter {
                Some((adapter, hello)) => {
                    adapter.lines().runs() && (!hello.can("status") || alive(adapter).await)
                }
                None => live.starts == 0,
            }
        })
    }
}
