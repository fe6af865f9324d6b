//! Answers that come piece by piece, in every protocol that the target can ask in: the same calls
//! are refused, the same text is cleaned, wherever the bytes are cut. Files in the workspace and
//! what listeners were told are the sensors. It must never believe what the target says of a call.

use std::time::Duration;

use crate::driver::websocket::Socket;
use crate::stage::model::{Answer, Break, ToolCall};
use crate::target::process::contains;
use crate::target::world::random_hex;

use super::kit::{in_workspace, placeholders, write_call, wrote};
use super::running::texts;
use super::{Finding, Lab, Options, Scenario, Trouble};

/// Config patches of the manifest under which the target asks otherwise than it is used to.
const STREAMS: &[&str] = &["model-streamed", "model-messages-streamed"];
const PROTOCOLS: &[&str] = &["model-streamed", "model-messages", "model-messages-streamed"];

/// The scenarios of this group.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "registry.call-integrity-streamed",
        requirements: &["registry.call-integrity"],
        surface: "tool.call",
        alone: false,
        run: |lab| Box::pin(integrity(lab)),
    },
    Scenario {
        id: "registry.only-registered-protocols",
        requirements: &["registry.only-registered"],
        surface: "tool.call",
        alone: false,
        run: |lab| Box::pin(unregistered(lab)),
    },
    Scenario {
        id: "registry.schema-protocols",
        requirements: &["registry.schema"],
        surface: "tool.arguments",
        alone: false,
        run: |lab| Box::pin(schema(lab)),
    },
    Scenario {
        id: "path.traversal-protocols",
        requirements: &["path.traversal"],
        surface: "tool.path.read",
        alone: false,
        run: |lab| Box::pin(traversal(lab)),
    },
    Scenario {
        id: "input.all-doors-streamed",
        requirements: &["input.all-doors"],
        surface: "model.prose",
        alone: false,
        run: |lab| Box::pin(prose(lab)),
    },
    Scenario {
        id: "secret.no-leak-streamed",
        requirements: &["secret.no-leak"],
        surface: "websocket",
        alone: false,
        run: |lab| Box::pin(secrets(lab)),
    },
];

fn in_pieces(size: usize, answer: Answer) -> Answer {
    Answer::Pieces(size, Box::new(answer))
}

async fn integrity(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    for patch in STREAMS {
        let target = lab.lent(Options::default().patch(patch)).await?;
        for size in [1, 7, 64] {
            let (name, call) = write_call(&target)?;
            let run = target.answer(vec![in_pieces(size, Answer::Calls(vec![call]))]).await?;
            let asked = run.exchanges.iter().any(|it| contains(&it.body, b"\"stream\":true"));
            let stood = wrote(&target, &name) && asked;
            finding.twin(stood, format!("{patch}: a call in pieces of {size} bytes ran"));
        }
        for how in Break::ALL {
            let (name, call) = write_call(&target)?;
            let run = target.answer(vec![in_pieces(9, Answer::Broken(how, call))]).await?;
            finding.reached(run.served(), format!("{patch}: a call that is broken: {how:?}"));
            let ran = wrote(&target, &name);
            finding.no_effect(!ran, format!("{patch}: {how:?}: it ran: {ran}"));
        }
        let (name, call) = write_call(&target)?;
        let run = target.answer(vec![Answer::Unfinished(vec![call])]).await?;
        finding.reached(run.served(), format!("{patch}: an answer that reached its limit"));
        let ran = wrote(&target, &name);
        finding.no_effect(!ran, format!("{patch}: a call of it ran: {ran}"));

        // One id twice: in one answer, then in the next step.
        let (one, two, three) = (write_call(&target)?, write_call(&target)?, write_call(&target)?);
        let same = |call: &ToolCall| ToolCall { id: one.1.id.clone(), ..call.clone() };
        let answers = vec![
            Answer::Calls(vec![one.1.clone(), same(&two.1)]),
            Answer::Calls(vec![same(&three.1)]),
        ];
        target.answer(answers).await?;
        finding.twin(wrote(&target, &one.0), format!("{patch}: the first of three ran"));
        for (name, what) in [(&two.0, "in one answer"), (&three.0, "in the next step")] {
            let ran = wrote(&target, name);
            finding.no_effect(!ran, format!("{patch}: its id once more {what}: it ran: {ran}"));
        }
        finding.twin(target.alive().await, format!("{patch}: health answers"));
        target.back(&finding);
    }
    Ok(finding)
}

async fn unregistered(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    for patch in PROTOCOLS {
        let target = lab.lent(Options::default().patch(patch)).await?;
        let (name, call) = write_call(&target)?;
        let run = target.tool(call).await?;
        let told = run.result.is_some();
        let stood = wrote(&target, &name) && told;
        finding.twin(stood, format!("{patch}: the call ran and its result came back: {told}"));
        let spoken = lab.manifest().tools.get("write").map(|it| it.name.clone());
        let spoken = spoken.unwrap_or_default();
        for unknown in [format!("{spoken}_now"), "write".to_owned(), format!("tools.{spoken}")] {
            let (name, mut call) = write_call(&target)?;
            call.name = unknown.clone().into_bytes();
            let run = target.tool(call).await?;
            finding.reached(run.served(), format!("{patch}: the model called {unknown}"));
            let ran = wrote(&target, &name);
            finding.no_effect(!ran, format!("{patch}: {unknown} ran: {ran}"));
            let told = run.result.is_some();
            finding.no_effect(told, format!("{patch}: the model was told of it: {told}"));
        }
        target.back(&finding);
    }
    Ok(finding)
}

async fn schema(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    for patch in PROTOCOLS {
        let target = lab.lent(Options::default().patch(patch)).await?;
        let (name, call) = write_call(&target)?;
        target.tool(call).await?;
        finding.twin(wrote(&target, &name), format!("{patch}: a call that fits ran"));
        let (name, mut call) = write_call(&target)?;
        // A member more than the schema has.
        call.arguments.pop();
        call.arguments.extend(br#","mode":"0777"}"#);
        let run = target.tool(call).await?;
        finding.reached(run.served(), format!("{patch}: a call with a member too many"));
        let ran = wrote(&target, &name);
        finding.no_effect(!ran, format!("{patch}: it ran: {ran}"));
        target.back(&finding);
    }
    Ok(finding)
}

async fn traversal(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    for patch in PROTOCOLS {
        let target = lab.lent(Options::default().patch(patch)).await?;
        let canary = target.world().canary();
        let inside = in_workspace(&target, "inside.txt");
        target.world().write(&inside, canary.as_bytes(), 0o644)?;
        let read = async |path: &str| -> Result<(bool, bool), Trouble> {
            let call = target.tool_call("read", &[("path", path)])?;
            let session = target.session().await?;
            let answers = vec![in_pieces(5, Answer::Calls(vec![call]))];
            let (_, talk) = target.say(&session, "read it", answers).await?;
            let results = talk.tool_results();
            let seen = results.iter().any(|text| text.contains(&canary));
            Ok((!talk.exchanges().is_empty(), seen))
        };
        let (_, seen) = read("inside.txt").await?;
        finding.twin(seen, format!("{patch}: a file of the workspace came back"));
        for path in ["../outside/k", "./../outside/k", "a/../../outside/k"] {
            let (served, seen) = read(path).await?;
            finding.reached(served, format!("{patch}: the model asked for {path}"));
            finding.no_effect(!seen, format!("{patch}: {path} came back: {seen}"));
        }
        target.back(&finding);
    }
    Ok(finding)
}

const CONTROLS: &str = "red \u{1b}[31m bell \u{7} csi \u{9b}2J end";

fn sound(text: &str) -> bool {
    text.len() <= 102_400
        && !text.chars().any(|it| it.is_control() && !matches!(it, '\t' | '\n' | '\r'))
}

async fn prose(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    for patch in STREAMS {
        let target = lab.lent(Options::default().patch(patch)).await?;
        let plain = "zwölf \u{1f980} lines\nand a TAB\t.";
        let run =
            target.answer(vec![in_pieces(1, Answer::Text(plain.as_bytes().to_vec()))]).await?;
        let reply = run.reply.ok().and_then(|reply| target.rpc().pick("message", &reply));
        let stood = reply.as_deref() == Some(plain);
        finding.twin(stood, format!("{patch}: a sound text, byte by byte, came whole: {reply:?}"));
        for (what, text, size) in [
            ("control characters", CONTROLS.to_owned(), 1),
            ("a flood", "b".repeat(300_000), 4_096),
        ] {
            let session = target.session().await?;
            let answers = vec![in_pieces(size, Answer::Text(text.into_bytes()))];
            let (reply, talk) = target.say(&session, "please", answers).await?;
            finding.reached(!talk.exchanges().is_empty(), format!("{patch}: it said {what}"));
            let shown = target.rpc().pick("message", &reply);
            let stood = shown.as_deref().is_none_or(sound);
            finding.no_effect(stood, format!("{patch}: {what} in the reply: {}", !stood));
            let (_, talk) = target.say(&session, "and then", Vec::new()).await?;
            let passed =
                talk.exchanges().iter().flat_map(|it| it.texts("assistant")).any(|it| !sound(&it));
            finding.no_effect(!passed, format!("{patch}: {what} in the history: {passed}"));
        }
        target.back(&finding);
    }
    Ok(finding)
}

async fn secrets(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    for patch in STREAMS {
        let target = lab.lent(Options::default().patch(patch)).await?;
        let secret = target.var("SECRET");
        let session = target.session().await?;
        let mut socket = Socket::open(target.rpc(), |_| ()).await?;
        let mut vars = placeholders();
        vars.set("SESSION", session.as_str());
        let subscribed = socket.call("events-subscribe", &vars).await?;
        finding.twin(!subscribed.refused(), format!("listening: {}", subscribed.summary()));
        let mark = random_hex(8);
        // Its halves come in deltas of their own: neither alone is the secret.
        let text = format!("{mark} the key is {secret} {mark}");
        let answers = vec![in_pieces(11, Answer::Text(text.into_bytes()))];
        let (reply, talk) = target.say(&session, "please", answers).await?;
        finding.reached(!talk.exchanges().is_empty(), format!("{patch}: the model said the key"));
        let events = socket.events(Duration::from_millis(700)).await;
        let mut told = String::new();
        for event in &events {
            let part = event.get("params").and_then(|it| it.get("text")).unwrap_or(event);
            told.push_str(&texts(part).concat());
        }
        let heard = told.contains(&mark);
        finding.twin(heard, format!("{patch}: {} events told the rest of the text", events.len()));
        let leaked = told.contains(&secret);
        finding.no_effect(!leaked, format!("{patch}: the deltas held the key: {leaked}"));
        let leaked = contains(&reply.body, secret.as_bytes());
        finding.no_effect(!leaked, format!("{patch}: the reply held the key: {leaked}"));
        target.back(&finding);
    }
    Ok(finding)
}
