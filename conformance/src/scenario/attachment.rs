//! Attachments: sizes at both sides of the limit, by declaration and by what arrives; how many a
//! message may have; names that are paths; and what an upload costs while it runs. What was taken
//! is told by the model, which a refused message never reaches. It must never take an answer's
//! words for what is on the disk.

use std::time::Duration;

use crate::driver::http::{Reply, Request};
use crate::sensor::files;
use crate::sensor::resident::Watch;
use crate::target::template::{Vars, json_literal};
use crate::target::world::random_hex;

use super::kit::{Answered, placeholders, shown};
use super::offer::{Endless, GROWTH, offer};
use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// Accepted up to here, in bytes.
const ACCEPTED: usize = 50_000_000;
/// Refused from here on.
const REFUSED: usize = 52_428_801;
/// Attachments that one message may have.
const COUNT: usize = 10;

/// The scenarios of this group.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "input.attachment-size-both-sides",
        requirements: &["input.attachment-size"],
        surface: "attachment",
        alone: false,
        run: |lab| Box::pin(both_sides(lab)),
    },
    Scenario {
        id: "input.attachment-size-exact-byte",
        requirements: &["input.attachment-size-exact"],
        surface: "attachment",
        alone: false,
        run: |lab| Box::pin(exact(lab)),
    },
    Scenario {
        id: "input.attachment-count-both-sides",
        requirements: &["input.attachment-count"],
        surface: "attachment",
        alone: false,
        run: |lab| Box::pin(count(lab)),
    },
    Scenario {
        id: "path.traversal-attachment-name",
        requirements: &["path.traversal"],
        surface: "attachment",
        alone: false,
        run: |lab| Box::pin(names(lab)),
    },
    Scenario {
        id: "input.bounded-memory-attachment",
        requirements: &["input.bounded-memory"],
        surface: "attachment",
        alone: false,
        run: |lab| Box::pin(memory(lab)),
    },
];

/// The request that sends an attachment.
fn request(
    target: &Target,
    session: &str,
    name: &str,
    content: Vec<u8>,
) -> Result<Request, Trouble> {
    let mut vars = placeholders();
    vars.set("SESSION", session).set("NAME", name).set("CONTENT", content);
    Ok(target.rpc().request("attach", &vars)?)
}

/// Sends an attachment; gives the answer and the id that it picks of it.
async fn attach(target: &Target, request: &Request) -> (Answered, Option<String>) {
    let answer = target.rpc().send(request).await;
    let taken = |reply: &Reply| !reply.refused();
    let id = answer
        .as_ref()
        .ok()
        .filter(|reply| taken(reply))
        .and_then(|reply| target.rpc().pick("attach", reply));
    (answer, id)
}

/// Sends a message that names attachments; whether it reached the model, and the answer.
async fn say(target: &Target, session: &str, ids: &[String]) -> Result<(bool, Answered), Trouble> {
    let nonce = random_hex(8);
    let talk = target.model().expect(nonce.as_str(), Vec::new());
    let ids: Vec<Vec<u8>> = ids.iter().map(|id| json_literal(id.as_bytes())).collect();
    let list = [b"[".as_slice(), &ids.join(b",".as_slice()), b"]"].concat();
    let mut vars = Vars::new();
    vars.set("SESSION", session)
        .set("TEXT", format!("look at this {nonce}"))
        .set("ATTACHMENTS", list);
    let answer = target.rpc().call("message-attached", &vars).await;
    Ok((!talk.exchanges().is_empty(), answer))
}

/// The same request with its body in chunks, so that no length is declared.
fn in_chunks(mut request: Request) -> Request {
    let body = request.pieces.concat();
    request.pieces = body.chunks(1 << 20).map(<[u8]>::to_vec).collect();
    request.headers.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
    request
}

/// Bytes that are no text, the same each time but for their beginning.
fn content(bytes: usize) -> Vec<u8> {
    let mut content = random_hex(16).into_bytes();
    content.extend((0..bytes).map(|at| u8::try_from(at % 251).unwrap_or(0)));
    content.truncate(bytes);
    content
}

async fn both_sides(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let session = target.session().await?;
    for chunked in [false, true] {
        let how = if chunked { "in chunks" } else { "with its length declared" };
        let send = |bytes: usize| -> Result<Request, Trouble> {
            let request = request(&target, &session, "large.bin", content(bytes))?;
            Ok(if chunked { in_chunks(request) } else { request })
        };
        let (answer, id) = attach(&target, &send(ACCEPTED)?).await;
        let arrived = match &id {
            Some(id) => say(&target, &session, std::slice::from_ref(id)).await?.0,
            None => false,
        };
        let words = format!("{ACCEPTED} bytes {how} reached a message: {}", shown(&answer));
        finding.twin(arrived, words);
        for bytes in [REFUSED, REFUSED + (4 << 20)] {
            let (answer, id) = attach(&target, &send(bytes)?).await;
            finding.reached(answer.is_ok(), format!("{bytes} bytes {how}: {}", shown(&answer)));
            let passed = match &id {
                Some(id) => say(&target, &session, std::slice::from_ref(id)).await?.0,
                None => false,
            };
            let words = format!("{bytes} bytes {how} were named, and used in a message: {passed}");
            finding.no_effect(id.is_none() && !passed, words);
        }
    }
    let left = files::at_least(target.world().root(), REFUSED as u64 - 1);
    finding.no_effect(left.is_empty(), format!("too large files on the disk: {left:?}"));
    Ok(finding)
}

async fn exact(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let session = target.session().await?;
    for (bytes, good) in [(ACCEPTED, true), (ACCEPTED + 1, false)] {
        let sent = request(&target, &session, "exact.bin", content(bytes))?;
        for sent in [sent.clone(), in_chunks(sent)] {
            let (answer, id) = attach(&target, &sent).await;
            let words = format!("{bytes} bytes: {}", shown(&answer));
            if good {
                finding.twin(id.is_some(), words);
            } else {
                finding.reached(answer.is_ok(), words.clone());
                finding.no_effect(id.is_none(), words);
            }
        }
    }
    Ok(finding)
}

async fn count(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let session = target.session().await?;
    let mut ids = Vec::new();
    for number in 0..=COUNT {
        let name = format!("part-{number}.txt");
        let (answer, id) = attach(&target, &request(&target, &session, &name, content(64))?).await;
        match id {
            Some(id) => ids.push(id),
            // A target may count while they arrive.
            None if number == COUNT => {
                finding.note(format!("the eleventh was not taken: {}", shown(&answer)));
            }
            None => finding_twin_fell(&mut finding, number, &answer),
        }
    }
    let ten = ids.get(..COUNT).unwrap_or(&ids).to_vec();
    let (arrived, answer) = say(&target, &session, &ten).await?;
    finding.twin(arrived, format!("a message with {} arrived: {}", ten.len(), shown(&answer)));
    let sent = ids.len();
    let (arrived, answer) =
        if sent > COUNT { say(&target, &session, &ids).await? } else { (false, answer) };
    finding.reached(true, format!("a message with {sent} attachments: {}", shown(&answer)));
    finding.no_effect(!arrived, format!("the message with eleven reached the model: {arrived}"));
    // Names of attachments that are none count as well.
    let many: Vec<String> = (0..500).map(|_| random_hex(16)).collect();
    let (arrived, answer) = say(&target, &session, &many).await?;
    finding.no_effect(!arrived, format!("500 that do not exist: {}", shown(&answer)));
    target.back(&finding);
    Ok(finding)
}

fn finding_twin_fell(finding: &mut Finding, number: usize, answer: &Answered) {
    finding.twin(false, format!("attachment {} was not taken: {}", number + 1, shown(answer)));
}

/// Names that are ways out of the place where attachments are kept. `@` stands for a file name
/// that exists nowhere.
const NAMES: &[&str] = &[
    "../@",
    "../../@",
    "../../../@",
    "../../../outside/@",
    "../../../../outside/@",
    "a/../../../../outside/@",
    "./../../../outside/@",
    "..//..//..//outside//@",
    "..\\..\\..\\outside\\@",
    "x/../../../../../outside/@",
    "../outside/@",
    "../../outside/@",
];

async fn names(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let session = target.session().await?;
    let world = target.world();
    // Where a plain name puts its file shows which places are meant for attachments.
    let plain = format!("a..b {}.txt", random_hex(6));
    let (answer, id) = attach(&target, &request(&target, &session, &plain, content(48))?).await;
    let arrived = match &id {
        Some(id) => say(&target, &session, std::slice::from_ref(id)).await?.0,
        None => false,
    };
    finding.twin(arrived, format!("an attachment named {plain:?} arrived: {}", shown(&answer)));
    let depths: Vec<usize> =
        files::named(world.root(), &plain).iter().map(|path| path.components().count()).collect();
    let before = files::Snapshot::of_world(world);
    for pattern in NAMES {
        let file = format!("effect-{}", random_hex(6));
        let name = pattern.replace('@', &file);
        let (answer, id) = attach(&target, &request(&target, &session, &name, content(48))?).await;
        finding.reached(answer.is_ok(), format!("{name:?}: {}", shown(&answer)));
        if let Some(id) = id {
            let (arrived, answer) = say(&target, &session, &[id]).await?;
            finding.note(format!("{name:?} arrived: {arrived}, {}", shown(&answer)));
        }
        // Stored under its last segment where attachments are meant to be is harmless.
        let astray: Vec<_> = files::named(world.root(), &file)
            .into_iter()
            .filter(|path| !depths.contains(&path.components().count()))
            .collect();
        finding.no_effect(astray.is_empty(), format!("{name:?} stands at {astray:?}"));
    }
    let changes = before.changes(&files::Snapshot::of_world(world));
    finding.no_effect(changes.is_empty(), format!("outside of the workspace: {changes:?}"));
    finding.twin(target.alive().await, "health answers");
    target.back(&finding);
    Ok(finding)
}

async fn memory(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let session = target.session().await?;
    let pid = target.instance().pid().await;
    let watch = || {
        Watch::start(pid).ok_or_else(|| {
            Trouble::Inconclusive("the target's memory cannot be looked at here".to_owned())
        })
    };
    // What is taken must not be held either.
    for number in 0..2 {
        let seen = watch()?;
        let sent = in_chunks(request(&target, &session, "large.bin", content(ACCEPTED))?);
        let (answer, id) = attach(&target, &sent).await;
        finding.twin(id.is_some(), format!("{ACCEPTED} bytes were taken: {}", shown(&answer)));
        let growth = seen.growth();
        let words = format!("upload {number}: grew by {} KiB of at most 32 MiB", growth >> 10);
        finding.no_effect(growth < GROWTH, words);
        let seen = watch()?;
        if let Some(id) = id {
            let (arrived, answer) = say(&target, &session, &[id]).await?;
            finding.twin(arrived, format!("a message has it: {}", shown(&answer)));
        }
        let growth = seen.growth();
        let words = format!("used in a message: grew by {} KiB", growth >> 10);
        finding.no_effect(growth < GROWTH, words);
    }
    for chunked in [true, false] {
        let endless = Endless {
            what: if chunked { "endless chunks" } else { "a declared length" },
            authorized: true,
            chunked,
            head: false,
            begin: Vec::new(),
            piece: vec![0xa5; 65_536],
        };
        let seen = watch()?;
        let sent = request(&target, &session, "endless.bin", Vec::new())?;
        let offered = offer(target.address(), &sent, &endless, &seen).await?;
        let growth = seen.growth();
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
        if growth >= GROWTH {
            break; // It is known; the host's memory is not for this.
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let left = files::at_least(target.world().root(), REFUSED as u64);
    finding.no_effect(left.is_empty(), format!("left of it on the disk: {left:?}"));
    finding.no_effect(target.alive().await, "health answers afterwards");
    Ok(finding)
}
