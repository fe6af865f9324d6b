//! The audit log beside what the sensors saw: every event has its record, no value forges one, and
//! a changed log is noticed. It must never take a record for an effect, nor an effect for a record.

use std::path::Path;

use serde_json::Value;

use crate::driver::http::Reply;
use crate::sensor::audit_log::{AuditLog, Reading};
use crate::sensor::files;
use crate::stage::model::{Answer, ToolCall};
use crate::target::template::json_literal;
use crate::target::world::random_hex;

use super::kit::{audit_log, in_workspace, part, placeholders, set_header, settled, shown};
use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// No record is longer than this, in bytes, whatever it is about.
const LONGEST_LINE: usize = 1_000_000;

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
        run: |lab| Box::pin(forgery(lab)),
    },
    Scenario {
        id: "audit.integrity-verify",
        requirements: &["audit.integrity"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(verify(lab)),
    },
    Scenario {
        id: "audit.reconciled-session",
        requirements: &["audit.reconciled"],
        surface: "audit.log",
        alone: false,
        run: |lab| Box::pin(reconciled(lab)),
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
    let target = lab.instance(Options::default()).await?;
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

    let allowed = reading.count("authorization-allow");
    let path = format!("allowed-{}", random_hex(6));
    let call = target.tool_call("write", &[("path", &path), ("content", "x")])?;
    let tool = String::from_utf8_lossy(&call.name).into_owned();
    target.tool(call).await?;
    let wrote = files::exists(&in_workspace(&target, &path));
    finding.twin(wrote, "the registered tool did its work");
    let reading = settled(&log, |now| now.count("authorization-allow") > allowed).await;
    let grown = holding(&reading, "authorization-allow", &tool);
    finding.no_effect(grown == 1, format!("{grown} records that allow {tool}"));
    Ok(finding)
}

async fn tool_runs(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
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
    Ok(finding)
}

/// The level in a tool's record where the configuration asks for one.
async fn level_on_record(lab: &Lab, patch: &str) -> Result<(bool, Option<String>), Trouble> {
    let target = lab.instance(Options::default().patch(patch)).await?;
    let log = audit_log(&target)?;
    form_of(&log, "tool-completed")?;
    let path = format!("level-{}", random_hex(6));
    let call = target.tool_call("write", &[("path", &path), ("content", "x")])?;
    target.tool(call).await?;
    let wrote = files::exists(&in_workspace(&target, &path));
    let reading = settled(&log, |now| holding(now, "tool-completed", &path) > 0).await;
    let mut records = reading.of_event("tool-completed").into_iter();
    let record = records.find(|record| record.to_string().contains(&path));
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
    crate::target::instance::merge(&mut json, read(patch)?);
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

/// Values that would forge, split, hide or reorder a record if they were written as they are.
fn hostile_values(forged: &str) -> Vec<(&'static str, Vec<u8>)> {
    let around = |before: &str, behind: &str| format!("{before}{forged}{behind}").into_bytes();
    vec![
        ("a line feed and a whole record", around("x\n", "\n")),
        ("a carriage return and a record", around("x\r", "\r")),
        ("quotes and a record", around("x\"}\n", "\n{\"y\":\"")),
        ("a backslash before the quote", around("x\\\"}\n", "\n")),
        ("a line separator", around("x\u{2028}", "\u{2028}")),
        ("a terminal's erase and move up", b"x\x1b[2K\x1b[1A\x1b[8m".to_vec()),
        ("a C1 control sequence", "x\u{9b}2J\u{85}y".as_bytes().to_vec()),
        ("a title command", b"x\x1b]0;owned\x07".to_vec()),
        ("backspaces", b"deny\x08\x08\x08\x08allow".to_vec()),
        ("direction overrides", "x\u{202e}wolla\u{2066}y\u{200f}".as_bytes().to_vec()),
        ("tag characters", "x\u{e0001}\u{e0041}\u{e007f}".as_bytes().to_vec()),
        ("a null byte", b"x\0y".to_vec()),
        ("malformed UTF-8", b"x\xff\xfe\xc0\x80y".to_vec()),
        ("a huge value", vec![b'A'; 300_000]),
        ("many lines", b"line\n".repeat(20_000)),
    ]
}

async fn forgery(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let log = audit_log(&target)?;
    let session = target.session().await?;
    let path = format!("plain-{}", random_hex(6));
    let call = target.tool_call("write", &[("path", &path), ("content", "x")])?;
    let before_plain = log.read().records().len();
    target.tool(call).await?;
    let plain = settled(&log, |now| holding(now, "tool-completed", &path) > 0).await;
    finding.twin(plain.broken().is_empty(), "a log of ordinary events is records alone");
    let marked = holding(&plain, "tool-completed", &path);
    finding.twin(marked == 1, "an ordinary call has its record");
    let usual = plain.records().len() - before_plain;

    // A real record of this log, with a mark: as good a forgery as can be had.
    let mark = format!("forged-{}", random_hex(8));
    let mut model = plain.records().last().cloned().unwrap_or_default();
    if let Some(fields) = model.as_object_mut() {
        fields.insert(mark.clone(), Value::Bool(true));
    }
    let mut sent = 0;
    for (what, value) in hostile_values(&model.to_string()) {
        let before = log.read().records().len();
        let name = random_hex(6);
        let named = [name.as_bytes(), value.as_slice()].concat();
        let vars = [("path", json_literal(path.as_bytes())), ("content", json_literal(&named))];
        let write = super::lab::tool_call(lab.manifest(), "write", &vars)?;
        let run = target.tool(write).await?;
        let after = log.read().records().len();
        if run.result.is_some() {
            let grown = after - before;
            finding.no_effect(grown <= usual, format!("{what}: {grown} records for {usual}"));
        }
        let mut by_name = ToolCall::new(named.as_slice(), "{}");
        target.tool(by_name.clone()).await?;
        by_name.name = name.clone().into_bytes();
        by_name.id = String::from_utf8_lossy(&named).into_owned();
        target.tool(by_name).await?;
        from_outside(&target, &session, &named).await?;
        sent += 1;
    }
    finding.reached(sent > 0, format!("{sent} values at every place that a caller or model fills"));
    judge_lines(&log.read(), &mark, &mut finding);
    if lab.manifest().commands.contains_key("audit-verify") {
        let ended = target.command("audit-verify", &[], None).await?;
        let words = String::from_utf8_lossy(&ended.stderr).into_owned();
        finding.no_effect(ended.code == Some(0), format!("the log verifies afterwards {words}"));
    }
    finding.twin(target.alive().await, "health answers");
    Ok(finding)
}

/// The value in the fields that a caller fills: message, session, credential, tool, header, path.
async fn from_outside(target: &Target, session: &str, value: &[u8]) -> Result<(), Trouble> {
    for call in target.instance().manifest().calls.keys() {
        for name in ["SESSION", "TEXT", "NAME"] {
            let mut vars = placeholders();
            vars.set("SESSION", session).set(name, value);
            let Ok(request) = target.rpc().request(call, &vars) else { continue };
            // What is answered is no matter here: the log is looked at.
            let _ = target.rpc().send(&request).await;
        }
    }
    let text: String = String::from_utf8_lossy(value)
        .chars()
        .filter(|it| !matches!(it, '\r' | '\n' | '\0'))
        .take(12_000)
        .collect();
    for header in ["User-Agent", "Origin", "Host", "X-Request-Id", "X-Forwarded-For"] {
        let mut request = target.rpc().request("session-create", &placeholders())?;
        set_header(&mut request, header, &text);
        let _ = target.rpc().send(&request).await;
    }
    let mut request = target.rpc().request("session-create", &placeholders())?;
    request.path = format!("/{}", text.replace(' ', "%20"));
    let _ = target.rpc().send(&request).await;
    let _ = target.rpc().with_token(text).call("session-create", &placeholders()).await;
    Ok(())
}

fn judge_lines(reading: &Reading, mark: &str, finding: &mut Finding) {
    let broken = reading.broken();
    finding.no_effect(broken.is_empty(), format!("lines that are no record: {broken:?}"));
    let forged = reading.records().iter().filter(|record| record.get(mark).is_some()).count();
    finding.no_effect(forged == 0, format!("{forged} records are forged"));
    let raw = reading.unprintable();
    let first = raw.first().cloned().unwrap_or_default();
    finding.no_effect(raw.is_empty(), format!("{} lines a terminal would obey {first}", raw.len()));
    let longest = reading.lines().iter().map(Vec::len).max().unwrap_or(0);
    finding.no_effect(longest <= LONGEST_LINE, format!("the longest line has {longest} bytes"));
}

/// A way to change a log: what it does, and its lines after.
type Change = (&'static str, fn(&[Vec<u8>]) -> Vec<Vec<u8>>);

const CHANGES: &[Change] = &[
    ("a value edited in the middle", |lines| {
        edit(lines, lines.len() / 2, |text| text.replacen("allow", "alloW", 1))
    }),
    ("a digit of the time edited", |lines| {
        edit(lines, lines.len() / 2, |text| {
            let at = text.find("20").map_or(0, |at| at + 3);
            text.char_indices().map(|(i, it)| if i == at { '0' } else { it }).collect()
        })
    }),
    ("the first record removed", |lines| lines.iter().skip(1).cloned().collect()),
    ("a record removed from the middle", |lines| {
        let middle = lines.len() / 2;
        let kept = lines.iter().enumerate().filter(|(index, _)| *index != middle);
        kept.map(|(_, line)| line.clone()).collect()
    }),
    ("the last record removed", |lines| {
        lines.iter().take(lines.len().saturating_sub(1)).cloned().collect()
    }),
    ("two records exchanged", |lines| {
        let mut lines = lines.to_vec();
        let middle = lines.len() / 2;
        lines.swap(middle, middle + 1);
        lines
    }),
    ("a record repeated", |lines| {
        let mut lines = lines.to_vec();
        if let Some(line) = lines.get(2).cloned() {
            lines.insert(3, line);
        }
        lines
    }),
    ("everything removed", |_| Vec::new()),
];

fn edit(lines: &[Vec<u8>], place: usize, change: impl Fn(&str) -> String) -> Vec<Vec<u8>> {
    let mut lines = lines.to_vec();
    // The first line from there on that the change changes.
    for line in lines.iter_mut().skip(place) {
        let changed = change(&String::from_utf8_lossy(line)).into_bytes();
        if changed != *line {
            *line = changed;
            break;
        }
    }
    lines
}

async fn verify(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let log = audit_log(&target)?;
    for _ in 0..6 {
        target.answer(Vec::new()).await?;
    }
    target.instance().stop().await;
    let original = std::fs::read(log.path())?;
    let lines = log.read().lines().to_vec();
    if lines.len() < 6 {
        return Err(Trouble::Inconclusive(format!("the log has {} lines", lines.len())));
    }
    let whole = target.command("audit-verify", &[], None).await?;
    let words = String::from_utf8_lossy(&whole.stderr).into_owned();
    finding.twin(whole.code == Some(0), format!("the log as it was written verifies {words}"));
    for &(what, change) in CHANGES {
        let changed = change(&lines);
        let mut bytes = changed.join(b"\n".as_slice());
        if !bytes.is_empty() {
            bytes.push(b'\n');
        }
        finding.reached(bytes != original, format!("{what}: the file is another one"));
        overwrite(log.path(), &bytes)?;
        let ended = target.command("audit-verify", &[], None).await?;
        let stood = ended.code.is_some_and(|code| code != 0) && !ended.timed_out;
        let words = crate::driver::excerpt(&ended.stderr, 120);
        finding.no_effect(stood, format!("{what}: status {:?} {words}", ended.code));
    }
    overwrite(log.path(), &original)?;
    let again = target.command("audit-verify", &[], None).await?;
    finding.twin(again.code == Some(0), "the log put back verifies");
    Ok(finding)
}

/// Writes into the file that is there, so that its owner and mode stay.
fn overwrite(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(bytes)
}

async fn reconciled(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
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
    Ok(finding)
}
