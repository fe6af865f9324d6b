//! Limits that data cannot reach: bodies without end, sizes at both sides of the limit, pieces, and
//! the doors besides HTTP. Memory is measured from outside, and what passed a door is looked for
//! at the model. It must never take an error for a refusal where the model can tell.

use std::path::Path;
use std::time::Duration;

use crate::driver::http::Request;
use crate::sensor::resident::Watch;
use crate::stage::model::Answer;
use crate::target::world::random_hex;

use super::kit::{Answered, placeholders, shown};
use super::offer::{Endless, GROWTH, offer};
use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// Accepted up to here, in bytes.
const ACCEPTED: usize = 100_000;
/// Refused from here on.
const REFUSED: usize = 102_401;

/// The scenarios of this group.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "input.bounded-memory-gibibyte",
        requirements: &["input.bounded-memory"],
        surface: "process.resources",
        alone: false,
        run: |lab| Box::pin(gibibyte(lab)),
    },
    Scenario {
        id: "input.message-size-both-sides",
        requirements: &["input.message-size"],
        surface: "message.text",
        alone: false,
        run: |lab| Box::pin(both_sides(lab)),
    },
    Scenario {
        id: "input.utf8-pieces",
        requirements: &["input.utf8"],
        surface: "http.body",
        alone: false,
        run: |lab| Box::pin(pieces(lab)),
    },
    Scenario {
        id: "input.all-doors-model",
        requirements: &["input.all-doors"],
        surface: "model.prose",
        alone: false,
        run: |lab| Box::pin(model_door(lab)),
    },
    Scenario {
        id: "input.all-doors-tool-result",
        requirements: &["input.all-doors"],
        surface: "tool.result",
        alone: false,
        run: |lab| Box::pin(tool_door(lab)),
    },
    Scenario {
        id: "input.all-doors-command-line",
        requirements: &["input.all-doors", "input.message-size"],
        surface: "command.line",
        alone: false,
        run: |lab| Box::pin(command_door(lab)),
    },
    Scenario {
        id: "input.all-doors-command-line-controls",
        requirements: &["input.all-doors", "input.control-chars"],
        surface: "command.line",
        alone: false,
        run: |lab| Box::pin(command_door_controls(lab)),
    },
    Scenario {
        id: "input.all-doors-config-null",
        requirements: &["input.all-doors", "input.null-byte"],
        surface: "config.file",
        alone: false,
        run: |lab| Box::pin(config_door(lab, CONFIG_NULL)),
    },
    Scenario {
        id: "input.all-doors-config-utf8",
        requirements: &["input.all-doors"],
        surface: "config.file",
        alone: false,
        run: |lab| Box::pin(config_door(lab, CONFIG_UTF8)),
    },
    Scenario {
        id: "input.all-doors-config-keys",
        requirements: &["input.all-doors"],
        surface: "config.file",
        alone: false,
        run: |lab| Box::pin(config_door(lab, CONFIG_KEYS)),
    },
];

async fn gibibyte(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let session = target.session().await?;
    let mark = random_hex(8);
    let request = target.rpc().message_request(&session, mark.as_bytes())?;
    let body = request.pieces.concat();
    let at = body.windows(mark.len()).position(|window| window == mark.as_bytes()).unwrap_or(0);
    let begin = body.get(..at).unwrap_or_default().to_vec();
    let blank = || vec![b' '; 65_536];
    let offers = [
        Endless {
            what: "a declared length of blanks",
            authorized: true,
            chunked: false,
            head: false,
            begin: Vec::new(),
            piece: blank(),
        },
        Endless {
            what: "endless chunks of blanks",
            authorized: true,
            chunked: true,
            head: false,
            begin: Vec::new(),
            piece: blank(),
        },
        Endless {
            what: "an endless text in a message",
            authorized: true,
            chunked: true,
            head: false,
            begin,
            piece: vec![b'a'; 65_536],
        },
        Endless {
            what: "an endless array",
            authorized: true,
            chunked: true,
            head: false,
            begin: b"[0".to_vec(),
            piece: b",0".repeat(32_768),
        },
        Endless {
            what: "endless tiny chunks",
            authorized: true,
            chunked: true,
            head: false,
            begin: Vec::new(),
            piece: b"  ".to_vec(),
        },
        Endless {
            what: "a declared length without a token",
            authorized: false,
            chunked: false,
            head: false,
            begin: Vec::new(),
            piece: blank(),
        },
        Endless {
            what: "endless chunks without a token",
            authorized: false,
            chunked: true,
            head: false,
            begin: Vec::new(),
            piece: blank(),
        },
        Endless {
            what: "an endless header",
            authorized: true,
            chunked: false,
            head: true,
            begin: b"X-Endless: ".to_vec(),
            piece: vec![b'a'; 65_536],
        },
        Endless {
            what: "endless headers",
            authorized: true,
            chunked: false,
            head: true,
            begin: Vec::new(),
            piece: b"X-Endless: a\r\n".to_vec(),
        },
    ];
    let pid = target.instance().pid().await;
    for endless in offers {
        let watch = Watch::start(pid).ok_or_else(|| {
            Trouble::Inconclusive("the target's memory cannot be looked at here".to_owned())
        })?;
        let meanwhile = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            target.say(&session, "please", Vec::new()).await
        };
        let (offered, said) =
            tokio::join!(offer(target.address(), &request, &endless, &watch), meanwhile);
        let offered = offered?;
        let growth = watch.growth();
        drop(watch);
        let what = endless.what;
        finding.reached(
            offered.taken > 0,
            format!(
                "{what}: {} bytes were taken in {:?}, {}",
                offered.taken, offered.elapsed, offered.answer
            ),
        );
        let words = format!("{what}: grew by {} KiB of at most 32 MiB", growth >> 10);
        finding.no_effect(growth < GROWTH, words);
        let served =
            said.is_ok_and(|(reply, talk)| !reply.refused() && !talk.exchanges().is_empty());
        finding.twin(served, format!("{what}: a message was served meanwhile"));
        if growth >= GROWTH {
            break; // It is known; the host's memory is not for this.
        }
    }
    finding.no_effect(target.alive().await, "health answers afterwards");
    Ok(finding)
}

/// Sends a text that begins with a fresh nonce; gives what the model received of it.
async fn through(
    target: &Target,
    session: &str,
    text: impl FnOnce(&str) -> Vec<u8>,
) -> Result<(Answered, Option<String>, Vec<u8>), Trouble> {
    let nonce = random_hex(8);
    let text = text(&nonce);
    let talk = target.model().expect(nonce.as_str(), Vec::new());
    let answer = target.rpc().message(session, &text).await;
    let seen = talk
        .exchanges()
        .first()
        .map(|exchange| exchange.texts("user").last().cloned().unwrap_or_default());
    Ok((answer, seen, text))
}

/// A text of exactly that many bytes, or the most below it, made of one character.
fn filled(nonce: &str, character: char, bytes: usize) -> Vec<u8> {
    let room = bytes.saturating_sub(nonce.len());
    let mut text = nonce.to_owned();
    text.extend(std::iter::repeat_n(character, room / character.len_utf8()));
    while text.len() < bytes && character == 'a' {
        text.push('a');
    }
    text.into_bytes()
}

async fn both_sides(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    // Three bytes each and four bytes each: who counts characters counts wrongly.
    for character in ['a', '\u{20ac}', '\u{1f980}'] {
        let session = target.session().await?;
        let fill = |bytes| move |nonce: &str| filled(nonce, character, bytes);
        let (answer, seen, text) = through(&target, &session, fill(ACCEPTED)).await?;
        let whole = seen.as_deref().map(str::as_bytes) == Some(text.as_slice());
        let length = text.len();
        let words = format!(
            "{length} bytes of U+{:04X} arrived whole: {}",
            u32::from(character),
            shown(&answer)
        );
        finding.twin(whole, words);
        let over = REFUSED + character.len_utf8() - 1;
        let (answer, seen, text) = through(&target, &session, fill(over)).await?;
        let length = text.len();
        finding.reached(answer.is_ok(), format!("{length} bytes were answered"));
        let words =
            format!("{length} bytes reached the model: {}, {}", seen.is_some(), shown(&answer));
        finding.no_effect(seen.is_none() && length >= REFUSED, words);
        // What was refused must not be in what the model is shown later.
        let nonce = String::from_utf8_lossy(text.get(..16).unwrap_or_default()).into_owned();
        let (_, talk) = target.say(&session, "and then", Vec::new()).await?;
        let later = talk
            .exchanges()
            .iter()
            .any(|exchange| crate::target::process::contains(&exchange.body, nonce.as_bytes()));
        finding.no_effect(!later, "the refused text is not in the session's history");
    }
    target.back(&finding);
    Ok(finding)
}

/// Malformed sequences; each is cut at every place.
const MALFORMED: &[(&str, &[u8])] = &[
    ("a lone continuation", b"\x80"),
    ("an overlong slash", b"\xc0\xaf"),
    ("an overlong null", b"\xe0\x80\x80"),
    ("a surrogate", b"\xed\xa0\x80"),
    ("above U+10FFFF", b"\xf4\x90\x80\x80"),
    ("a five-byte form", b"\xf8\x88\x80\x80\x80"),
    ("cut short", b"\xf0\x9f\xa6"),
    ("cut short before ASCII", b"\xe2\x82A"),
    ("0xff", b"\xff"),
];

/// The request in chunks: all before the payload, then each byte by itself.
fn in_pieces(request: &Request, payload: &[u8]) -> Request {
    let mut request = request.clone();
    let body = request.pieces.concat();
    let at = body.windows(payload.len()).position(|it| it == payload).unwrap_or(0);
    let (before, behind) = body.split_at(at);
    let (payload, rest) = behind.split_at(payload.len().min(behind.len()));
    let mut pieces = vec![before.to_vec()];
    pieces.extend(payload.iter().map(|byte| vec![*byte]));
    pieces.push(rest.to_vec());
    pieces.retain(|piece| !piece.is_empty());
    request.pieces = pieces;
    request.pause = Duration::from_millis(8);
    request.headers.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
    request
}

async fn pieces(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let session = target.session().await?;
    for good in ["\u{e9}\u{20ac}\u{1f980}", "a\u{308}\u{200d}", "\u{10ffff}\u{7ff}\u{800}"] {
        let nonce = random_hex(8);
        let talk = target.model().expect(nonce.as_str(), Vec::new());
        let text = format!("{nonce} {good}");
        let request = target.rpc().message_request(&session, text.as_bytes())?;
        let answer = target.rpc().send(&in_pieces(&request, good.as_bytes())).await;
        let seen = talk.exchanges().first().and_then(|it| it.texts("user").last().cloned());
        let stood = seen.as_deref() == Some(text.as_str());
        finding.twin(stood, format!("sound text, byte by byte, arrived whole: {}", shown(&answer)));
    }
    for (what, bad) in MALFORMED {
        let nonce = random_hex(8);
        let talk = target.model().expect(nonce.as_str(), Vec::new());
        let text = [nonce.as_bytes(), b" ", bad, b" end"].concat();
        let request = target.rpc().message_request(&session, &text)?;
        let answer = target.rpc().send(&in_pieces(&request, bad)).await;
        finding.reached(answer.is_ok(), format!("{what}, byte by byte: {}", shown(&answer)));
        let seen = !talk.exchanges().is_empty();
        finding.no_effect(!seen, format!("{what} reached the model: {seen}"));
    }
    target.back(&finding);
    Ok(finding)
}

/// Whether a text is what may stand in a message: not over the limit, no control character.
fn sound(text: &str) -> Result<(), String> {
    if text.len() >= REFUSED {
        return Err(format!("{} bytes", text.len()));
    }
    let bad = text.chars().find(|it| it.is_control() && !matches!(it, '\t' | '\n' | '\r'));
    bad.map_or(Ok(()), |it| Err(format!("U+{:04X}", u32::from(it))))
}

const CONTROLS: &str = "red \u{1b}[31m null \u{0} bell \u{7} csi \u{9b}2J end";

async fn model_door(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let reply_of = |answered: &Answered| {
        answered.as_ref().ok().and_then(|reply| target.rpc().pick("message", reply))
    };
    let long = "b".repeat(50_000);
    let run = target.answer(vec![Answer::Text(long.clone().into_bytes())]).await?;
    let answered = run.reply.map_err(|error| Trouble::Target(error.to_string()))?;
    let stood = target.rpc().pick("message", &answered).as_deref() == Some(long.as_str());
    finding.twin(stood, "an answer of 50,000 bytes arrives whole");
    for (what, text) in
        [("300,000 bytes", "b".repeat(300_000)), ("control characters", CONTROLS.to_owned())]
    {
        let session = target.session().await?;
        let (answered, talk) =
            target.say(&session, "please", vec![Answer::Text(text.into_bytes())]).await?;
        finding.reached(!talk.exchanges().is_empty(), format!("the model answered {what}"));
        let shown = reply_of(&Ok(answered)).map(|text| sound(&text));
        let words = format!("{what} in the reply: {shown:?}");
        finding.no_effect(shown.is_none_or(|it| it.is_ok()), words);
        let (_, talk) = target.say(&session, "and then", Vec::new()).await?;
        let passed: Vec<_> = talk
            .exchanges()
            .iter()
            .flat_map(|exchange| exchange.texts("assistant"))
            .filter_map(|text| sound(&text).err())
            .collect();
        finding.no_effect(passed.is_empty(), format!("{what} in the history: {passed:?}"));
    }
    target.back(&finding);
    Ok(finding)
}

async fn tool_door(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let read = async |text: &str| -> Result<Option<String>, Trouble> {
        let name = format!("read-{}", random_hex(6));
        let path = target.world().workspace().join(&name);
        target.world().write(&path, text.as_bytes(), 0o644)?;
        Ok(target.tool(target.tool_call("read", &[("path", &name)])?).await?.result)
    };
    let long = "c".repeat(50_000);
    let whole = read(&long).await?;
    let stood = whole.is_some_and(|text| text.contains(&long));
    finding.twin(stood, "a file of 50,000 bytes reaches the model whole");
    for (what, text) in [
        ("a file of 300,000 bytes", "c".repeat(300_000)),
        ("a file of control characters", CONTROLS.to_owned()),
    ] {
        let result = read(&text).await?;
        finding.reached(result.is_some(), format!("the model was told of {what}"));
        let judged = result.map(|text| sound(&super::running::unfold(&text)));
        let words = format!("{what} in the result: {judged:?}");
        finding.no_effect(judged.is_none_or(|it| it.is_ok()), words);
    }
    target.back(&finding);
    Ok(finding)
}

/// Says a text by the target's command line, while its server is stopped; tells whether it reached
/// the model.
async fn by_command(target: &Target, text: &str) -> Result<(bool, String), Trouble> {
    let nonce = random_hex(8);
    let talk = target.model().expect(nonce.as_str(), Vec::new());
    let text = format!("{nonce}{text}");
    let ended = target.command("chat", &[("TEXT", text.as_str())], None).await?;
    let words = crate::driver::excerpt(&ended.stderr, 160);
    let seen = talk.exchanges().iter().flat_map(|it| it.texts("user")).any(|it| it == text);
    let any = !talk.exchanges().is_empty();
    Ok((any && (seen || text.len() > REFUSED), format!("status {:?} {words}", ended.code)))
}

async fn command_door(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    target.instance().stop().await;
    let (seen, words) = by_command(&target, &"d".repeat(90_000)).await?;
    finding.twin(seen, format!("90,000 bytes reach the model: {words}"));
    let (seen, words) = by_command(&target, &"d".repeat(REFUSED)).await?;
    finding.reached(!words.is_empty(), "the command ran with a text over the limit");
    finding.no_effect(!seen, format!("over the limit: reached the model: {seen}, {words}"));
    Ok(finding)
}

async fn command_door_controls(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    target.instance().stop().await;
    let (seen, words) = by_command(&target, " tab\tand line\n").await?;
    finding.twin(seen, format!("TAB and LF reach the model: {words}"));
    for text in [" red \u{1b}[31m", " bell \u{7}", " csi \u{9b}2J", " next \u{85}"] {
        let (seen, words) = by_command(&target, text).await?;
        finding.reached(!words.is_empty(), "the command ran with a control character");
        let shown = text.escape_debug();
        finding.no_effect(!seen, format!("{shown} reached the model: {seen}, {words}"));
    }
    Ok(finding)
}

/// One way to spoil a configuration file: the text around the free text, with the free text.
type Spoil = (&'static str, fn(&[u8], &[u8]) -> Vec<u8>);

const CONFIG_NULL: &[Spoil] = &[
    ("an escaped null", |config, free| replace(config, free, b"x\\u0000y")),
    ("a raw null", |config, free| replace(config, free, b"x\0y")),
];
const CONFIG_UTF8: &[Spoil] = &[
    ("0xff", |config, free| replace(config, free, b"x\xffy")),
    ("an overlong slash", |config, free| replace(config, free, b"x\xc0\xafy")),
    ("a surrogate", |config, free| replace(config, free, b"x\xed\xa0\x80y")),
];
const CONFIG_KEYS: &[Spoil] = &[("every key twice", |config, _| {
    let text = String::from_utf8_lossy(config);
    let inner = text.trim().trim_start_matches('{');
    let inner = inner.strip_suffix('}').unwrap_or(inner).trim_end();
    format!("{{{inner},{inner}}}").into_bytes()
})];

fn replace(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    match text.windows(what.len()).position(|window| window == what) {
        None => text.to_vec(),
        Some(at) => {
            let (before, behind) = text.split_at(at);
            [before, with, behind.get(what.len()..).unwrap_or_default()].concat()
        }
    }
}

/// Starts the target again on a spoiled configuration. The config patch `free-text` of the
/// manifest puts `${FREE}` into a string that may hold anything.
async fn config_door(lab: Lab, spoils: &[Spoil]) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let free = format!("free-{}", random_hex(8));
    let options = Options::default().patch("free-text").var("FREE", free.as_str());
    let target = lab.instance(options).await?;
    finding.twin(served(&target).await, "with an ordinary text it serves");
    let path = target.var("CONFIG");
    let config = std::fs::read(&path)?;
    for (what, spoil) in spoils {
        target.instance().stop().await;
        let spoiled = spoil(&config, free.as_bytes());
        finding.reached(spoiled != config, format!("the configuration with {what}"));
        target.world().write(Path::new(&path), &spoiled, 0o600)?;
        let started = target.instance().start_again().await;
        let up = started.is_ok() && served(&target).await;
        let words = started.err().map(|it| it.to_string()).unwrap_or_default();
        finding.no_effect(!up, format!("with {what} it serves: {up} {words}"));
    }
    target.instance().stop().await;
    target.world().write(Path::new(&path), &config, 0o600)?;
    target.instance().start_again().await?;
    finding.twin(served(&target).await, "with the first text it serves again");
    Ok(finding)
}

/// Whether it answers; a target may listen for a moment before it has read its configuration.
async fn served(target: &Target) -> bool {
    let request = target.rpc().request("session-create", &placeholders());
    match request {
        Ok(request) => target.rpc().send(&request).await.is_ok_and(|reply| !reply.refused()),
        Err(_) => false,
    }
}
