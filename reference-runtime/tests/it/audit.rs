//! The audit log from outside: its lines, its chain, and what breaks it.

use std::{fs, path::Path, thread};

use clawproof_runtime::{
    audit::{
        Audit, Correlation, Event, Keeping, Kind, Outcome, Plain, Redactor, Subject, tail, verify,
    },
    requirement,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

fn event(action: &str) -> Event {
    Event::new(Kind::Tool, Outcome::Completed, "session-1", action, Correlation::new())
}

fn open(state: &Path) -> Audit {
    Audit::open(state, Redactor::new()).unwrap()
}

fn log_with(records: usize) -> TempDir {
    let state = TempDir::new().unwrap();
    let audit = open(state.path());
    for n in 0..records {
        audit.record_blocking(event(&format!("action-{n}"))).unwrap();
    }
    state
}

fn lines(state: &Path) -> Vec<String> {
    let text = fs::read_to_string(state.join("audit/audit.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn rewrite(state: &Path, lines: &[String]) {
    fs::write(state.join("audit/audit.jsonl"), lines.join("\n") + "\n").unwrap();
}

#[test]
fn the_tail_is_the_last_records_oldest_first() {
    let state = log_with(5);
    let all = lines(state.path());
    assert_eq!(tail(state.path(), 2).unwrap(), all[3..]);
    assert_eq!(tail(state.path(), 9).unwrap(), all);
    assert!(tail(state.path(), 0).unwrap().is_empty());
}

#[tokio::test]
async fn a_record_is_one_line_with_every_field() {
    let state = TempDir::new().unwrap();
    let audit = open(state.path());
    let correlation = Correlation::new();
    let refused =
        Event::new(Kind::Authorization, Outcome::Deny, "alice", "exec", correlation.clone())
            .refused_by(requirement::REGISTRY_SCHEMA)
            .with("arguments", json!({"argv": ["a\nb"]}));
    audit.record(refused).await.unwrap();
    audit.record(event("next")).await.unwrap();
    let lines = lines(state.path());
    assert_eq!(lines.len(), 2);
    let first: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(first["seq"], 1);
    assert_eq!(first["kind"], "authorization");
    assert_eq!(first["outcome"], "deny");
    assert_eq!(first["subject"], "alice");
    assert_eq!(first["requirement"], "registry.schema");
    assert_eq!(first["correlation"], correlation.as_str());
    assert_eq!(first["detail"]["arguments"]["argv"][0], "a\nb");
    let time: jiff::Timestamp = first["time"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(time).as_secs() < 60);
    let second: Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(second["previous"], first["hash"]);
    assert_eq!(verify(state.path()).unwrap().head, second["hash"].as_str().unwrap());
}

#[test]
fn many_threads_and_two_logs_make_one_chain() {
    let state = TempDir::new().unwrap();
    let (one, two) = (open(state.path()), open(state.path()));
    thread::scope(|scope| {
        for n in 0..8 {
            let audit = if n % 2 == 0 { &one } else { &two };
            scope.spawn(move || {
                for m in 0..100 {
                    audit.record_blocking(event(&format!("{n}-{m}"))).unwrap();
                }
            });
        }
    });
    assert_eq!(verify(state.path()).unwrap().records, 800);
    drop((one, two));
    open(state.path()).record_blocking(event("after")).unwrap();
    assert_eq!(verify(state.path()).unwrap().records, 801);
}

#[test]
fn an_edit_a_removal_a_swap_and_a_cut_are_seen() {
    let state = log_with(5);
    let good = lines(state.path());
    let broken_at = |lines: &[String]| {
        rewrite(state.path(), lines);
        let broken = verify(state.path()).unwrap_err();
        let refused = Audit::open(state.path(), Redactor::new()).unwrap_err();
        assert_eq!(refused.requirement(), requirement::AUDIT_INTEGRITY);
        broken.line
    };
    let mut edited = good.clone();
    edited[2] = edited[2].replace("action-2", "action-9");
    assert_eq!(broken_at(&edited), 3);
    let mut removed = good.clone();
    removed.remove(1);
    assert_eq!(broken_at(&removed), 2);
    assert_eq!(broken_at(&good[1..]), 1);
    let mut swapped = good.clone();
    swapped.swap(1, 2);
    assert_eq!(broken_at(&swapped), 2);
    assert_eq!(broken_at(&good[..4]), 5);
    let mut doubled = good.clone();
    doubled.push(good[4].clone());
    assert_eq!(broken_at(&doubled), 6);
    fs::write(state.path().join("audit/audit.jsonl"), "").unwrap();
    assert_eq!(verify(state.path()).unwrap_err().line, 1);
    rewrite(state.path(), &good);
    assert_eq!(verify(state.path()).unwrap().records, 5);
}

#[test]
fn a_torn_last_line_is_dropped_at_the_next_open() {
    let state = log_with(2);
    let path = state.path().join("audit/audit.jsonl");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"seq\":3,\"time\":\"20");
    fs::write(&path, text).unwrap();
    assert_eq!(verify(state.path()).unwrap_err().line, 3);
    open(state.path()).record_blocking(event("third")).unwrap();
    assert_eq!(verify(state.path()).unwrap().records, 3);
}

#[test]
fn a_log_that_was_taken_away_or_cut_refuses_the_next_record() {
    let state = TempDir::new().unwrap();
    let path = state.path().join("audit/audit.jsonl");
    let audit = open(state.path());
    audit.record_blocking(event("first")).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    let refused = audit.record_blocking(event("second")).unwrap_err();
    assert_eq!(refused.requirement(), requirement::ERROR_DENY);
    fs::rename(&path, state.path().join("elsewhere")).unwrap();
    assert!(audit.record_blocking(event("third")).is_err());
    assert!(!refused.to_string().contains("audit.jsonl"));
}

fn plain(action: &'static str) -> Plain {
    Plain {
        kind: Kind::Auth,
        outcome: Outcome::Allow,
        subject: Subject::token("00ff12ab").unwrap(),
        action,
        correlation: Correlation::new(),
        peer: Some([127, 0, 0, 1].into()),
    }
}

#[tokio::test]
async fn who_waits_for_a_later_record_waits_for_the_earlier_ones_too() {
    let state = TempDir::new().unwrap();
    let audit = open(state.path());
    let earlier = audit.hand_in(plain("first")).unwrap();
    audit.record_after(Some(earlier), plain("second")).await.unwrap();
    let third = audit.hand_in(plain("third")).unwrap();
    audit.settle(Some(third)).await.unwrap();
    let actions: Vec<_> = lines(state.path())
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["action"].clone())
        .collect();
    assert_eq!(actions, ["first", "second", "third"]);
    assert_eq!(verify(state.path()).unwrap().records, 3);
}

#[tokio::test]
async fn who_waits_for_a_later_record_learns_that_an_earlier_one_was_not_written() {
    let state = TempDir::new().unwrap();
    let (path, aside) = (state.path().join("audit/audit.jsonl"), state.path().join("aside"));
    let audit = open(state.path());
    audit.record(event("before")).await.unwrap();
    fs::rename(&path, &aside).unwrap();
    let lost = audit.hand_in(plain("lost")).unwrap();
    assert!(audit.record(event("lost too")).await.is_err());
    // The log can be written again; what was lost stays lost, and its owner is told.
    fs::rename(&aside, &path).unwrap();
    audit.record(event("after")).await.unwrap();
    let refused = audit.record_after(Some(lost), plain("behind")).await.unwrap_err();
    assert_eq!(refused.requirement(), requirement::ERROR_DENY);
    assert!(audit.settle(Some(lost)).await.is_err());
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("lost") && text.contains("after"));
    let fine = audit.hand_in(plain("fine")).unwrap();
    audit.settle(Some(fine)).await.unwrap();
}

#[test]
fn many_tasks_of_a_runtime_and_a_thread_make_one_chain() {
    let state = TempDir::new().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let audit = runtime.block_on(async { open(state.path()) });
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let audit = audit.clone();
            runtime.spawn(async move {
                for _ in 0..20 {
                    let earlier = audit.hand_in(plain("attempt")).unwrap();
                    audit.record_after(Some(earlier), plain("decision")).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..20 {
        audit.record_blocking(event("thread")).unwrap();
    }
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    assert_eq!(verify(state.path()).unwrap().records, 50 * 20 * 2 + 20);
    // The runtime may go first: what waits is told all the same.
    drop(runtime);
    audit.record_blocking(event("after the runtime")).unwrap();
}

/// A log of many small segments, and its files in order.
fn segmented() -> (TempDir, Vec<std::path::PathBuf>) {
    let state = TempDir::new().unwrap();
    let keeping = Keeping { segment_bytes: 2_000, durable: true };
    let (one, two) = (
        Audit::open_with(state.path(), Redactor::new(), keeping).unwrap(),
        Audit::open_with(state.path(), Redactor::new(), keeping).unwrap(),
    );
    for n in 0..40 {
        let audit = if n % 3 == 0 { &two } else { &one };
        audit.record_blocking(event(&format!("action-{n}"))).unwrap();
    }
    drop((one, two));
    let entries = fs::read_dir(state.path().join("audit")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some());
    files.sort();
    (state, files)
}

#[test]
fn segments_make_one_chain_for_two_writers_and_the_next_opening() {
    let (state, files) = segmented();
    assert!(files.len() > 4, "{files:?}");
    assert_eq!(verify(state.path()).unwrap().records, 40);
    open(state.path()).record_blocking(event("after")).unwrap();
    assert_eq!(verify(state.path()).unwrap().records, 41);
    let last = tail(state.path(), 12).unwrap();
    assert_eq!(last.len(), 12);
    assert!(last[0].contains("action-29") && last[11].contains("after"));
    assert_eq!(tail(state.path(), 1000).unwrap().len(), 41);
}

#[test]
fn a_segment_that_is_missing_changed_or_cut_is_seen() {
    let (state, files) = segmented();
    for (place, file) in files.iter().enumerate() {
        let good = fs::read(file).unwrap();
        fs::remove_file(file).unwrap();
        assert!(verify(state.path()).is_err(), "segment {place} is missing");
        let mut changed = good.clone();
        changed[60] ^= 1;
        fs::write(file, &changed).unwrap();
        assert!(verify(state.path()).is_err(), "segment {place} was changed");
        let cut = good[..good.len() - 1].iter().rposition(|byte| *byte == b'\n');
        fs::write(file, &good[..cut.map_or(0, |at| at + 1)]).unwrap();
        assert!(verify(state.path()).is_err(), "segment {place} was cut");
        fs::write(file, &good).unwrap();
        assert_eq!(verify(state.path()).unwrap().records, 40);
    }
    // The opening looks at the newest file and at what it hangs on.
    let before = &files[files.len() - 2];
    let good = fs::read(before).unwrap();
    fs::remove_file(before).unwrap();
    let refused = Audit::open(state.path(), Redactor::new()).unwrap_err();
    assert_eq!(refused.requirement(), requirement::AUDIT_INTEGRITY);
    fs::write(before, good).unwrap();
    open(state.path()).record_blocking(event("after")).unwrap();
}

#[cfg(unix)]
#[test]
fn the_files_are_private_and_a_link_is_not_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let state = log_with(1);
    let mode = |path: &str| fs::metadata(state.path().join(path)).unwrap().permissions().mode();
    assert_eq!(mode("audit") & 0o777, 0o700);
    assert_eq!(mode("audit/audit.jsonl") & 0o777, 0o600);
    assert_eq!(mode("audit/head") & 0o777, 0o600);

    let linked = TempDir::new().unwrap();
    fs::create_dir(linked.path().join("audit")).unwrap();
    symlink(linked.path().join("target"), linked.path().join("audit/audit.jsonl")).unwrap();
    let refused = Audit::open(linked.path(), Redactor::new()).unwrap_err();
    assert_eq!(refused.requirement(), requirement::ERROR_DENY);
    assert!(!linked.path().join("target").exists());
}

#[test]
fn secrets_are_in_no_record() {
    let state = TempDir::new().unwrap();
    let redactor = Redactor::new();
    let audit = Audit::open(state.path(), redactor.clone()).unwrap();
    redactor.add("sk-canary-8812");
    let leaky = Event {
        subject: "sk-canary-8812".into(),
        action: "x sk-canary-8812".into(),
        ..event("")
            .with("env", json!({"KEY": "sk-canary-8812", "hex": hex::encode("sk-canary-8812")}))
    };
    audit.record_blocking(leaky).unwrap();
    let text = fs::read_to_string(state.path().join("audit/audit.jsonl")).unwrap();
    assert!(!text.contains("canary") && !text.contains(&hex::encode("canary")), "{text}");
    assert!(text.contains("[REDACTED]"));
}

/// Text of any bytes: valid or not, with what terminals, parsers and readers of lines trip over.
fn anything(longest: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..longest / 3)
            .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        prop::collection::vec(any::<char>(), 0..longest / 4).prop_map(String::from_iter),
        "[\"\\\\{}:,\n\r\u{0}\u{1b}\u{7f}\u{9b}\u{202e}\u{2028}\u{feff}\u{fffd}\u{e0041}]{0,20}",
        Just("\",\"hash\":\"0\"}\n{\"seq\":1,\"time\":\"".to_owned()),
    ]
}

/// A value that is within the bounds of a record: what is longer is cut, which has tests of its own.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        anything(120).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((anything(40), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn hostile() -> impl Strategy<Value = Event> {
    let kind = prop::sample::select(vec![
        Kind::Auth,
        Kind::Authorization,
        Kind::Tool,
        Kind::Config,
        Kind::RateLimit,
    ]);
    let details = prop::collection::vec((anything(60), value()), 0..4);
    (kind, anything(200), anything(200), details).prop_map(|(kind, subject, action, details)| {
        let event = Event::new(kind, Outcome::Deny, subject, action, Correlation::new());
        details.into_iter().fold(event, |event, (key, value)| event.with(&key, value))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn whatever_an_event_holds_comes_back_from_one_line_of_a_whole_chain(
        events in prop::collection::vec(hostile(), 1..12),
        at in any::<prop::sample::Index>(),
        other in 1_u8..=255,
    ) {
        let state = TempDir::new().unwrap();
        let keeping = Keeping { segment_bytes: 1_500, durable: false };
        let audit = Audit::open_with(state.path(), Redactor::new(), keeping).unwrap();
        for event in &events {
            audit.record_blocking(event.clone()).unwrap();
        }
        drop(audit);
        let lines = tail(state.path(), 1000).unwrap();
        prop_assert_eq!(lines.len(), events.len());
        for (line, event) in lines.iter().zip(&events) {
            prop_assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line}");
            let read: Value = serde_json::from_str(line).unwrap();
            prop_assert_eq!(&read["subject"], &event.subject);
            prop_assert_eq!(&read["action"], &event.action);
            prop_assert_eq!(&read["kind"], event.kind.as_str());
            prop_assert_eq!(&read["detail"], &Value::Object(event.detail.clone()));
        }
        prop_assert_eq!(verify(state.path()).unwrap().records, events.len() as u64);
        // Any byte of any file, changed to any other, is seen.
        let mut files: Vec<_> = fs::read_dir(state.path().join("audit")).unwrap().collect();
        files.sort_by_key(|file| file.as_ref().unwrap().path());
        let file = at.get(&files).as_ref().unwrap().path();
        let good = fs::read(&file).unwrap();
        prop_assume!(!good.is_empty());
        let mut changed = good.clone();
        let at = at.index(good.len());
        changed[at] ^= other;
        fs::write(&file, changed).unwrap();
        prop_assert!(verify(state.path()).is_err(), "byte {at} of {}", file.display());
        fs::write(&file, good).unwrap();
        prop_assert!(verify(state.path()).is_ok());
    }
}
