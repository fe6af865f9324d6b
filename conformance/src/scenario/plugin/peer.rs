//! Who speaks as a plugin: a stranger at its socket, and a program that was changed after it was
//! accepted. It must never stop a process of the target's.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{SOON, form, names, play, works};
use crate::scenario::{Finding, Lab, Options, Trouble};
use crate::stage::plugin::Guest;
use crate::target::process::Process;

/// Every socket below a folder.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(entry.path()),
                Ok(kind) if kind.is_socket() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

pub(super) async fn stranger(lab: Lab) -> Result<Finding, Trouble> {
    let form = form(&lab)?;
    let mut finding = Finding::new();
    let ((name, tool), (second, other)) = (names(), names());
    let mut slow = Guest::new(&name, &tool);
    // Time for the stranger to be there first.
    slow.start = vec![json!({"pause": 2_000})];
    let options = Options::default()
        .plugin(slow.install(form))
        .plugin(Guest::new(&second, &other).install(form));
    let target = lab.instance(options).await?;
    finding.twin(works(&target, &other).await?, "a plugin at whose socket nobody else is answers");
    let world = target.world();
    let mut stranger = Guest::new(&name, &tool);
    stranger.made = "stranger".to_owned();
    let program = world.outside().join("stranger.js");
    world.write(&program, stranger.program(form).as_bytes(), 0o644)?;

    let before = sockets(world.root());
    let calling = {
        let (target, tool) = (target.clone(), tool.clone());
        tokio::spawn(async move { play(&target, &tool, &[]).await })
    };
    let begun = Instant::now();
    let socket = loop {
        let new = sockets(world.root()).into_iter().find(|socket| !before.contains(socket));
        if let Some(socket) = new {
            break socket;
        }
        if begun.elapsed() > SOON {
            let words = "no socket of a plugin stands in the target's world";
            return Err(Trouble::Inconclusive(words.to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    // As the very user that the target is.
    let mut command = world.command("node");
    command.arg(&program).arg(&socket);
    let process = Process::start(&mut command)?;
    let told = tokio::time::timeout(SOON * 2, calling).await;
    let told = told.map_err(|_| Trouble::Target("the call was not answered".to_owned()))?;
    let told = told.map_err(|error| Trouble::Harness(error.to_string()))??;
    let connected = process.stdout.bytes().starts_with(b"connected");
    finding.reached(connected && told.served, format!("a stranger connected first: {connected}"));
    let made = told.report.as_ref().map(|report| report.made.clone());
    finding.no_effect(
        made.as_deref() != Some("stranger"),
        format!("who answered: {made:?}, {}", told.shown()),
    );
    finding.twin(made.as_deref() == Some("genuine"), "the plugin itself answers in spite of it");

    // Once the plugin has its connection, nobody gets another.
    let mut command = world.command("node");
    command.arg(&program).arg(&socket);
    let late = Process::start(&mut command)?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let connected = late.stdout.bytes().starts_with(b"connected");
    let told = play(&target, &tool, &[]).await?;
    let made = told.report.as_ref().map(|report| report.made.clone());
    finding.note(format!("a stranger who came later connected: {connected}"));
    finding.no_effect(
        made.as_deref() != Some("stranger"),
        format!("who answered after a stranger came later: {made:?}"),
    );
    Ok(finding)
}

pub(super) async fn swapped(lab: Lab) -> Result<Finding, Trouble> {
    let form = form(&lab)?;
    let mut finding = Finding::new();
    let (name, tool) = names();
    let guest = Guest::new(&name, &tool);
    let options = Options::default().plugin(guest.install(form));
    let mut other = guest.clone();
    other.made = "swapped".to_owned();
    let other = other.install(form);

    let target = lab.instance(options).await?;
    target.instance().put_plugin(&other)?;
    let told = play(&target, &tool, &[]).await?;
    finding.reached(told.served, "its program was changed after the target had accepted it");
    let made = told.report.as_ref().map(|report| report.made.clone());
    finding.no_effect(
        made.as_deref() != Some("swapped"),
        format!("what ran: {made:?}, {}", told.shown()),
    );
    // The same again while it runs, and with the next start.
    let _ = play(&target, &tool, &[json!({"exit": 1})]).await?;
    let told = play(&target, &tool, &[]).await?;
    let made = told.report.as_ref().map(|report| report.made.clone());
    finding.no_effect(made.as_deref() != Some("swapped"), format!("after a crash: {made:?}"));

    target.instance().stop().await;
    let again = target.instance().start_again().await;
    let runs = match &again {
        Ok(()) => {
            let told = play(&target, &tool, &[]).await?;
            told.report.is_some_and(|report| report.made == "swapped")
        }
        Err(error) => {
            finding.note(format!("with the changed program the target does not start: {error}"));
            false
        }
    };
    finding.no_effect(!runs, format!("the changed program runs after the next start: {runs}"));
    target.instance().put_plugin(&guest.install(form))?;
    if again.is_err() {
        target.instance().start_again().await?;
    }
    finding.twin(works(&target, &tool).await?, "with the program that was accepted it answers");
    Ok(finding)
}
