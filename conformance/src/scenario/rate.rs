//! How often: exact counts of admitted requests, seen as sessions that exist and messages that the
//! model received. It must never believe a status alone where an effect can be counted.
//!
//! The config patch `rates-low` of a manifest sets 7 requests and 5 messages a minute.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::driver::http::Request;
use crate::driver::rpc::Rpc;
use crate::sensor::resident::resident;
use crate::target::world::random_hex;

use super::kit::{
    Answered, admitted, all_at_once, another_client, placeholders, set_header, shown,
};
use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// Requests of a client in a minute, by the catalogue.
const CLIENT: usize = 60;
/// Messages of a session in a minute, by the catalogue.
const SESSION: usize = 30;
/// What `rates-low` sets.
const LOW: (usize, usize) = (7, 5);
const MINUTE: Duration = Duration::from_secs(60);
/// A million identities, what they may cost in bytes, and how many are made to tell.
const MILLION: u32 = 1_000_000;
const MILLION_COSTS: u64 = 96 << 20;
const IDENTITIES: std::ops::RangeInclusive<u32> = 40_000..=48_000;

/// The scenarios of this group.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "rate.client-61st",
        requirements: &["rate.client"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(client_61st(lab)),
    },
    Scenario {
        id: "rate.client-parallel",
        requirements: &["rate.client"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(client_parallel(lab)),
    },
    Scenario {
        id: "rate.client-window-edge",
        requirements: &["rate.client"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(client_window_edge(lab)),
    },
    Scenario {
        id: "rate.session-31st",
        requirements: &["rate.session"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(session_31st(lab)),
    },
    Scenario {
        id: "rate.session-parallel",
        requirements: &["rate.session"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(session_parallel(lab)),
    },
    Scenario {
        id: "rate.identity-headers",
        requirements: &["rate.identity"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(identity_headers(lab)),
    },
    Scenario {
        id: "rate.identity-batch",
        requirements: &["rate.identity"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(identity_batch(lab)),
    },
    Scenario {
        id: "rate.override-both",
        requirements: &["rate.override"],
        surface: "config.file",
        alone: false,
        run: |lab| Box::pin(override_both(lab)),
    },
    Scenario {
        id: "rate.bounded-addresses",
        requirements: &["rate.bounded"],
        surface: "process.resources",
        alone: false,
        run: |lab| Box::pin(bounded_addresses(lab)),
    },
];

/// Asks for a session again and again; gives the answers.
async fn ask(rpc: &Rpc, count: usize) -> Result<Vec<Answered>, Trouble> {
    let mut answers = Vec::with_capacity(count);
    for _ in 0..count {
        answers.push(rpc.call("session-create", &placeholders()).await);
    }
    Ok(answers)
}

/// How many of these answers hold a session.
fn sessions(rpc: &Rpc, answers: &[Answered]) -> usize {
    let made = |answer: &&Answered| {
        answer.as_ref().is_ok_and(|reply| rpc.pick("session-create", reply).is_some())
    };
    answers.iter().filter(made).count()
}

/// A refusal by a rate limit: 429 with a whole number of seconds, at most a window.
fn sane(answer: &Answered) -> bool {
    let Ok(reply) = answer else { return false };
    let seconds = reply.header("retry-after").and_then(|text| text.parse::<u64>().ok());
    reply.status == 429 && seconds.is_some_and(|seconds| (1..=60).contains(&seconds))
}

fn last(answers: &[Answered]) -> String {
    answers.last().map(shown).unwrap_or_default()
}

/// A count is good for nothing if the window moved on meanwhile.
fn in_time(begun: Instant) -> Result<(), Trouble> {
    if begun.elapsed() < MINUTE - Duration::from_secs(5) {
        return Ok(());
    }
    let words = "the host is too slow: the requests took longer than the window";
    Err(Trouble::Inconclusive(words.to_owned()))
}

async fn client_61st(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().own_rates()).await?;
    let begun = Instant::now();
    let first = ask(target.rpc(), CLIENT).await?;
    let made = sessions(target.rpc(), &first);
    finding.twin(made == CLIENT, format!("{made} of the first {CLIENT} requests were admitted"));
    let more = ask(target.rpc(), 5).await?;
    in_time(begun)?;
    let over = sessions(target.rpc(), &more);
    finding.reached(true, format!("five more within {:?}", begun.elapsed()));
    finding.no_effect(over == 0, format!("{over} of five more were admitted: {}", last(&more)));
    let stood = more.iter().all(sane);
    finding.no_effect(stood, "each was refused with 429 and a Retry-After of 1 to 60 seconds");
    let other = another_client(&target).await?;
    let made = sessions(&other, &ask(&other, 3).await?);
    finding.twin(made == 3, format!("another client had {made} of 3 requests admitted"));
    finding.twin(target.rpc().alive().await, "health answers");
    Ok(finding)
}

async fn client_parallel(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().own_rates()).await?;
    let request = target.rpc().request("session-create", &placeholders())?;
    let begun = Instant::now();
    let answers = all_at_once(target.rpc(), vec![request; 200]).await;
    in_time(begun)?;
    let made = sessions(target.rpc(), &answers);
    let limited = answers.iter().filter(|answer| sane(answer)).count();
    let silent = answers.iter().filter(|answer| answer.is_err()).count();
    finding.reached(silent == 0, format!("200 at once: {silent} without an answer"));
    finding.no_effect(made <= CLIENT, format!("200 at once: {made} admitted, {limited} put off"));
    finding.twin(made >= CLIENT, format!("200 at once: {made} admitted, {CLIENT} are due"));
    let other = another_client(&target).await?;
    let made = sessions(&other, &ask(&other, 1).await?);
    finding.twin(made == 1, "another client is admitted");
    Ok(finding)
}

/// A window that starts anew lets twice the limit through around its edge. One request, a pause,
/// the rest, and just after the first has left the window exactly one place is free.
async fn client_window_edge(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().own_rates()).await?;
    let begun = Instant::now();
    let first = sessions(target.rpc(), &ask(target.rpc(), 1).await?);
    tokio::time::sleep(Duration::from_secs(50)).await;
    let rest = sessions(target.rpc(), &ask(target.rpc(), CLIENT - 1).await?);
    finding.twin(first + rest == CLIENT, format!("{} of {CLIENT} were admitted", first + rest));
    let filled = begun.elapsed();
    if filled > Duration::from_secs(59) {
        return Err(Trouble::Inconclusive(format!("the host is too slow: filled at {filled:?}")));
    }
    tokio::time::sleep(Duration::from_millis(61_500).saturating_sub(begun.elapsed())).await;
    let request = target.rpc().request("session-create", &placeholders())?;
    let answers = all_at_once(target.rpc(), vec![request; 30]).await;
    let made = sessions(target.rpc(), &answers);
    let after = begun.elapsed();
    finding.reached(true, format!("30 at once, {after:?} after the first"));
    finding.twin(made >= 1, format!("{made} admitted: the place of the first is free again"));
    finding.no_effect(made <= 1, format!("{made} admitted where one place is free"));
    Ok(finding)
}

/// Sends messages to one session; gives how many of them the model received.
async fn messages(target: &Target, session: &str, count: usize) -> Result<Received, Trouble> {
    let mut received = Received::default();
    for _ in 0..count {
        let (talk, request) = message(target, session)?;
        let answer = target.rpc().send(&request).await;
        received.at_model += usize::from(!talk.exchanges().is_empty());
        received.refused += usize::from(sane(&answer));
        received.last = shown(&answer);
    }
    Ok(received)
}

#[derive(Debug, Default)]
struct Received {
    at_model: usize,
    refused: usize,
    last: String,
}

fn message(
    target: &Target,
    session: &str,
) -> Result<(crate::stage::model::Talk, Request), Trouble> {
    let nonce = random_hex(8);
    let talk = target.model().expect(nonce.as_str(), Vec::new());
    let request = target.rpc().message_request(session, format!("please {nonce}").as_bytes())?;
    Ok((talk, request))
}

async fn session_31st(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().own_rates()).await?;
    let begun = Instant::now();
    let (session, other) = (target.session().await?, target.session().await?);
    let first = messages(&target, &session, SESSION).await?;
    let stood = first.at_model == SESSION;
    finding.twin(stood, format!("{} of {SESSION} messages reached the model", first.at_model));
    let more = messages(&target, &session, 4).await?;
    in_time(begun)?;
    finding.reached(true, "four more messages, each on a connection of its own");
    let stood = more.at_model == 0;
    finding.no_effect(stood, format!("{} of them reached the model: {}", more.at_model, more.last));
    let stood = more.refused == 4;
    finding.no_effect(stood, format!("{} of 4 had 429 and a sane Retry-After", more.refused));
    let fresh = messages(&target, &other, 3).await?;
    finding.twin(fresh.at_model == 3, "another session of the same client goes on");
    Ok(finding)
}

async fn session_parallel(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().own_rates()).await?;
    let begun = Instant::now();
    let session = target.session().await?;
    let mut talks = Vec::new();
    let mut requests = Vec::new();
    for _ in 0..45 {
        let (talk, request) = message(&target, &session)?;
        talks.push(talk);
        requests.push(request);
    }
    let answers = all_at_once(target.rpc(), requests).await;
    in_time(begun)?;
    let silent = answers.iter().filter(|answer| answer.is_err()).count();
    let at_model = talks.iter().filter(|talk| !talk.exchanges().is_empty()).count();
    finding.reached(silent == 0, format!("45 messages at once: {silent} without an answer"));
    finding.no_effect(at_model <= SESSION, format!("{at_model} of 45 reached the model"));
    finding.twin(at_model >= SESSION, format!("{at_model} reached the model, {SESSION} are due"));
    Ok(finding)
}

/// What a request may say about itself so that it looks like another client's.
type Disguise = (&'static str, fn(&mut Request, &str));

const DISGUISES: &[Disguise] = &[
    ("a new connection", |_, _| {}),
    ("X-Forwarded-For", |request, _| set_header(request, "X-Forwarded-For", "203.0.113.7")),
    ("x-forwarded-for, a list", |request, _| {
        set_header(request, "x-forwarded-for", "198.51.100.9, 203.0.113.8");
    }),
    ("Forwarded", |request, _| set_header(request, "Forwarded", "for=203.0.113.9;proto=https")),
    ("X-Real-IP", |request, _| set_header(request, "X-Real-IP", "203.0.113.10")),
    ("True-Client-IP", |request, _| set_header(request, "True-Client-IP", "203.0.113.11")),
    ("CF-Connecting-IP", |request, _| set_header(request, "CF-Connecting-IP", "203.0.113.12")),
    ("X-Client-IP", |request, _| set_header(request, "X-Client-IP", "203.0.113.13")),
    ("X-Cluster-Client-IP", |request, _| {
        set_header(request, "X-Cluster-Client-IP", "203.0.113.14");
    }),
    ("another User-Agent", |request, _| set_header(request, "User-Agent", "other/2.0")),
    ("the Host by another name", |request, port| {
        set_header(request, "Host", &format!("localhost:{port}"));
    }),
    ("a query", |request, _| request.path.push_str("?again=1")),
    ("a doubled slash", |request, _| request.path.insert(0, '/')),
    ("header names in capitals", |request, _| {
        for (name, _) in &mut request.headers {
            *name = name.to_ascii_uppercase();
        }
    }),
    ("header names in small letters", |request, _| {
        for (name, _) in &mut request.headers {
            *name = name.to_ascii_lowercase();
        }
    }),
    ("the scheme's name in capitals", |request, _| {
        for (_, value) in &mut request.headers {
            if let Some((scheme, rest)) = value.clone().split_once(' ') {
                *value = format!("{} {rest}", scheme.to_ascii_uppercase());
            }
        }
    }),
    ("X-HTTP-Method-Override", |request, _| {
        set_header(request, "X-HTTP-Method-Override", "GET");
    }),
];

async fn identity_headers(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().own_rates()).await?;
    let begun = Instant::now();
    let port = target.address().port().to_string();
    // The benign twin carries a disguise too, while there is room.
    let mut request = target.rpc().request("session-create", &placeholders())?;
    set_header(&mut request, "X-Forwarded-For", "203.0.113.1");
    let answer = target.rpc().send(&request).await;
    finding.twin(admitted(&answer), "a forwarding header is no reason to refuse");
    let made = sessions(target.rpc(), &ask(target.rpc(), CLIENT - 1).await?);
    finding.twin(made == CLIENT - 1, format!("{made} of {} further ones admitted", CLIENT - 1));
    let full = ask(target.rpc(), 1).await?;
    finding.reached(full.iter().all(sane), format!("the bucket is full: {}", last(&full)));
    for &(how, disguise) in DISGUISES {
        let mut request = target.rpc().request("session-create", &placeholders())?;
        disguise(&mut request, &port);
        let answer = target.rpc().send(&request).await;
        finding.no_effect(!admitted(&answer), format!("{how}: {}", shown(&answer)));
    }
    in_time(begun)?;
    Ok(finding)
}

/// A batch of a call that the manifest says can be batched.
fn batch(target: &Target, count: usize) -> Result<Request, Trouble> {
    let call = target.rpc().describe("session-create")?;
    if !call.batch {
        return Err(Trouble::NotApplicable("the target takes one request at a time".to_owned()));
    }
    let mut request = target.rpc().request("session-create", &placeholders())?;
    let one = request.pieces.concat();
    let body = [b"[".as_slice(), &vec![one; count].join(b",".as_slice()), b"]"].concat();
    request.pieces = vec![body];
    Ok(request)
}

/// How many parts of a batch's answer hold a session.
fn made_by(target: &Target, answer: &Answered) -> usize {
    let Some(serde_json::Value::Array(parts)) = answer.as_ref().ok().and_then(|it| it.json())
    else {
        return 0;
    };
    let picked = |part: &&serde_json::Value| {
        let reply = crate::driver::http::Reply {
            body: part.to_string().into_bytes(),
            ..crate::driver::http::Reply::default()
        };
        target.rpc().pick("session-create", &reply).is_some()
    };
    parts.iter().filter(picked).count()
}

async fn identity_batch(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().own_rates()).await?;
    let begun = Instant::now();
    let small = target.rpc().send(&batch(&target, 2)?).await;
    let made = made_by(&target, &small);
    finding.twin(made == 2, format!("a batch of two makes {made} sessions: {}", shown(&small)));
    let mut total = made;
    for count in [40, 40, 90] {
        let answer = target.rpc().send(&batch(&target, count)?).await;
        let made = made_by(&target, &answer);
        total += made;
        finding.note(format!("a batch of {count} made {made} sessions"));
    }
    let single = sessions(target.rpc(), &ask(target.rpc(), CLIENT + 5).await?);
    total += single;
    in_time(begun)?;
    finding.reached(true, format!("three large batches, then {} single requests", CLIENT + 5));
    let words = format!("{total} sessions within a minute, {single} of them by single requests");
    finding.no_effect(total <= CLIENT, words);
    Ok(finding)
}

async fn override_both(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let low = Options::default().own_rates().patch("rates-low");
    let target = lab.instance(low.clone()).await?;
    let begun = Instant::now();
    let answers = ask(target.rpc(), LOW.0 + 3).await?;
    let made = sessions(target.rpc(), &answers);
    finding.reached(true, format!("the config says {} requests and {} messages", LOW.0, LOW.1));
    finding.no_effect(made <= LOW.0, format!("{made} requests admitted: {}", last(&answers)));
    finding.twin(made >= LOW.0, format!("{made} requests admitted, {} are due", LOW.0));
    in_time(begun)?;

    let target = lab.instance(low).await?;
    let session = target.session().await?;
    let received = messages(&target, &session, LOW.1 + 1).await?;
    let words = format!("{} messages reached the model: {}", received.at_model, received.last);
    finding.no_effect(received.at_model <= LOW.1, words.as_str());
    finding.twin(received.at_model >= LOW.1, words);

    let target = lab.instance(Options::default()).await?;
    let made = sessions(target.rpc(), &ask(target.rpc(), CLIENT + 10).await?);
    let words = format!("with raised limits {made} of {} requests are admitted", CLIENT + 10);
    finding.twin(made == CLIENT + 10, words);
    Ok(finding)
}

/// What an identity may be: an address of 127.0.0.0/8 for each number.
fn loopback(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x7f01_0000 + number)
}

/// One request with a wrong token from an address of its own; whether it was answered.
async fn from(source: Ipv4Addr, address: SocketAddr, request: &[u8]) -> std::io::Result<bool> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let mut stream = socket.connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.take(4_096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 4"))
}

/// Fills the target's memory of who failed, from as many addresses as can be within a window
/// (beyond it, idle ones may be forgotten). How much the last two thirds of them cost tells what a
/// million would.
async fn bounded_addresses(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().in_memory()).await?;
    let wrong = target.rpc().with_token(random_hex(24));
    let request = wrong.request("session-create", &placeholders())?;
    let request: Arc<[u8]> = request.bytes(target.address()).into();
    let pid = target.instance().pid().await;
    let size = move || resident(pid);
    let before = size().ok_or_else(|| {
        Trouble::Inconclusive("the target's memory cannot be looked at here".to_owned())
    })?;
    let (next, answered) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let begun = Instant::now();
    let workers = (0..48).map(|_| {
        let (next, answered) = (Arc::clone(&next), Arc::clone(&answered));
        let (request, address) = (Arc::clone(&request), target.address());
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while begun.elapsed() < Duration::from_secs(52) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= *IDENTITIES.end() {
                    break;
                }
                if from(loopback(number), address, &request).await.unwrap_or(false) {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                if number.is_multiple_of(1_000) {
                    seen.push((number, size().unwrap_or(0)));
                }
            }
            seen
        })
    });
    let mut seen: Vec<(u32, u64)> = Vec::new();
    for worker in futures_util::future::join_all(workers).await {
        seen.extend(worker.map_err(|error| Trouble::Harness(error.to_string()))?);
    }
    seen.sort_unstable();
    let count = answered.load(Ordering::Relaxed);
    if count < *IDENTITIES.start() {
        let words = format!("the host is too slow: {count} addresses within 52 s");
        return Err(Trouble::Inconclusive(words));
    }
    finding.reached(true, format!("{count} addresses were answered in {:?}", begun.elapsed()));
    let after = size().unwrap_or(u64::MAX);
    let from = seen.iter().find(|(number, _)| *number >= count / 3);
    let (number, then) = from.copied().unwrap_or((0, before));
    let slope = after.saturating_sub(then) / u64::from((count - number).max(1));
    let million = after.saturating_sub(before) + slope * u64::from(MILLION - count.min(MILLION));
    let words = format!(
        "{count} cost {} KiB, each of the last two thirds {slope} bytes: a million cost about {} MiB",
        after.saturating_sub(before) >> 10,
        million >> 20
    );
    finding.no_effect(million < MILLION_COSTS, words);
    finding.twin(target.session().await.is_ok(), "the right token is taken afterwards");
    Ok(finding)
}
