//! The life of one plugin: started when its first call comes, spoken to one call at a time, ended
//! when it breaks a rule, is too slow or has nothing to do, and started again with growing pauses.
//! It must never let what it does reach another plugin, nor wait for it without an end.

use std::{collections::VecDeque, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    net::UnixStream,
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Plugin,
    door::{COPY, Door, SOCKET},
    message::{self, Incoming},
    wire::{self, Reader},
};
use crate::{
    audit::{Correlation, Kind, Outcome as Ending, Rejection},
    rate::Limiter,
    requirement::{ERROR_DENY, PLUGIN_FRAME, PLUGIN_PEER, PLUGIN_PROCESS},
    sandbox::{Companion, Contained, Gone, Outcome, Wanted},
};

/// How long a plugin may take from its start to its answer to `plugin.hello`.
const START_TIME: Duration = Duration::from_secs(10);
/// A plugin without a call for so long is ended; the next call starts it again.
const IDLE_TIME: Duration = Duration::from_secs(300);
/// The pause after the first fall; each further one in a row doubles it.
const PAUSE: Duration = Duration::from_millis(250);
/// So many falls in a row, and it is not started any more.
const MOST_FALLS: u32 = 5;
/// Frames of one plugin in any second.
const FRAMES_PER_SECOND: u32 = 100;
/// What a frame costs that was refused or that nobody asked for.
const REFUSED_COST: u32 = 4;
/// Connections of strangers while a plugin starts.
const MOST_STRANGERS: u32 = 64;
/// A process that used so much of its 20 seconds of CPU gives way to a new one between two calls.
const WORN: Duration = Duration::from_secs(10);

/// One call, and where its answer goes.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) tool: &'static str,
    pub(super) arguments: Value,
    pub(super) correlation: Correlation,
    pub(super) answer: oneshot::Sender<Result<Contained<Outcome>, Rejection>>,
}

/// Why a plugin's process is to end.
enum End {
    /// It did something wrong: a fall.
    Fell(Rejection),
    /// Whoever called went away, or nothing is to be done.
    Done,
}

/// Answers calls until nobody can make any more.
pub(super) async fn live(plugin: Arc<Plugin>, mut calls: mpsc::Receiver<Call>) {
    let mut falls = 0_u32;
    let mut not_before = Instant::now();
    while let Some(mut call) = calls.recv().await {
        if call.answer.is_closed() {
            continue;
        }
        if falls >= MOST_FALLS && PLUGIN_PROCESS.enforced() {
            let cause = format!("{} fell {falls} times in a row", plugin.name());
            let public = "the plugin fell too often and is not started any more";
            let _ = call.answer.send(Err(PLUGIN_PROCESS.refuse(public, cause)));
            continue;
        }
        if PLUGIN_PROCESS.enforced() {
            tokio::select! {
                () = sleep_until(not_before) => {}
                () = call.answer.closed() => continue,
            }
        }
        let fell = match Session::begin(&plugin, &call.correlation).await {
            Ok(mut session) => {
                let (answered, end) = session.serve(call, &mut calls).await;
                if answered {
                    falls = 0;
                }
                let words = session.end().await;
                let fell = matches!(end, End::Fell(_));
                session.tell_end(&end, &words).await;
                fell
            }
            Err(rejection) => {
                // Where nothing was started, nothing fell.
                let fell = rejection.requirement().id().starts_with("plugin.");
                let ending = Ending::Deny;
                let told = plugin.event(ending, "start", &call.correlation);
                let told =
                    told.refused_by(rejection.requirement()).with("cause", rejection.cause());
                let _ = plugin.audit.record(told).await;
                let _ = call.answer.send(Err(rejection));
                fell
            }
        };
        if fell {
            falls = falls.saturating_add(1);
            not_before = Instant::now() + PAUSE * 2_u32.saturating_pow(falls.saturating_sub(1));
        }
    }
}

/// One process of a plugin, from its start to its end.
struct Session {
    plugin: Arc<Plugin>,
    companion: Contained<Companion>,
    reader: Reader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    pid: Option<u32>,
    next_id: u64,
    rate: Limiter<()>,
    correlation: Correlation,
    // Last, so that the process ends before its folder goes.
    _door: Door,
}

impl Session {
    /// Starts a process, waits until it connects and says hello.
    async fn begin(plugin: &Arc<Plugin>, correlation: &Correlation) -> Result<Self, Rejection> {
        let node = super::node()?;
        let (name, bundle, owner) =
            (plugin.name().to_owned(), plugin.bundle()?, plugin.sandbox.owner());
        let made = tokio::task::spawn_blocking(move || Door::open(&name, &bundle, owner)).await;
        let door =
            made.map_err(|error| ERROR_DENY.refuse("it did not start", error.to_string()))??;
        let wanted = Wanted {
            folder: door.folder().to_owned(),
            argv: argv(&node, &plugin.declaration.main),
            level: plugin.declaration.sandbox,
            capabilities: plugin.declaration.capabilities(),
        };
        let mut companion = plugin.sandbox.accompany(wanted)?;
        let starting = async {
            let stream = plugin.connected(&door, &mut companion, correlation).await?;
            let pid = stream.peer_cred().ok().and_then(|who| u32::try_from(who.pid()?).ok());
            let mut stream = stream;
            wire::greet(&mut stream).await?;
            Ok::<_, Rejection>((stream, pid))
        };
        let (stream, pid) = timeout(START_TIME, starting).await.map_err(|_| slow("to start"))??;
        let (read, writer) = stream.into_split();
        let mut session = Self {
            plugin: Arc::clone(plugin),
            companion,
            reader: Reader::new(read, plugin.limits().body_bytes),
            writer,
            pid,
            next_id: 0,
            rate: Limiter::new(FRAMES_PER_SECOND, Duration::from_secs(1), 1),
            correlation: correlation.clone(),
            _door: door,
        };
        session.hello().await?;
        let level = serde_json::to_value(session.companion.level()).unwrap_or_default();
        let started = plugin
            .event(Ending::Allow, "start", correlation)
            .with("level", level)
            .with("version", plugin.declaration.version.as_str())
            .with("sha256", plugin.digest.as_str());
        plugin.audit.record(started).await?;
        Ok(session)
    }

    /// The first question. What a plugin is was declared and accepted before; all that is asked is
    /// whether it speaks this protocol.
    async fn hello(&mut self) -> Result<(), Rejection> {
        let params = json!({"protocol": 1, "name": self.plugin.name()});
        let asked = self.ask("plugin.hello", &params);
        let answer = timeout(START_TIME, asked).await.map_err(|_| slow("to say hello"))?;
        let answer = answer.map_err(|end| self.refusal(end))?;
        PLUGIN_FRAME.check(
            answer == Ok(json!({"protocol": 1})),
            "the plugin speaks another protocol",
            || format!("it said hello with {answer:?}"),
        )
    }

    /// Answers this call and those that come after it, until the process is to end. Says whether
    /// it answered any.
    async fn serve(&mut self, first: Call, calls: &mut mpsc::Receiver<Call>) -> (bool, End) {
        let mut next = Some(first);
        let mut answered = false;
        loop {
            if let Some(call) = next.take() {
                match self.call(call).await {
                    Ok(()) => answered = true,
                    Err(end) => return (answered, end),
                }
                if self.used().is_some_and(|used| used > WORN) {
                    return (answered, End::Done);
                }
            }
            let idle = Instant::now() + IDLE_TIME;
            next = loop {
                tokio::select! {
                    biased;
                    gone = self.companion.get_mut().gone() => return (answered, self.fell(gone)),
                    frame = self.reader.next() => match self.taken(frame).await {
                        Ok(Some(Incoming::Reply { .. })) => {
                            if let Err(end) = self.dropped("a reply that nobody waits for").await {
                                return (answered, end);
                            }
                        }
                        Ok(_) => {}
                        Err(end) => return (answered, end),
                    },
                    call = calls.recv() => match call {
                        Some(call) => break Some(call),
                        None => return (answered, End::Done),
                    },
                    () = sleep_until(idle) => return (answered, End::Done),
                }
            };
        }
    }

    /// Makes one call and gives its answer to whoever waits.
    async fn call(&mut self, mut call: Call) -> Result<(), End> {
        self.correlation = call.correlation.clone();
        let params = json!({"tool": call.tool, "arguments": call.arguments});
        let limit = self.plugin.time_limit();
        let asked = async {
            let asked = self.ask("tool.call", &params);
            if PLUGIN_PROCESS.enforced() {
                timeout(limit, asked).await.unwrap_or_else(|_| Err(End::Fell(slow("to answer"))))
            } else {
                asked.await
            }
        };
        let outcome = tokio::select! {
            asked = asked => asked,
            () = call.answer.closed() => return Err(End::Done),
        };
        match outcome {
            Ok(answer) => {
                let outcome = match answer {
                    Ok(output @ Value::Object(_)) => Outcome { completed: true, output },
                    Ok(other) => Outcome { completed: true, output: json!({"result": other}) },
                    Err(words) => Outcome { completed: false, output: json!({"error": words}) },
                };
                let _ = call.answer.send(Ok(self.companion.yields(outcome)));
                Ok(())
            }
            Err(End::Fell(why)) => {
                let (requirement, public) = (why.requirement(), why.public());
                let again = requirement.refuse(public, why.cause());
                let _ = call.answer.send(Err(again));
                Err(End::Fell(why))
            }
            Err(End::Done) => Err(End::Done),
        }
    }

    /// Sends a request and waits for its answer; the plugin's own requests are answered meanwhile.
    async fn ask(&mut self, method: &str, params: &Value) -> Result<Result<Value, String>, End> {
        self.next_id += 1;
        let id = self.next_id;
        self.say(&message::request(id, method, params)).await?;
        loop {
            tokio::select! {
                // Its last words count: what it said before it ended was said.
                biased;
                frame = self.reader.next() => match self.taken(frame).await? {
                    Some(Incoming::Reply { id: theirs, result }) => {
                        if message::is_answer_to(&theirs, id) {
                            return Ok(result);
                        }
                        self.dropped("a reply under an id that was not asked").await?;
                    }
                    Some(Incoming::Request { .. }) | None => {}
                },
                gone = self.companion.get_mut().gone() => return Err(self.fell(gone)),
            }
        }
    }

    /// Counts a frame, reads it, and answers it where it is a request.
    async fn taken(
        &mut self,
        frame: Result<Option<Vec<u8>>, Rejection>,
    ) -> Result<Option<Incoming>, End> {
        let Some(frame) = frame.map_err(End::Fell)? else {
            // It closed its connection; how it ended is told by its process.
            let ending = self.companion.get_mut().gone();
            return match timeout(Duration::from_secs(1), ending).await {
                Ok(gone) => Err(self.fell(gone)),
                Err(_) => Err(End::Fell(ended("it closed its connection"))),
            };
        };
        self.spend(1)?;
        let limits = self.plugin.limits();
        match message::read(&frame, &limits) {
            Ok(Incoming::Request { id, method, params }) => {
                self.answer(id, &method, &params).await?;
                Ok(None)
            }
            Ok(reply) => Ok(Some(reply)),
            Err(rejection) => {
                self.spend(REFUSED_COST)?;
                self.refused("frame", &rejection).await?;
                self.say(&message::error(&Value::Null, -32600, rejection.public())).await?;
                Ok(None)
            }
        }
    }

    async fn answer(&mut self, id: Option<Value>, method: &str, params: &Value) -> Result<(), End> {
        let answer = self.plugin.host.answer(method, params).await;
        if let Err(rejection) = &answer {
            self.spend(REFUSED_COST)?;
            let action: String = method.chars().take(100).collect();
            self.refused(&format!("host:{action}"), rejection).await?;
        }
        let Some(id) = id else { return Ok(()) };
        let body = match &answer {
            Ok(result) => message::result(&id, result),
            Err(rejection) => message::error(&id, -32001, rejection.public()),
        };
        self.say(&body).await
    }

    async fn say(&mut self, body: &[u8]) -> Result<(), End> {
        wire::send(&mut self.writer, body)
            .await
            .map_err(|error| End::Fell(ended(error.to_string())))
    }

    fn spend(&self, cost: u32) -> Result<(), End> {
        let admitted = self.rate.admit(&(), cost);
        let refused = PLUGIN_FRAME.check(
            admitted.is_ok(),
            "the plugin sends more messages than it may",
            || format!("more than {FRAMES_PER_SECOND} in a second"),
        );
        refused.map_err(End::Fell)
    }

    /// A reply is passed over, and recorded.
    async fn dropped(&mut self, what: &str) -> Result<(), End> {
        self.spend(REFUSED_COST)?;
        self.refused("frame", &PLUGIN_FRAME.refuse("a reply was dropped", what)).await
    }

    async fn refused(&self, action: &str, rejection: &Rejection) -> Result<(), End> {
        let event = self
            .plugin
            .event(Ending::Deny, action, &self.correlation)
            .refused_by(rejection.requirement())
            .with("cause", rejection.cause());
        self.plugin.audit.record(event).await.map_err(End::Fell)
    }

    /// CPU time that the process used.
    fn used(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid?)).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let ticks: u64 =
            fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
    }

    fn fell(&self, gone: Result<Gone, Rejection>) -> End {
        End::Fell(match gone {
            Ok(gone) => ended(how(&gone)),
            Err(rejection) => rejection,
        })
    }

    fn refusal(&self, end: End) -> Rejection {
        match end {
            End::Fell(rejection) => rejection,
            End::Done => ended("nobody waits for it"),
        }
    }

    /// Ends the process and waits until it is gone; what it wrote to its error stream.
    async fn end(&mut self) -> String {
        self.companion.get_mut().end();
        let gone = timeout(Duration::from_secs(6), self.companion.get_mut().gone()).await;
        gone.ok().and_then(Result::ok).map(|gone| gone.words).unwrap_or_default()
    }

    async fn tell_end(&self, end: &End, words: &str) {
        let ending = if matches!(end, End::Fell(_)) { Ending::Failed } else { Ending::Completed };
        let mut event = self.plugin.event(ending, "end", &self.correlation);
        if let End::Fell(rejection) = end {
            event = event.refused_by(rejection.requirement()).with("cause", rejection.cause());
            tracing::warn!(
                plugin = self.plugin.name(),
                requirement = rejection.requirement().id(),
                cause = rejection.cause(),
                "a plugin was ended: {}",
                rejection.public()
            );
        }
        let words: String = words.chars().take(300).collect();
        let _ = self.plugin.audit.record(event.with("words", words)).await;
    }
}

impl Plugin {
    /// Waits for the plugin's own connection; others are sent away and recorded.
    async fn connected(
        &self,
        door: &Door,
        companion: &mut Contained<Companion>,
        correlation: &Correlation,
    ) -> Result<UnixStream, Rejection> {
        for _ in 0..MOST_STRANGERS {
            let helper = companion.get().helper();
            let accepted = tokio::select! {
                accepted = door.accept(|| helper.pid()) => accepted,
                gone = companion.get_mut().gone() => {
                    let gone = gone?;
                    return Err(ended(how(&gone)));
                }
            };
            let accepted = accepted.map_err(|error| ended(error.to_string()))?;
            let stranger = match accepted {
                Ok(stream) => return Ok(stream),
                Err(stranger) => stranger,
            };
            let event = self
                .event(Ending::Deny, "connect", correlation)
                .refused_by(PLUGIN_PEER)
                .with("cause", stranger.to_string());
            self.audit.record(event).await?;
        }
        Err(PLUGIN_PEER.refuse("the plugin's place is besieged", "strangers connect to it"))
    }

    fn event(
        &self,
        ending: Ending,
        action: &str,
        correlation: &Correlation,
    ) -> crate::audit::Event {
        let subject = format!("plugin:{}", self.name());
        crate::audit::Event::new(Kind::Plugin, ending, subject, action, correlation.clone())
    }
}

fn slow(what: &str) -> Rejection {
    PLUGIN_PROCESS.refuse("the plugin took too long", format!("its time {what} was over"))
}

fn ended(cause: impl Into<String>) -> Rejection {
    PLUGIN_PROCESS.refuse("the plugin ended before it answered", cause)
}

/// How a process came to its end, for the log.
fn how(gone: &Gone) -> String {
    let words: String = gone.words.chars().take(300).collect();
    match gone.code {
        Some(code) => format!("exit {code}: {words}"),
        None => format!("it was ended for how much it printed, which began with: {words}"),
    }
}

/// The command line of a plugin, from its folder.
fn argv(node: &std::path::Path, main: &str) -> Vec<OsString> {
    let words: VecDeque<OsString> = [
        "--max-old-space-size=160".to_owned(),
        format!("{COPY}/{main}"),
        format!("ipc://{SOCKET}"),
    ]
    .map(OsString::from)
    .into();
    std::iter::once(PathBuf::from(node).into_os_string()).chain(words).collect()
}
