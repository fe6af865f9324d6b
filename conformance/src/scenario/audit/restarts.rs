//! What a target acknowledged is there after it was stopped, and after it was killed at work: the
//! messages in its history, the effects in its log. It must never count what was not acknowledged.

use std::time::Duration;

use crate::scenario::kit::{audit_log, in_workspace, placeholders};
use crate::scenario::running::texts;
use crate::scenario::{Finding, Lab, Options, Target, Trouble};
use crate::sensor::files;
use crate::stage::model::Answer;
use crate::target::world::random_hex;

use super::{form_of, holding, verifies};

/// Conversations that are under way when the target is killed.
const SIDE_BY_SIDE: usize = 3;
/// How often it is killed.
const KILLS: u64 = 2;

/// One message: where, what, and the file that its tool call writes.
struct Sent {
    session: String,
    text: String,
    file: String,
}

async fn history(target: &Target, session: &str) -> Result<Vec<String>, Trouble> {
    let mut vars = placeholders();
    vars.set("SESSION", session);
    let reply = target.rpc().call("session-history", &vars).await?;
    Ok(texts(&reply.json().unwrap_or_default()).into_iter().map(str::to_owned).collect())
}

/// Sends one message whose tool call writes a file of its own; what was sent and whether it was
/// answered for.
async fn send(target: &Target, session: &str) -> Result<(Sent, bool), Trouble> {
    let (nonce, file) = (random_hex(8), format!("kept-{}", random_hex(6)));
    let call = target.tool_call("write", &[("path", &file), ("content", &file)])?;
    let _talk = target.model().expect(nonce.as_str(), vec![Answer::Calls(vec![call])]);
    let text = format!("begin-{nonce} {} end-{nonce}", "keep ".repeat(400));
    let answer = target.rpc().message(session, text.as_bytes()).await;
    let good = answer.is_ok_and(|reply| !reply.refused());
    Ok((Sent { session: session.to_owned(), text, file }, good))
}

/// Messages one after the other until the target is gone.
async fn keep_sending(target: &Target) -> Result<Vec<(Sent, bool)>, Trouble> {
    let session = target.session().await?;
    let mut all = Vec::new();
    loop {
        let (sent, good) = send(target, &session).await?;
        all.push((sent, good));
        if !good {
            return Ok(all);
        }
    }
}

/// A stop that was asked for: what is under way is answered, and nothing is lost.
async fn stopped(target: &Target, finding: &mut Finding) -> Result<(), Trouble> {
    let session = target.session().await?;
    let nonce = random_hex(8);
    let late =
        Answer::Late(Duration::from_millis(400), Box::new(Answer::Text(b"here it is".to_vec())));
    let talk = target.model().expect(nonce.as_str(), vec![late]);
    let (client, text) = (target.rpc().clone(), format!("please {nonce}"));
    let sent = {
        let (session, text) = (session.clone(), text.clone());
        tokio::spawn(async move { client.message(&session, text.as_bytes()).await })
    };
    let asked = talk.wait(1, Duration::from_secs(5)).await;
    let ended = target.instance().stop().await;
    let reply = sent.await.map_err(|error| Trouble::Harness(error.to_string()))?;
    let answered = reply.as_ref().is_ok_and(|it| !it.refused());
    let words = format!("asked to stop while the model thinks ({asked}), it answers: {reply:?}");
    finding.no_effect(asked && answered, words);
    let clean = ended.is_some_and(|status| status.success());
    finding.no_effect(clean, format!("then it ends by itself: {ended:?}"));
    target.instance().start_again().await?;
    let kept = history(target, &session).await?.contains(&text);
    finding.no_effect(kept, "started again, it holds the message and takes the token of before");
    Ok(())
}

pub(super) async fn killed(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    if !lab.manifest().calls.contains_key("session-history") {
        return Err(Trouble::Unsupported("the manifest has no call `session-history`".to_owned()));
    }
    let target = lab.instance(Options::default()).await?;
    let log = audit_log(&target)?;
    form_of(&log, "tool-completed")?;
    let session = target.session().await?;
    let (sent, good) = send(&target, &session).await?;
    let kept = history(&target, &session).await?.contains(&sent.text);
    let wrote = files::exists(&in_workspace(&target, &sent.file));
    finding.twin(good && kept && wrote, "a message is answered, remembered, and its file written");
    stopped(&target, &mut finding).await?;

    let mut all = vec![(sent, good)];
    for round in 0..KILLS {
        let talks =
            futures_util::future::try_join_all((0..SIDE_BY_SIDE).map(|_| keep_sending(&target)));
        let kill = async {
            tokio::time::sleep(Duration::from_millis(450 + 170 * round)).await;
            target.instance().kill_server().await;
        };
        let (talks, ()) = tokio::join!(talks, kill);
        all.extend(talks?.into_iter().flatten());
        target.instance().start_again().await?;
    }
    let acknowledged = all.iter().filter(|(_, good)| *good).count();
    let words = format!("killed {KILLS} times at {} messages, {acknowledged} answered", all.len());
    finding.reached(acknowledged > SIDE_BY_SIDE, words);
    judge(&target, &all, &mut finding).await?;

    let reading = log.read();
    for (sent, good) in &all {
        let effect = files::exists(&in_workspace(&target, &sent.file));
        if *good && effect && holding(&reading, "tool-completed", &sent.file) != 1 {
            finding
                .no_effect(false, format!("{}: the file is there, its record is not", sent.file));
        }
    }
    let broken = reading.broken().to_vec();
    finding.no_effect(broken.is_empty(), format!("lines that are no record: {broken:?}"));
    verifies(&target, &mut finding).await?;
    finding.twin(target.alive().await, "health answers");
    Ok(finding)
}

/// What was answered for is remembered once and whole; what was not, whole or not at all.
async fn judge(
    target: &Target,
    all: &[(Sent, bool)],
    finding: &mut Finding,
) -> Result<(), Trouble> {
    let (mut lost, mut torn) = (0_usize, 0_usize);
    let mut sessions: Vec<&str> = all.iter().map(|(sent, _)| sent.session.as_str()).collect();
    sessions.sort_unstable();
    sessions.dedup();
    for session in sessions {
        let held = history(target, session).await?;
        for (sent, good) in all.iter().filter(|(sent, _)| sent.session == session) {
            let times = held.iter().filter(|text| **text == sent.text).count();
            lost += usize::from(*good && times != 1);
            let nonce = sent.text.split(' ').next().unwrap_or_default();
            let begun = held.iter().filter(|text| text.contains(nonce)).count();
            torn += usize::from(begun != times);
        }
    }
    finding.no_effect(lost == 0, format!("{lost} messages that were answered are gone"));
    finding.no_effect(torn == 0, format!("{torn} messages are half there"));
    Ok(())
}
