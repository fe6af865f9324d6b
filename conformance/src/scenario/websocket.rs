//! The doors of HTTP once more, for frames of a WebSocket: tokens, origins, limits and rates. What
//! passed is told by the model and by sessions that exist. It must never take a closed connection
//! for more than a no.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::driver::DriverError;
use crate::driver::websocket::{Socket, head};
use crate::sensor::resident::Watch;
use crate::target::template::depth_before;
use crate::target::world::random_hex;

use super::kit::{Answered, denied, fresh_token, placeholders, shown};
use super::offer::{GROWTH, OFFER};
use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// Requests of a client in a minute.
const CLIENT: usize = 60;

/// The scenarios of this group.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "auth.required-websocket",
        requirements: &["auth.required"],
        surface: "websocket",
        alone: false,
        run: |lab| Box::pin(tokens(lab)),
    },
    Scenario {
        id: "auth.origin-websocket",
        requirements: &["auth.origin"],
        surface: "websocket",
        alone: false,
        run: |lab| Box::pin(origins(lab)),
    },
    Scenario {
        id: "input.json-depth-websocket",
        requirements: &["input.json-depth"],
        surface: "websocket",
        alone: false,
        run: |lab| Box::pin(depth(lab)),
    },
    Scenario {
        id: "input.json-strict-websocket",
        requirements: &["input.json-strict"],
        surface: "websocket",
        alone: false,
        run: |lab| Box::pin(strict(lab)),
    },
    Scenario {
        id: "input.message-size-websocket",
        requirements: &["input.message-size"],
        surface: "websocket",
        alone: false,
        run: |lab| Box::pin(size(lab)),
    },
    Scenario {
        id: "input.control-chars-websocket",
        requirements: &["input.control-chars"],
        surface: "websocket",
        alone: false,
        run: |lab| Box::pin(characters(lab, CONTROLS)),
    },
    Scenario {
        id: "input.null-byte-websocket",
        requirements: &["input.null-byte"],
        surface: "websocket",
        alone: false,
        run: |lab| Box::pin(characters(lab, NULLS)),
    },
    Scenario {
        id: "rate.identity-websocket",
        requirements: &["rate.identity", "rate.client"],
        surface: "websocket",
        alone: false,
        run: |lab| Box::pin(frames_count(lab)),
    },
    Scenario {
        id: "input.bounded-memory-websocket",
        requirements: &["input.bounded-memory"],
        surface: "websocket",
        alone: false,
        run: |lab| Box::pin(endless(lab)),
    },
];

async fn open(target: &Target) -> Result<Socket, DriverError> {
    Socket::open(target.rpc(), |_| ()).await
}

/// Replaces the value of a header of the handshake, or adds it.
fn set(headers: &mut Vec<(String, String)>, name: &str, value: &str) {
    headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    headers.push((name.to_owned(), value.to_owned()));
}

/// Sends a message by a frame of these fragments; whether it reached the model.
async fn send(
    target: &Target,
    socket: &mut Socket,
    nonce: &str,
    fragments: &[Vec<u8>],
) -> (bool, Answered) {
    let talk = target.model().expect(nonce, Vec::new());
    let answer = match socket.text(fragments).await {
        Ok(()) => socket.answer().await,
        Err(error) => Err(error),
    };
    (!talk.exchanges().is_empty(), answer)
}

/// The frame of a message whose text is these bytes.
fn message(target: &Target, session: &str, text: &[u8]) -> Result<Vec<u8>, Trouble> {
    Ok(target.rpc().message_request(session, text)?.pieces.concat())
}

async fn tokens(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let token = target.var("TOKEN");
    let mut socket = open(&target).await?;
    let created = socket.call("session-create", &placeholders()).await?;
    let session = target.rpc().pick("session-create", &created);
    finding.twin(session.is_some(), format!("the right token serves: {}", created.summary()));
    let session = session.unwrap_or_default();

    let cut = token.get(..token.len().saturating_sub(1)).unwrap_or_default().to_owned();
    let wrong = [String::new(), random_hex(24), cut, format!("{token}a")];
    let ways = wrong.into_iter().map(Some).chain([None]);
    for way in ways {
        let rpc = target.rpc().with_token(way.clone().unwrap_or_default());
        let opened = Socket::open(&rpc, |headers| {
            if way.is_none() {
                headers.clear();
            }
        });
        let served = match opened.await {
            Ok(mut socket) => {
                let answer = socket.call("session-create", &placeholders()).await;
                let made = answer
                    .as_ref()
                    .is_ok_and(|it| target.rpc().pick("session-create", it).is_some());
                finding.reached(true, format!("{way:?} was let in: {}", shown(&answer)));
                made
            }
            Err(DriverError::Refused(words)) => {
                finding.reached(true, format!("{way:?}: {words}"));
                false
            }
            Err(error) => return Err(error.into()),
        };
        finding.no_effect(!served, format!("with {way:?} a frame was served: {served}"));
    }

    // A token that ends while its connection is open.
    let brief = target.rpc().with_token(fresh_token(&target, "token-brief").await?);
    let mut socket = Socket::open(&brief, |_| ()).await?;
    let young = socket.call("session-create", &placeholders()).await;
    let own = young.as_ref().ok().and_then(|it| brief.pick("session-create", it));
    finding.twin(own.is_some(), "a token that counts for three seconds is good at first");
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let nonce = random_hex(8);
    let text = message(&target, &own.unwrap_or(session), nonce.as_bytes())?;
    let (arrived, answer) = send(&target, &mut socket, &nonce, &[text]).await;
    let stood = !arrived && denied(&answer);
    finding.no_effect(stood, format!("a frame when it is over: {}", shown(&answer)));
    finding.twin(target.alive().await, "health answers");
    Ok(finding)
}

async fn origins(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let (port, own) = (target.address().port(), target.address().to_string());
    let try_it = async |header: &str, value: &str| -> Result<(bool, String), Trouble> {
        match Socket::open(target.rpc(), |headers| set(headers, header, value)).await {
            Ok(mut socket) => {
                let answer = socket.call("session-create", &placeholders()).await;
                let made = answer
                    .as_ref()
                    .is_ok_and(|it| target.rpc().pick("session-create", it).is_some());
                Ok((made, shown(&answer)))
            }
            Err(DriverError::Refused(words)) => Ok((false, words)),
            Err(error) => Err(error.into()),
        }
    };
    for (header, value) in [
        ("Origin", "https://evil.example".to_owned()),
        ("Origin", "null".to_owned()),
        ("Origin", format!("http://127.0.0.1.evil.example:{port}")),
        ("Origin", format!("http://127.0.0.1:{}", port ^ 1)),
        ("Origin", "file://".to_owned()),
        ("Host", "evil.example".to_owned()),
        ("Host", format!("127.0.0.1.evil.example:{port}")),
    ] {
        let (served, words) = try_it(header, &value).await?;
        finding.reached(true, format!("{header}: {value}: {words}"));
        finding.no_effect(!served, format!("{header}: {value} was served: {served}"));
    }
    for (header, value) in [("Origin", format!("http://{own}")), ("Host", own.clone())] {
        let (served, words) = try_it(header, &value).await?;
        finding.twin(served, format!("{header}: {value}: {words}"));
    }
    target.back(&finding);
    Ok(finding)
}

/// The frame of a message with this JSON in it, and how deep the JSON stands.
fn with_json(target: &Target, session: &str, nonce: &str, json: &[u8]) -> Result<Vec<u8>, Trouble> {
    let mut vars = placeholders();
    vars.set("SESSION", session).set("TEXT", nonce).set("JSON", json);
    Ok(target.rpc().request("metadata", &vars)?.pieces.concat())
}

async fn depth(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let session = target.session().await?;
    let body = target.rpc().describe("metadata")?.body.clone().unwrap_or_default();
    let around = depth_before(&body, "${JSON}");
    let mut socket = open(&target).await?;
    for (deep, good) in [(32, true), (33, false), (40, false), (20_000, false), (32, true)] {
        let inner = deep - around;
        let json = ["[".repeat(inner), "]".repeat(inner)].concat();
        let nonce = random_hex(8);
        let frame = with_json(&target, &session, &nonce, json.as_bytes())?;
        // In two fragments: a limit that looks at frames one by one would not see it.
        let (one, two) = frame.split_at(frame.len() / 2);
        let (arrived, answer) =
            send(&target, &mut socket, &nonce, &[one.to_vec(), two.to_vec()]).await;
        let words = format!("{deep} levels: reached the model: {arrived}, {}", shown(&answer));
        if good {
            finding.twin(arrived, words);
        } else {
            finding.reached(answer.is_ok(), words.clone());
            finding.no_effect(!arrived, words);
        }
        if answer.is_err() {
            socket = open(&target).await?;
        }
    }
    finding.no_effect(target.alive().await, "health answers afterwards");
    target.back(&finding);
    Ok(finding)
}

async fn strict(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let session = target.session().await?;
    let mut socket = open(&target).await?;
    for (json, good) in [
        (r#"{"a":[1,2.5e3,"\ud83d\ude42"]}"#, true),
        ("NaN", false),
        ("{\"a\":1,\"a\":2}", false),
        ("{\"a\":1,\"\\u0061\":2}", false),
        ("[1,]", false),
        ("/* c */ 1", false),
        ("'a'", false),
        ("01", false),
        ("\"\\ud83d\"", false),
        ("1} , {", false),
        ("{}", true),
    ] {
        let nonce = random_hex(8);
        let frame = with_json(&target, &session, &nonce, json.as_bytes())?;
        let (arrived, answer) = send(&target, &mut socket, &nonce, &[frame]).await;
        let words = format!("{json}: reached the model: {arrived}, {}", shown(&answer));
        if good {
            finding.twin(arrived, words);
        } else {
            finding.reached(answer.is_ok(), words.clone());
            finding.no_effect(!arrived, words);
        }
        if answer.is_err() {
            socket = open(&target).await?;
        }
    }
    target.back(&finding);
    Ok(finding)
}

async fn size(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let session = target.session().await?;
    for (bytes, good) in [(100_000, true), (102_401, false), (400_000, false)] {
        let mut socket = open(&target).await?;
        let nonce = random_hex(8);
        let text = format!("{nonce}{}", "a".repeat(bytes - nonce.len()));
        let frame = message(&target, &session, text.as_bytes())?;
        let pieces: Vec<Vec<u8>> = frame.chunks(16_384).map(<[u8]>::to_vec).collect();
        let (arrived, answer) = send(&target, &mut socket, &nonce, &pieces).await;
        let words = format!("{bytes} bytes: reached the model: {arrived}, {}", shown(&answer));
        if good {
            finding.twin(arrived, words);
        } else {
            finding.reached(answer.is_ok(), words.clone());
            finding.no_effect(!arrived, words);
        }
    }
    target.back(&finding);
    Ok(finding)
}

/// What stands in a text as it is on the wire, and the fragments that it is cut into.
type Spelling = (&'static str, &'static [u8]);

const CONTROLS: &[Spelling] = &[
    ("an escaped ESC", b"\\u001b[31m"),
    ("an escaped BEL", b"\\u0007"),
    ("an escaped CSI", b"\\u009b2J"),
    ("a raw CSI", b"\xc2\x9b2J"),
    ("a raw DEL", b"\x7f"),
    ("malformed UTF-8", b"\xc0\xaf"),
    ("a surrogate", b"\xed\xa0\x80"),
];
const NULLS: &[Spelling] =
    &[("an escaped null", b"\\u0000"), ("an escaped null in a word", b"a\\u0000b")];

async fn characters(lab: Lab, spellings: &[Spelling]) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let session = target.session().await?;
    let good: Spelling = ("TAB, LF and a joined emoji", "\\t\\n👩\u{200d}👧".as_bytes());
    for (place, (what, bytes)) in [good].iter().chain(spellings).enumerate() {
        let mut socket = open(&target).await?;
        let nonce = random_hex(8);
        let frame = message(&target, &session, format!("{nonce} MARK end").as_bytes())?;
        let at = frame.windows(4).position(|it| it == b"MARK").unwrap_or(0);
        let (before, behind) = frame.split_at(at);
        // Each byte in a fragment of its own.
        let mut pieces = vec![before.to_vec()];
        pieces.extend(bytes.iter().map(|byte| vec![*byte]));
        pieces.push(behind.get(4..).unwrap_or_default().to_vec());
        let (arrived, answer) = send(&target, &mut socket, &nonce, &pieces).await;
        let words = format!("{what}: reached the model: {arrived}, {}", shown(&answer));
        if place == 0 {
            finding.twin(arrived, words);
        } else {
            finding.reached(true, words.clone());
            finding.no_effect(!arrived, words);
        }
    }
    finding.no_effect(target.alive().await, "health answers afterwards");
    target.back(&finding);
    Ok(finding)
}

async fn frames_count(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().own_rates()).await?;
    let begun = Instant::now();
    let made = |answer: &Answered| {
        answer.as_ref().is_ok_and(|it| target.rpc().pick("session-create", it).is_some())
    };
    let mut served = 0;
    let mut last = String::new();
    let mut socket = open(&target).await?;
    for _ in 0..CLIENT + 30 {
        let answer = socket.call("session-create", &placeholders()).await;
        served += usize::from(made(&answer));
        last = shown(&answer);
        if answer.is_err() {
            break;
        }
    }
    // A new connection is no new client, nor is HTTP.
    if let Ok(mut again) = open(&target).await {
        let answer = again.call("session-create", &placeholders()).await;
        served += usize::from(made(&answer));
    }
    let by_http = target.rpc().call("session-create", &placeholders()).await;
    served += usize::from(made(&by_http));
    if begun.elapsed() > Duration::from_secs(55) {
        return Err(Trouble::Inconclusive("the host is too slow for the window".to_owned()));
    }
    finding.reached(true, format!("{} frames on one connection: {last}", CLIENT + 30));
    finding.no_effect(served <= CLIENT, format!("{served} were served within a minute"));
    finding.twin(served + 2 >= CLIENT, format!("{served} were served, {CLIENT} are due"));
    Ok(finding)
}

async fn endless(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let session = target.session().await?;
    let pid = target.instance().pid().await;
    for (what, fragments) in [("one frame of 1 GiB", false), ("fragments without end", true)] {
        let socket = open(&target).await?;
        let watch = Watch::start(pid).ok_or_else(|| {
            Trouble::Inconclusive("the target's memory cannot be looked at here".to_owned())
        })?;
        let taken = pour(socket, fragments, &watch).await;
        let growth = watch.growth();
        drop(watch);
        finding.reached(taken > 0, format!("{what}: {taken} bytes were taken"));
        let words = format!("{what}: grew by {} KiB of at most 32 MiB", growth >> 10);
        finding.no_effect(growth < GROWTH, words);
        if growth >= GROWTH {
            break; // It is known; the host's memory is not for this.
        }
        let mut socket = open(&target).await?;
        let nonce = random_hex(8);
        let frame = message(&target, &session, nonce.as_bytes())?;
        let (arrived, answer) = send(&target, &mut socket, &nonce, &[frame]).await;
        finding.twin(arrived, format!("afterwards a frame is served: {}", shown(&answer)));
    }
    finding.no_effect(target.alive().await, "health answers afterwards");
    Ok(finding)
}

/// Writes a text as long as it is taken, at most 1 GiB; gives how much of it was taken.
async fn pour(socket: Socket, fragments: bool, watch: &Watch) -> u64 {
    let begun = Instant::now();
    let (mut reader, mut writer) = socket.into_inner().into_split();
    let hear = tokio::spawn(async move {
        let mut buffer = vec![0_u8; 16_384];
        while let Ok(1..) = reader.read(&mut buffer).await {}
    });
    let piece = vec![b' '; 65_536];
    let (mut taken, mut first) = (0, true);
    if !fragments {
        let _ = writer.write_all(&head(true, true, OFFER)).await;
    }
    while taken < OFFER && watch.growth() < 3 * GROWTH && begun.elapsed().as_secs() < 20 {
        let bytes = if fragments {
            [head(first, false, piece.len() as u64), piece.clone()].concat()
        } else {
            piece.clone()
        };
        first = false;
        let wrote = tokio::time::timeout(Duration::from_secs(5), writer.write_all(&bytes)).await;
        if !matches!(wrote, Ok(Ok(()))) {
            break;
        }
        taken += piece.len() as u64;
    }
    hear.abort();
    taken
}
