//! Settings that change while a server runs, and a log that has grown into several files. It must
//! never take an answer for a change: what the model still receives shows it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::scenario::kit::{audit_log, in_workspace, placeholders, reaches, settled};
use crate::scenario::{Finding, Lab, Options, Target, Trouble};
use crate::sensor::audit_log::Reading;
use crate::sensor::files;
use crate::target::patch::merge;
use crate::target::process::contains;
use crate::target::world::random_hex;

/// A limit that is lowered by a call, and the record of it.
pub(super) async fn set(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let patch = lab.manifest().config.as_ref().and_then(|it| it.patches.get("low-message-limit"));
    let patch = patch.cloned().ok_or_else(|| {
        Trouble::Unsupported("the manifest has no config patch `low-message-limit`".to_owned())
    })?;
    let target = lab.instance(Options::default()).await?;
    let log = audit_log(&target)?;
    if !log.knows("config-change") {
        return Err(Trouble::Unsupported("the manifest knows no `config-change`".to_owned()));
    }
    let session = target.session().await?;
    let before = reaches(&target, target.rpc(), &session, 2_000).await?;
    finding.twin(before, "a message of 2,000 bytes reaches the model at first");
    let start = log.read();
    let reply = target.call("config-set", &[("JSON", &patch)]).await?;
    finding.reached(!reply.refused(), format!("the limit was lowered: {}", reply.summary()));
    let after = reaches(&target, target.rpc(), &session, 2_000).await?;
    finding
        .twin(!after, format!("the new limit is in force: 2,000 bytes reach the model: {after}"));
    let short = reaches(&target, target.rpc(), &session, 500).await?;
    finding.twin(short, "a message of 500 bytes reaches the model afterwards");
    let reading = settled(&log, |now| now.since(&start).count("config-change") > 0).await;
    let fresh = reading.since(&start);
    let told = fresh.of_event("config-change");
    let named = told.iter().filter(|record| record.to_string().contains("1000")).count();
    let words = format!("{} records of a change, {named} with the new value", told.len());
    finding.no_effect(told.len() == 1 && named == 1, words);
    Ok(finding)
}

/// Whether the exec tool runs: it makes a file.
async fn executes(target: &Target) -> Result<bool, Trouble> {
    let name = format!("ran-{}", random_hex(6));
    target.tool(target.exec_call(&["/usr/bin/touch", name.as_str()])?).await?;
    Ok(files::exists(&in_workspace(target, &name)))
}

/// The settings' file read again by the running server: a limit and a tool's policy change with one
/// record; a file that is wrong changes nothing, and that is recorded too.
pub(super) async fn reload(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let patches = lab.manifest().config.as_ref().map(|it| &it.patches);
    let patch = |name: &str| -> Result<Value, Trouble> {
        let text = patches.and_then(|it| it.get(name)).ok_or_else(|| {
            Trouble::Unsupported(format!("the manifest has no config patch `{name}`"))
        })?;
        serde_json::from_str(text).map_err(|error| Trouble::Harness(error.to_string()))
    };
    let (limit, policy) = (patch("low-message-limit")?, patch("exec-disabled")?);
    let target = lab.instance(Options::default()).await?;
    let log = audit_log(&target)?;
    if !log.knows("config-change") {
        return Err(Trouble::Unsupported("the manifest knows no `config-change`".to_owned()));
    }
    let pid = target.instance().pid().await.to_string();
    let session = target.session().await?;
    let before =
        reaches(&target, target.rpc(), &session, 2_000).await? && executes(&target).await?;
    finding.twin(before, "2,000 bytes reach the model and a program runs at first");

    let path = PathBuf::from(target.var("CONFIG"));
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path)?)
        .map_err(|error| Trouble::Harness(error.to_string()))?;
    merge(&mut json, limit);
    merge(&mut json, policy);
    let start = log.read();
    target.world().write(&path, json.to_string().as_bytes(), 0o600)?;
    let ended = target.command("reload", &[("PID", &pid)], None).await?;
    finding.reached(ended.code == Some(0), "the server was told that its file is another one");
    let told = |now: &Reading, start: &Reading| now.since(start).count("config-change");
    let reading = settled(&log, |now| told(now, &start) > 0).await;
    let fresh = reading.since(&start);
    let records = fresh.of_event("config-change");
    let named = records.iter().filter(|record| {
        let text = record.to_string();
        text.contains("1000") && text.contains("exec")
    });
    let words = format!("{} records of it, {} with what changed", records.len(), named.count());
    finding.no_effect(records.len() == 1 && words.contains(", 1 with"), words);
    let long = reaches(&target, target.rpc(), &session, 2_000).await?;
    let short = reaches(&target, target.rpc(), &session, 500).await?;
    let ran = executes(&target).await?;
    let words = format!("2,000 bytes reach the model: {long}, 500: {short}; a program runs: {ran}");
    finding.twin(!long && short && !ran, format!("both changes are in force: {words}"));

    let start = log.read();
    target.world().write(&path, b"{ \"workspace\": ", 0o600)?;
    target.command("reload", &[("PID", &pid)], None).await?;
    let reading = settled(&log, |now| told(now, &start) > 0).await;
    let count = told(&reading, &start);
    finding.no_effect(count == 1, format!("{count} records of a file that is wrong"));
    let long = reaches(&target, target.rpc(), &session, 2_000).await?;
    let short = reaches(&target, target.rpc(), &session, 500).await?;
    let words = format!("after it 2,000 bytes reach the model: {long}, 500: {short}");
    finding.no_effect(!long && short && target.alive().await, words);
    Ok(finding)
}

/// The files of the log, oldest first: those beside the newest that end alike.
fn parts(newest: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let folder = newest.parent().unwrap_or(newest);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == newest.extension() {
            found.push(path);
        }
    }
    // `audit-7.jsonl` stands before `audit.jsonl`.
    found.sort();
    Ok(found)
}

/// A log of several files: all of it is checked, and a part that is missing, cut or changed is seen.
pub(super) async fn segments(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().patch("audit-small-segments")).await?;
    let newest = target.file("audit")?;
    let mut names = Vec::new();
    for _ in 0..14 {
        let name = format!("unknown-{}", random_hex(6));
        let many: Vec<String> = (0..10).map(|_| random_hex(1_500)).collect();
        let mut vars = placeholders();
        vars.set("NAME", name.as_str()).set("ARGUMENTS", json!({ "a": many }).to_string());
        // It is refused; what counts is that it was recorded.
        let _ = target.rpc().call("tools-execute", &vars).await;
        names.push(name);
    }
    let parts = parts(&newest)?;
    let all: Vec<Vec<u8>> = parts.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    let whole = all.concat();
    let kept = names.iter().filter(|name| contains(&whole, name.as_bytes())).count();
    finding.reached(parts.len() >= 3, format!("the log has {} files", parts.len()));
    let words = format!("{kept} of {} refused calls stand in them", names.len());
    finding.no_effect(kept == names.len(), words);
    target.instance().stop().await;
    let holds = async || -> Result<bool, Trouble> {
        Ok(target.command("audit-verify", &[], None).await?.code == Some(0))
    };
    finding.twin(holds().await?, "the whole log is found whole");
    for (place, (path, good)) in parts.iter().zip(&all).enumerate() {
        let mut changed = good.clone();
        if let Some(byte) = changed.iter_mut().find(|byte| **byte == b'a') {
            *byte = b'b';
        }
        target.world().write(path, &changed, 0o600)?;
        finding.no_effect(!holds().await?, format!("one byte of file {place} was changed"));
        let end = good.len().saturating_sub(1);
        let cut = good.get(..end).unwrap_or_default().iter().rposition(|byte| *byte == b'\n');
        let shorter = good.get(..cut.map_or(0, |at| at + 1)).unwrap_or_default();
        target.world().write(path, shorter, 0o600)?;
        finding.no_effect(!holds().await?, format!("the last record of file {place} was cut off"));
        std::fs::remove_file(path)?;
        finding.no_effect(!holds().await?, format!("file {place} was removed"));
        target.world().write(path, good, 0o600)?;
    }
    finding.twin(holds().await?, "the log put back is found whole");
    target.instance().start_again().await?;
    let session = target.session().await;
    finding.twin(session.is_ok() && holds().await?, "a new start goes on with the same chain");
    Ok(finding)
}
