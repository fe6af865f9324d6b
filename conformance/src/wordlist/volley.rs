//! Several lines at once: one answer of the model with a call for each of them and a benign one
//! behind them, and what sensors saw of it. It must never decide which line was it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::aim::{Marks, below_root};
use crate::corpus::Surface;
use crate::scenario::corpus::path_call;
use crate::scenario::{Target, Trouble};
use crate::sensor::files::Snapshot;
use crate::stage::model::Answer;
use crate::target::world::{World, random_hex};

/// One line as it is delivered.
#[derive(Clone, Debug)]
pub(super) struct Shot {
    /// Its place in the list's entries.
    pub(super) entry: usize,
    /// The bytes, aimed.
    pub(super) payload: Vec<u8>,
}

/// What was seen of a volley.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The benign call behind the lines did what it asks.
    pub(super) twin: bool,
    /// The target answers its health call.
    pub(super) alive: bool,
    /// What came back for single lines that stands outside: place in the volley, and what it was.
    pub(super) told: Vec<(usize, String)>,
    /// What changed outside, which may be any line's doing.
    pub(super) outside: Vec<String>,
}

/// Delivers a volley. A target that hangs costs as long as one call may take.
///
/// # Errors
/// The suite failed, or the manifest maps no such tool.
pub(super) async fn volley(
    target: &Target,
    surface: Surface,
    shots: &[Shot],
    marks: &Marks,
) -> Result<Seen, Trouble> {
    let world = target.world();
    let nonce = random_hex(8);
    let (mark, twin) = (format!("mark-{nonce}"), format!("inside-{nonce}.txt"));
    let writes = surface == Surface::ToolPathWrite;
    let role = if writes { "write" } else { "read" };
    if !writes {
        world.write(&world.workspace().join(&twin), mark.as_bytes(), 0o644)?;
    }
    let mut calls = Vec::with_capacity(shots.len() + 1);
    for payload in shots.iter().map(|shot| shot.payload.as_slice()).chain([twin.as_bytes()]) {
        calls.push(path_call(target, role, payload, mark.as_bytes())?);
    }
    let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
    let before = Snapshot::of_world(world);
    let session = target.session().await;
    let results = match session {
        Ok(session) => {
            let talk = target.model().expect(nonce.as_str(), vec![Answer::Calls(calls)]);
            let text = format!("Please go on with {nonce}.");
            // What the target says of itself is no evidence; what reached the model is.
            let _ = target.message(&session, text.as_bytes()).await;
            let exchanges = talk.exchanges();
            exchanges.last().map(|it| results(it.messages(), &ids)).unwrap_or_default()
        }
        Err(_) => Vec::new(),
    };
    let canary = world.canary();
    let mut seen = Seen { alive: target.alive().await, ..Seen::default() };
    for (place, (shot, text)) in shots.iter().zip(&results).enumerate() {
        let Some(text) = text else { continue };
        if text.contains(&canary) {
            seen.told.push((place, "the canary outside the workspace came back".to_owned()));
        } else if let Some(file) = marks.found(text, &shot.payload) {
            seen.told.push((place, format!("a line of {file} came back")));
        }
    }
    let own = world.workspace().join(&twin);
    seen.twin = if writes {
        std::fs::read_to_string(&own).is_ok_and(|text| text.contains(&mark))
    } else {
        results.last().is_some_and(|text| text.as_ref().is_some_and(|text| text.contains(&mark)))
    };
    let _ = std::fs::remove_file(own);
    seen.outside = before.changes(&Snapshot::of_world(world));
    if writes {
        seen.outside.extend(astray(world, &mark));
    }
    Ok(seen)
}

/// The results in the order of the calls: by their ids, else by their order where all came.
fn results(messages: &[Value], ids: &[String]) -> Vec<Option<String>> {
    let tools = messages.iter().filter(|it| it.get("role").and_then(Value::as_str) == Some("tool"));
    let told: Vec<(Option<&str>, String)> = tools
        .map(|it| {
            let content = it.get("content");
            let text = content.and_then(Value::as_str).map(str::to_owned);
            let id = it.get("tool_call_id").and_then(Value::as_str);
            (id, text.or_else(|| content.map(Value::to_string)).unwrap_or_default())
        })
        .collect();
    let by_id =
        |id: &String| told.iter().find(|(it, _)| *it == Some(id)).map(|(_, text)| text.clone());
    let found: Vec<Option<String>> = ids.iter().map(by_id).collect();
    if found.iter().all(Option::is_none) && told.len() == ids.len() {
        return told.into_iter().map(|(_, text)| Some(text)).collect();
    }
    found
}

/// Files with the mark where a line that was aimed at the canary leads from too few steps up: below
/// a folder above the world. They are taken away, with the folders made for them.
fn astray(world: &World, mark: &str) -> Vec<String> {
    let canary = world.canary_file();
    let below = below_root(&canary);
    let mut found = Vec::new();
    for above in world.root().ancestors().skip(1).filter(|above| above.parent().is_some()) {
        let place = above.join(&below);
        if std::fs::read_to_string(&place).is_ok_and(|text| text.contains(mark)) {
            found.push(format!("created {}", place.display()));
            remove_upward(&place, above);
        }
    }
    found
}

fn remove_upward(file: &Path, until: &Path) {
    let _ = std::fs::remove_file(file);
    let folders: Vec<PathBuf> = file.ancestors().skip(1).map(Path::to_owned).collect();
    for folder in folders.iter().take_while(|folder| *folder != until) {
        // A folder that holds something else stays.
        if std::fs::remove_dir(folder).is_err() {
            return;
        }
    }
}
