//! A conversation of requests, as a record of the family RL writes it, and how many of them had an
//! effect: sessions that exist, messages that the model received. It must never believe a status.
//!
//! ```json
//! {"of": "requests", "steps": [{"times": 7}, {"times": 3, "headers": {"X-Forwarded-For": "203.0.113.{n}"}}]}
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::driver::http::{Reply, Request};
use crate::driver::rpc::Rpc;
use crate::scenario::kit::{Answered, placeholders, set_header, shown};
use crate::scenario::{Target, Trouble};
use crate::stage::model::Talk;
use crate::target::world::random_hex;

/// What the config patch `rates-low` of a manifest sets: requests and messages of a minute.
const LOW: (usize, usize) = (7, 5);
/// A count that took longer than this may reach into the next window.
const IN_TIME: Duration = Duration::from_secs(50);

/// What a record's payload says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Conversation {
    of: Counted,
    steps: Vec<Step>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Counted {
    /// Requests that make a session.
    Requests,
    /// Messages to one session.
    Messages,
}

/// Some requests alike.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Step {
    /// How many.
    times: usize,
    /// All at once.
    #[serde(default)]
    together: bool,
    /// So many calls in each, as one batch.
    #[serde(default)]
    batch: Option<usize>,
    /// Further headers; `{n}` stands for the number of the request.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// What is put behind the path.
    #[serde(default)]
    query: String,
    /// What the names of all headers are turned into.
    #[serde(default)]
    names: Option<Case>,
    /// The connection is closed as soon as the request is written.
    #[serde(default)]
    hang_up: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Case {
    Upper,
    Lower,
}

/// What a conversation came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Calls sent.
    pub(super) sent: usize,
    /// Calls that had their effect.
    pub(super) made: usize,
    /// How many may have it within a minute.
    pub(super) due: usize,
    pub(super) evidence: Vec<String>,
}

/// Has a conversation and counts.
///
/// # Errors
/// `Harness` for a payload that is none, `Inconclusive` where the minute went by.
pub(super) async fn converse(target: &Target, rpc: &Rpc, payload: &[u8]) -> Result<Tally, Trouble> {
    let wrong = |error| Trouble::Harness(format!("the conversation: {error}"));
    let conversation: Conversation = serde_json::from_slice(payload).map_err(wrong)?;
    let mut tally = Tally::default();
    let begun = Instant::now();
    let session = match conversation.of {
        Counted::Requests => None,
        Counted::Messages => Some(rpc.session().await?),
    };
    tally.due = if session.is_some() { LOW.1 } else { LOW.0 };
    let mut number = 0;
    for step in &conversation.steps {
        let mut requests = Vec::new();
        for _ in 0..step.times {
            number += 1;
            requests.push(prepared(target, rpc, session.as_deref(), step, number)?);
        }
        let made = if step.together {
            let all = requests.into_iter().map(|one| one.make(target, rpc, step));
            futures_util::future::join_all(all).await.into_iter().collect::<Vec<_>>()
        } else {
            let mut made = Vec::new();
            for one in requests {
                made.push(one.make(target, rpc, step).await);
            }
            made
        };
        let admitted: usize = made.iter().map(|(count, _)| count).sum();
        let calls = step.times * step.batch.unwrap_or(1);
        let last = made.last().map(|(_, words)| words.clone()).unwrap_or_default();
        tally.evidence.push(format!("{admitted} of {calls} were admitted; the last: {last}"));
        tally.made += admitted;
        tally.sent += calls;
    }
    if begun.elapsed() > IN_TIME {
        let words = "the host is too slow: the conversation took longer than the window";
        return Err(Trouble::Inconclusive(words.to_owned()));
    }
    Ok(tally)
}

/// One request, and how its effect is seen.
struct One {
    request: Request,
    talk: Option<Talk>,
}

fn prepared(
    target: &Target,
    rpc: &Rpc,
    session: Option<&str>,
    step: &Step,
    number: usize,
) -> Result<One, Trouble> {
    let (talk, mut request) = match (session, step.batch) {
        (Some(session), _) => {
            let nonce = random_hex(8);
            let talk = target.model().expect(nonce.as_str(), Vec::new());
            (Some(talk), rpc.message_request(session, format!("please {nonce}").as_bytes())?)
        }
        (None, Some(count)) => (None, batch(rpc, count)?),
        (None, None) => (None, rpc.request("session-create", &placeholders())?),
    };
    for (name, value) in &step.headers {
        let value = value.replace("{n}", &number.to_string());
        let value = value.replace("{port}", &target.address().port().to_string());
        set_header(&mut request, name, &value);
    }
    request.path.push_str(&step.query);
    if let Some(case) = step.names {
        for (name, _) in &mut request.headers {
            *name = match case {
                Case::Upper => name.to_ascii_uppercase(),
                Case::Lower => name.to_ascii_lowercase(),
            };
        }
    }
    Ok(One { request, talk })
}

/// A batch of a call that the manifest says can be batched.
fn batch(rpc: &Rpc, count: usize) -> Result<Request, Trouble> {
    if !rpc.describe("session-create")?.batch {
        return Err(Trouble::NotApplicable("the target takes one request at a time".to_owned()));
    }
    let mut request = rpc.request("session-create", &placeholders())?;
    let one = request.pieces.concat();
    request.pieces =
        vec![[b"[".as_slice(), &vec![one; count].join(b",".as_slice()), b"]"].concat()];
    Ok(request)
}

/// How many parts of an answer, which may be a batch's, hold a session.
fn sessions(rpc: &Rpc, answer: &Answered) -> usize {
    let Ok(reply) = answer else { return 0 };
    let parts = match reply.json() {
        Some(serde_json::Value::Array(parts)) => parts,
        Some(single) => vec![single],
        None => return 0,
    };
    let made = |part: &&serde_json::Value| {
        let reply = Reply { body: part.to_string().into_bytes(), ..Reply::default() };
        rpc.pick("session-create", &reply).is_some()
    };
    parts.iter().filter(made).count()
}

impl One {
    /// How many calls had their effect, and the answer in a line.
    async fn make(self, target: &Target, rpc: &Rpc, step: &Step) -> (usize, String) {
        if step.hang_up {
            let words = hang_up(target, &self.request).await;
            let arrived = match &self.talk {
                Some(talk) => talk.wait(1, Duration::from_millis(400)).await,
                None => false,
            };
            return (usize::from(arrived), words);
        }
        let answer = rpc.send(&self.request).await;
        let made = match &self.talk {
            Some(talk) => usize::from(!talk.exchanges().is_empty()),
            None => sessions(rpc, &answer),
        };
        (made, shown(&answer))
    }
}

/// Writes a request and goes.
async fn hang_up(target: &Target, request: &Request) -> String {
    let sent = async {
        let mut stream = TcpStream::connect(target.address()).await?;
        stream.write_all(&request.bytes(target.address())).await?;
        stream.flush().await
    };
    match sent.await {
        Ok(()) => "gone before the answer".to_owned(),
        Err(error) => error.to_string(),
    }
}
