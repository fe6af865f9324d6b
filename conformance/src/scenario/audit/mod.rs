//! The audit log beside what the sensors saw: every event has its record, no value forges one, and
//! a changed log is noticed. It must never take a record for an effect, nor an effect for a record.

mod integrity;
mod request_id;
mod restarts;
mod settings;

use std::path::Path;

use serde_json::Value;

use crate::driver::http::Reply;
use crate::sensor::audit_log::{AuditLog, Reading};
use crate::sensor::files;
use crate::stage::model::{Answer, ToolCall};
use crate::target::world::random_hex;

use super::kit::{audit_log, in_workspace, part, placeholders, settled, shown};
use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// The scenarios of this group.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "audit.auth-attempts",
        requirements: &["audit.auth"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(auth_attempts(lab)),
    },
    Scenario {
        id: "audit.authorization-decisions",
        requirements: &["audit.authorization"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(authorization_decisions(lab)),
    },
    Scenario {
        id: "audit.tool-runs",
        requirements: &["audit.tool"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(tool_runs(lab)),
    },
    Scenario {
        id: "audit.tool-level",
        requirements: &["audit.tool"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(tool_level(lab)),
    },
    Scenario {
        id: "audit.config-changes",
        requirements: &["audit.config"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(config_changes(lab)),
    },
    Scenario {
        id: "audit.config-set",
        requirements: &["audit.config"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(settings::set(lab)),
    },
    Scenario {
        id: "audit.config-reload",
        requirements: &["audit.config"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(settings::reload(lab)),
    },
    Scenario {
        id: "audit.integrity-request-id",
        requirements: &["audit.integrity"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(request_id::request_id(lab)),
    },
    Scenario {
        id: "audit.integrity-segments",
        requirements: &["audit.integrity"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(settings::segments(lab)),
    },
    Scenario {
        id: "audit.rate-limit-triggers",
        requirements: &["audit.rate-limit"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(rate_limit_triggers(lab)),
    },
    Scenario {
        id: "audit.integrity-forgery",
        requirements: &["audit.integrity"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(integrity::forgery(lab)),
    },
    Scenario {
        id: "audit.integrity-verify",
        requirements: &["audit.integrity"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(integrity::verify(lab)),
    },
    Scenario {
        id: "audit.reconciled-session",
        requirements: &["audit.reconciled"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(reconciled(lab)),
    },
    Scenario {
        id: "audit.reconciled-kill",
        requirements: &["audit.reconciled"],
        surface: "state.folder",
        alone: false,
        run: |lab| Box::pin(restarts::killed(lab)),
    },
];

/// An event that this manifest can say the form of.
fn form_of(log: &AuditLog, event: &str) -> Result<(), Trouble> {
    if log.knows(event) {
        return Ok(());
    }
    Err(Trouble::Unsupported(format!("the manifest has no audit.events.{event}")))
}

/// The records of an event that hold a text.
fn holding(reading: &Reading, event: &str, text: &str) -> usize {
    reading.of_event(event).iter().filter(|record| record.to_string().contains(text)).count()
}

/// Whether a record of an event holds the correlation id of this answer.
fn joined(target: &Target, reading: &Reading, event: &str, reply: &Reply) -> bool {
    let place = target.instance().manifest().errors.as_ref().map(|it| it.correlation.clone());
    let Some(id) = place.and_then(|place| part(reply, &place)) else { return false };
    reading.of_event(event).iter().any(|record| reading.correlation(record).as_ref() == Some(&id))
}

/// The target's own command finds its log whole, where it has one.
async fn verifies(target: &Target, finding: &mut Finding) -> Result<(), Trouble> {
    if target.instance().manifest().commands.contains_key("audit-verify") {
        let ended = target.command("audit-verify", &[], None).await?;
        let words = String::from_utf8_lossy(&ended.stderr).into_owned();
        finding.no_effect(ended.code == Some(0), format!("the log verifies afterwards {words}"));
    }
    Ok(())
}

async fn auth_attempts(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let log = audit_log(&target)?;
    form_of(&log, "auth-success")?;
    form_of(&log, "auth-failure")?;
    let before = log.read();
    finding.twin(target.alive().await, "health answers");
    let quiet = log.read().since(&before);
    let none = quiet.count("auth-success") + quiet.count("auth-failure");
    finding.twin(none == 0, format!("{none} records of attempts where there was none"));
    for _ in 0..3 {
        target.session().await?;
    }
    let wrong = target.rpc().with_token(random_hex(24));
    let mut refusals = Vec::new();
    for _ in 0..2 {
        refusals.push(wrong.call("session-create", &placeholders()).await?);
    }
    let stood = refusals.iter().all(Reply::refused);
    finding.reached(stood, "three requests with the right token, two with a wrong one");
    let fresh = settled(&log, |now| now.since(&before).count("auth-failure") >= 2).await;
    let fresh = fresh.since(&before);
    let (good, bad) = (fresh.count("auth-success"), fresh.count("auth-failure"));
    finding.no_effect(good == 3, format!("{good} records of success for 3 attempts"));
    finding.no_effect(bad == 2, format!("{bad} records of failure for 2 attempts"));
    let joined = refusals.iter().all(|it| joined(&target, &fresh, "auth-failure", it));
    finding.no_effect(joined, "each refusal's correlation id stands in its record");
    Ok(finding)
}

async fn authorization_decisions(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let log = audit_log(&target)?;
    form_of(&log, "authorization-allow")?;
    form_of(&log, "authorization-deny")?;
    let before = log.read();
    let plain = target.answer(Vec::new()).await?;
    let quiet = log.read().since(&before).count("authorization-deny");
    let stood = plain.served() && quiet == 0;
    finding.twin(stood, format!("a message without a call: {quiet} records of a denial"));

    let name = format!("nosuch_{}", random_hex(6));
    let run = target.tool(ToolCall::new(name.as_str(), "{}")).await?;
    finding.reached(run.served(), "the model called a tool that is not registered");
    let reading = settled(&log, |now| holding(now, "authorization-deny", &name) > 0).await;
    let denied = holding(&reading, "authorization-deny", &name);
    finding.no_effect(denied == 1, format!("{denied} records of the denial of {name}"));
    let allowed = holding(&reading, "authorization-allow", &name);
    finding.no_effect(allowed == 0, format!("{allowed} records that allow {name}"));

    let before = log.read();
    let path = format!("allowed-{}", random_hex(6));
    let call = target.tool_call("write", &[("path", &path), ("content", "x")])?;
    let tool = String::from_utf8_lossy(&call.name).into_owned();
    target.tool(call).await?;
    let wrote = files::exists(&in_workspace(&target, &path));
    finding.twin(wrote, "the registered tool did its work");
    let fresh = |now: &Reading| now.since(&before);
    let reading = settled(&log, |now| fresh(now).count("authorization-allow") > 0).await;
    let grown = holding(&fresh(&reading), "authorization-allow", &tool);
    finding.no_effect(grown == 1, format!("{grown} records that allow {tool}"));
    target.back(&finding);
    Ok(finding)
}

async fn tool_runs(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let log = audit_log(&target)?;
    form_of(&log, "tool-completed")?;
    let before = log.read().count("tool-completed");
    let idle = target.answer(Vec::new()).await?;
    let quiet = log.read().count("tool-completed") - before;
    finding.twin(idle.served() && quiet == 0, format!("{quiet} records where no tool ran"));

    let path = format!("written-{}", random_hex(6));
    let call = target.tool_call("write", &[("path", &path), ("content", "x")])?;
    target.tool(call).await?;
    let wrote = files::exists(&in_workspace(&target, &path));
    finding.reached(wrote, "the tool that writes wrote its file");
    finding.twin(wrote, "an ordinary call works");
    let reading = settled(&log, |now| holding(now, "tool-completed", &path) > 0).await;
    let records = holding(&reading, "tool-completed", &path);
    finding.no_effect(records == 1, format!("{records} records hold the run and its parameter"));

    let secret = target.var("SECRET");
    let mark = format!("mark-{}", random_hex(6));
    let run = target.tool(target.exec_call(&["/bin/echo", &mark, &secret])?).await?;
    let ran = run.result.as_deref().is_some_and(|text| text.contains(&mark));
    finding.note(format!("echo of a marker and the model's key: ran: {ran}"));
    let reading = settled(&log, |now| holding(now, "tool-completed", &mark) > 0).await;
    let records = holding(&reading, "tool-completed", &mark);
    finding.no_effect(!ran || records == 1, format!("{records} records hold the run of echo"));
    let shown = reading
        .lines()
        .iter()
        .any(|line| crate::target::process::contains(line, secret.as_bytes()));
    finding.no_effect(!shown, format!("the key is redacted in the parameters: {}", !shown));

    if log.knows("tool-failed") {
        let mark = format!("failing-{}", random_hex(6));
        let call = target.exec_call(&["/bin/sh", "-c", "exit 3", &mark])?;
        let run = target.tool(call).await?;
        let reading = settled(&log, |now| {
            holding(now, "tool-failed", &mark) + holding(now, "tool-completed", &mark) > 0
        });
        let reading = reading.await;
        let failed = holding(&reading, "tool-failed", &mark);
        let completed = holding(&reading, "tool-completed", &mark);
        let stood = run.result.is_none() || (failed, completed) == (1, 0);
        let words = format!("exit 3: {failed} records say failed, {completed} say completed");
        finding.no_effect(stood, words);
    }
    target.back(&finding);
    Ok(finding)
}

/// The level in a tool's record where the configuration asks for one.
async fn level_on_record(lab: &Lab, patch: &str) -> Result<(bool, Option<String>), Trouble> {
    let target = lab.lent(Options::default().patch(patch)).await?;
    let log = audit_log(&target)?;
    form_of(&log, "tool-completed")?;
    let path = format!("level-{}", random_hex(6));
    let call = target.tool_call("write", &[("path", &path), ("content", "x")])?;
    target.tool(call).await?;
    let wrote = files::exists(&in_workspace(&target, &path));
    let reading = settled(&log, |now| holding(now, "tool-completed", &path) > 0).await;
    let mut records = reading.of_event("tool-completed").into_iter();
    let record = records.find(|record| record.to_string().contains(&path));
    target.back(&Finding::new());
    Ok((wrote, record.and_then(|record| reading.level(record))))
}

async fn tool_level(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let place = lab.manifest().audit.as_ref().and_then(|form| form.level.clone());
    if place.is_none() {
        return Err(Trouble::Unsupported("the manifest has no audit.level".to_owned()));
    }
    let (strict_ran, strict) = level_on_record(&lab, "sandbox-strict").await?;
    let (relaxed_ran, relaxed) = level_on_record(&lab, "sandbox-relaxed").await?;
    let ran = strict_ran && relaxed_ran;
    finding.reached(ran, "the same tool ran under two levels");
    finding.twin(ran, "an ordinary call works under both");
    let stood = strict.is_some() && relaxed.is_some() && strict != relaxed;
    finding.no_effect(stood, format!("the records say {strict:?} and {relaxed:?}"));
    Ok(finding)
}

async fn config_changes(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let log = audit_log(&target)?;
    form_of(&log, "config-change")?;
    // Served once, so that what is recorded at the start has been.
    target.session().await?;
    let before = log.read();
    target.session().await?;
    let quiet = log.read().since(&before).count("config-change");
    finding.twin(quiet == 0, format!("{quiet} records where nothing was changed"));

    let calls = &lab.manifest().calls;
    if calls.contains_key("credentials-put") && calls.contains_key("credentials-delete") {
        let (name, value) = (format!("key-{}", random_hex(6)), format!("sk-{}", random_hex(16)));
        let vars = [("NAME", name.as_str()), ("VALUE", value.as_str())];
        for (count, call) in ["credentials-put", "credentials-delete"].into_iter().enumerate() {
            let reply = target.call(call, &vars).await?;
            finding.reached(!reply.refused(), format!("{call}: {}", reply.summary()));
            let due = count + 1;
            let reading = settled(&log, |now| holding(now, "config-change", &name) >= due).await;
            let records = holding(&reading, "config-change", &name);
            let words = format!("{records} records name the credential after {call}");
            finding.no_effect(records == due, words);
            let plain = reading
                .lines()
                .iter()
                .any(|line| crate::target::process::contains(line, value.as_bytes()));
            finding.no_effect(!plain, "its secret stands in no record");
        }
    }

    let starts = |reading: &Reading| -> Vec<String> {
        let records = reading.of_event("config-change");
        records.iter().map(|record| without_changing_parts(record)).collect()
    };
    let old = starts(&log.read());
    target.instance().stop().await;
    patch_config(&target, "rates-low")?;
    target.instance().start_again().await?;
    let reading = settled(&log, |now| starts(now).len() > old.len()).await;
    let new: Vec<String> = starts(&reading).into_iter().skip(old.len()).collect();
    let told = new.iter().any(|record| !old.contains(record));
    finding.reached(true, "started once more with other rate limits");
    finding.no_effect(told, format!("new records of the configuration: {}", new.len()));
    Ok(finding)
}

/// A record's text without what is new in each record: numbers of order, times, ids, hashes.
fn without_changing_parts(record: &Value) -> String {
    let mut record = record.clone();
    if let Some(fields) = record.as_object_mut() {
        fields.retain(|_, value| value.is_object() || value.is_array());
    }
    record.to_string()
}

/// Applies a patch of the manifest to the configuration that lies on disk.
fn patch_config(target: &Target, name: &str) -> Result<(), Trouble> {
    let missing = || Trouble::Unsupported(format!("the manifest has no config patch `{name}`"));
    let config = target.instance().manifest().config.clone().ok_or_else(missing)?;
    let patch = config.patches.get(name).ok_or_else(missing)?;
    let path = target.var("CONFIG");
    let read = |text: &str| -> Result<Value, Trouble> {
        serde_json::from_str(text).map_err(|error| Trouble::Harness(error.to_string()))
    };
    let mut json = read(&std::fs::read_to_string(&path)?)?;
    crate::target::patch::merge(&mut json, read(patch)?);
    let path = Path::new(&path);
    target.world().write(path, json.to_string().as_bytes(), 0o600)?;
    Ok(())
}

async fn rate_limit_triggers(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let low = || Options::default().own_rates().patch("rates-low");
    let target = lab.instance(low()).await?;
    let log = audit_log(&target)?;
    form_of(&log, "rate-limit")?;
    let mut refusals = Vec::new();
    for count in 1..=10 {
        let reply = target.rpc().call("session-create", &placeholders()).await?;
        if count == 7 {
            let quiet = log.read().count("rate-limit");
            finding
                .twin(!reply.refused() && quiet == 0, format!("{quiet} records before the limit"));
        }
        if reply.status == 429 {
            refusals.push(reply);
        }
    }
    finding.reached(refusals.len() == 3, format!("{} of 10 requests had 429", refusals.len()));
    let reading = settled(&log, |now| now.count("rate-limit") >= refusals.len()).await;
    let records = reading.count("rate-limit");
    let words = format!("{records} records for {} refusals of a client", refusals.len());
    finding.no_effect(records == refusals.len(), words);
    let joined = refusals.iter().all(|it| joined(&target, &reading, "rate-limit", it));
    finding.no_effect(joined, "each refusal's correlation id stands in its record");

    let target = lab.instance(low()).await?;
    let log = audit_log(&target)?;
    let session = target.session().await?;
    let mut refused = 0;
    for _ in 0..6 {
        let (reply, _) = target.say(&session, "please", Vec::new()).await?;
        refused += usize::from(reply.status == 429);
    }
    finding.reached(refused == 1, format!("{refused} of 6 messages of a session had 429"));
    let reading = settled(&log, |now| now.count("rate-limit") >= refused).await;
    let records = reading.count("rate-limit");
    finding.no_effect(records == refused, format!("{records} records for {refused} of a session"));
    Ok(finding)
}

async fn reconciled(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let log = audit_log(&target)?;
    form_of(&log, "tool-completed")?;
    let before = log.read();
    // Effects and failures, one after the other and side by side, through every door to a tool.
    let mut names = Vec::new();
    let mut calls = Vec::new();
    for index in 0..8 {
        let name = format!("reconciled-{index}-{}", random_hex(6));
        // Every third goes to a place that must not be written, every fourth to a folder.
        if index % 4 == 3 {
            target.world().make_dir(&in_workspace(&target, &name))?;
        }
        let path = if index % 3 == 2 { format!("../outside/{name}") } else { name.clone() };
        let vars = [("path", path.as_str()), ("content", name.as_str())];
        calls.push(target.tool_call("write", &vars)?);
        names.push(name);
    }
    let (first, second) = calls.split_at(4);
    let run = target.answer(vec![Answer::Calls(first.to_vec())]).await?;
    let side_by_side = second.iter().map(|call| target.tool(call.clone()));
    let runs = futures_util::future::join_all(side_by_side).await;
    let served = run.served() && runs.iter().all(|run| run.as_ref().is_ok_and(|it| it.served()));
    finding.reached(served, "the model made eight calls, four of which cannot write");
    if let (Some(tool), true) =
        (lab.manifest().tools.get("write"), lab.manifest().calls.contains_key("tools-execute"))
    {
        let name = format!("reconciled-direct-{}", random_hex(6));
        let call = target.tool_call("write", &[("path", &name), ("content", &name)])?;
        let mut vars = placeholders();
        vars.set("NAME", tool.name.as_str()).set("ARGUMENTS", call.arguments);
        let answer = target.rpc().call("tools-execute", &vars).await;
        finding.note(format!("a call without the model: {}", shown(&answer)));
        names.push(name);
    }
    let root = target.world().root().to_owned();
    let effects = |name: &str| files::holding(&root, name.as_bytes()).len();
    let seen: Vec<usize> = names.iter().map(|name| effects(name)).collect();
    let due: usize = seen.iter().sum();
    let reading = settled(&log, |now| now.since(&before).count("tool-completed") >= due).await;
    let fresh = reading.since(&before);
    for (name, seen) in names.iter().zip(&seen) {
        let records = holding(&fresh, "tool-completed", name);
        finding.no_effect(records == *seen, format!("{name}: {seen} seen, {records} on record"));
    }
    let total = fresh.count("tool-completed");
    finding
        .no_effect(total == due, format!("{due} effects seen, {total} completed runs on record"));
    finding.twin(due >= 4, format!("{due} effects were seen"));
    target.back(&finding);
    Ok(finding)
}
