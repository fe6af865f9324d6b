//! No value forges, splits, hides or reorders a record, and a changed log is noticed. It must never
//! change a log that a server still writes.

use std::path::Path;

use serde_json::Value;

use crate::scenario::kit::{audit_log, placeholders, set_header, settled};
use crate::scenario::tool_call::tool_call;
use crate::scenario::{Finding, Lab, Options, Target, Trouble};
use crate::sensor::audit_log::Reading;
use crate::stage::model::ToolCall;
use crate::target::template::json_literal;
use crate::target::world::random_hex;

use super::{holding, verifies};

/// No record is longer than this, in bytes, whatever it is about.
const LONGEST_LINE: usize = 1_000_000;

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

pub(super) async fn forgery(lab: Lab) -> Result<Finding, Trouble> {
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
        let write = tool_call(lab.manifest(), "write", &vars)?;
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
    verifies(&target, &mut finding).await?;
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

pub(super) async fn verify(lab: Lab) -> Result<Finding, Trouble> {
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
