//! A part that fails denies: the audit log, the model, the vault are taken away one at a time. It
//! must never take a refusal for a denial where the effect can be looked for.

use std::time::Duration;

use crate::scenario::kit::{Answered, audit_log, in_workspace, placeholders, shown};
use crate::scenario::{Finding, Lab, Options, Target, Trouble};
use crate::sensor::files;
use crate::stage::model::{Answer, ToolCall};
use crate::target::world::random_hex;

/// The size at which the log's file is full, in bytes, and the same in the units of `ulimit`.
const FULL: u64 = 4 << 20;
const UNITS: u64 = FULL / 512;

/// Takes the place of the log away: its folder is moved, and a file stands where it stood.
fn take_away(target: &Target) -> Result<(), Trouble> {
    let log = target.file("audit")?;
    let folder =
        log.parent().ok_or_else(|| Trouble::Harness("the log has no folder".to_owned()))?;
    let aside = target.world().root().join("bin").join("aside");
    std::fs::rename(folder, &aside)?;
    target.world().write(folder, b"", 0o600)?;
    Ok(())
}

pub(super) async fn audit_gone(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let write = |name: &str| target.tool_call("write", &[("path", name), ("content", "x")]);
    let (before, after) = (format!("before-{}", random_hex(6)), format!("after-{}", random_hex(6)));
    target.tool(write(&before)?).await?;
    let wrote = files::exists(&in_workspace(&target, &before));
    finding.twin(wrote, "the tool works while the log can be written");

    // The session and the model's call are under way before the log goes, so that only what
    // comes after it can refuse.
    let session = target.session().await?;
    let nonce = random_hex(8);
    let late =
        Answer::Late(Duration::from_millis(1500), Box::new(Answer::Calls(vec![write(&after)?])));
    let talk = target.model().expect(nonce.as_str(), vec![late]);
    let rpc = target.rpc().clone();
    let text = format!("please {nonce}");
    let sent = tokio::spawn(async move { rpc.message(&session, text.as_bytes()).await });
    let asked = talk.wait(1, Duration::from_secs(5)).await;
    take_away(&target)?;
    let answer: Answered = sent.await.map_err(|error| Trouble::Harness(error.to_string()))?;
    finding.reached(asked, "the model called the tool after the log was taken away");
    let ran = files::exists(&in_workspace(&target, &after));
    finding.no_effect(!ran, format!("the tool did not run: {}", shown(&answer)));

    let direct = format!("direct-{}", random_hex(6));
    if lab.manifest().calls.contains_key("tools-execute") {
        let call = write(&direct)?;
        let mut vars = placeholders();
        vars.set("NAME", call.name).set("ARGUMENTS", call.arguments);
        let answer = target.rpc().call("tools-execute", &vars).await;
        let ran = files::exists(&in_workspace(&target, &direct));
        finding
            .no_effect(!ran, format!("nor did it when it was called directly: {}", shown(&answer)));
    }
    Ok(finding)
}

/// No file of the target may grow beyond a size, as on a full disk: the log fills it, and then a
/// tool that writes a small file must not run.
pub(super) async fn audit_full(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    // A soft limit, so that the target can lift it for its tools; the signal would be a death of
    // another kind.
    let limit = format!("trap '' XFSZ; ulimit -S -f {UNITS}; exec \"$0\" \"$@\"");
    let target = lab.instance(Options::default().wrap(["/bin/sh", "-c", limit.as_str()])).await?;
    let log = audit_log(&target)?;
    let write = |name: &str| target.tool_call("write", &[("path", name), ("content", "x")]);
    let before = format!("before-{}", random_hex(6));
    target.tool(write(&before)?).await?;
    let wrote = files::exists(&in_workspace(&target, &before));
    finding.twin(wrote, "the tool works while there is room");

    let size = || std::fs::metadata(log.path()).map_or(0, |it| it.len());
    let filler: Vec<String> =
        (0..10).map(|it| format!("\"k{it}\":\"{}\"", "f".repeat(4_000))).collect();
    let filler = format!("{{{}}}", filler.join(","));
    let direct = lab.manifest().calls.contains_key("tools-execute");
    let (mut rounds, mut still) = (0, 0);
    while rounds < 3_000 && still < 3 {
        let (name, old) = (format!("nosuch_{}", random_hex(4)), size());
        // Refused once the log is full: then it no longer grows. A conversation would fill the
        // target's own store as well, so it is the second choice.
        if direct {
            let mut vars = placeholders();
            vars.set("NAME", name).set("ARGUMENTS", filler.as_str());
            let _ = target.rpc().call("tools-execute", &vars).await;
        } else {
            let _ = target.tool(ToolCall::new(name, filler.as_str())).await;
        }
        still = if size() > old { 0 } else { still + 1 };
        rounds += 1;
    }
    if size() < FULL - 200_000 {
        let words = format!("the log stopped at {} bytes after {rounds} large calls", size());
        return Err(Trouble::Inconclusive(words));
    }
    finding.reached(true, format!("the log is full: {} of {FULL} bytes", size()));
    let after = format!("after-{}", random_hex(6));
    let run = target.tool(write(&after)?).await.map(|it| it.reply);
    let ran = files::exists(&in_workspace(&target, &after));
    finding.no_effect(!ran, format!("a tool ran without a record: {ran}, {run:?}"));
    let broken = log.read().broken().to_vec();
    finding.no_effect(broken.is_empty(), format!("lines cut by the full disk: {broken:?}"));
    finding.twin(target.rpc().alive().await, "health answers");
    Ok(finding)
}

pub(super) async fn model_unreachable(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let sound = target.answer(Vec::new()).await?;
    finding.twin(sound.reply.is_ok_and(|it| !it.refused()), "with a model the message is answered");
    target.back(&finding);
    let target = lab.instance(Options::default().patch("model-unreachable")).await?;
    let run = target.answer(Vec::new()).await?;
    finding.reached(!run.served(), "the model was not reached");
    let answer = run.reply.map_err(|error| Trouble::Target(error.to_string()))?;
    let words = format!("without a model: {}", answer.summary());
    finding.no_effect(answer.refused(), words);
    finding.no_effect(target.alive().await, "the target goes on");
    Ok(finding)
}

pub(super) async fn vault_locked(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let secret = target.var("SECRET");
    let sound = target.answer(Vec::new()).await?;
    let keyed = |exchanges: &[std::sync::Arc<crate::stage::model::Exchange>]| {
        let mut headers = exchanges.iter().flat_map(|it| &it.headers);
        headers.any(|(_, value)| value.contains(&secret))
    };
    finding.twin(keyed(&sound.exchanges), "with the master password the key reaches the model");
    target.back(&finding);
    let wrong = format!("wrong-{}", random_hex(8));
    match lab.instance(Options::default().var("MASTER", wrong)).await {
        Err(Trouble::Target(words)) => {
            finding.reached(true, "the target was started with a wrong master password");
            finding.no_effect(true, format!("it does not serve: {words}"));
        }
        Err(other) => return Err(other),
        Ok(target) => {
            finding.reached(true, "a message was sent while the vault is locked");
            let run = match target.answer(Vec::new()).await.map_err(Trouble::from) {
                Ok(run) => run,
                Err(Trouble::Target(words)) => {
                    finding.no_effect(true, format!("it does not serve: {words}"));
                    return Ok(finding);
                }
                Err(other) => return Err(other),
            };
            let refused = run.reply.as_ref().map_or(true, |reply| reply.refused());
            let words = format!("served: {}, refused: {refused}", run.served());
            finding.no_effect(refused && !run.served(), words);
        }
    }
    Ok(finding)
}
