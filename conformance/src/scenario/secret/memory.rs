//! Secrets too short to be known by their value, and secrets that are no longer needed: what the
//! log and the memory of the process show of them. It must never ask the target what it holds.

use std::time::Duration;

#[cfg(target_os = "linux")]
use crate::sensor::leak;
use crate::sensor::vault;
use crate::target::process::contains;
use crate::target::world::random_hex;

#[cfg(target_os = "linux")]
use super::Target;
use super::{Finding, Lab, Options, Trouble};

/// Characters of which no identifier, number, encoding or sentence of a log is made, so that five
/// of them in a row do not come about by chance.
const UNUSUAL: &[u8] = b"~^!$*;?|";

/// A secret of five characters: nothing can look for it in all text by its value without taking
/// words of every text with it, so that only its type keeps it out of what is written.
fn short_secret() -> String {
    let picks = u64::from_str_radix(&random_hex(8), 16).unwrap_or_default();
    let pick = |place: u32| UNUSUAL.get((picks >> (8 * place)) as usize % UNUSUAL.len());
    (0..5).filter_map(pick).map(|byte| char::from(*byte)).collect()
}

pub(super) async fn redacted_short(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default().environment("verbose-log")).await?;
    let (name, secret) = (format!("short-{}", random_hex(6)), short_secret());
    let saved = target.call("credentials-put", &[("NAME", &name), ("VALUE", &secret)]).await?;
    let folder = target.file("vault")?;
    let (master, record) = (target.var("MASTER"), name.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| std::fs::read(entry.path()).ok())
            .filter_map(|bytes| vault::open(&bytes, &record, master.as_bytes()).ok())
            .next()
    });
    let opened = opened.await.map_err(|error| Trouble::Harness(error.to_string()))?;
    finding.twin(
        !saved.refused() && opened.as_deref() == Some(secret.as_bytes()),
        "the short secret was stored, and another implementation opens it",
    );
    // The same name once more, a name that is refused, and a removal: each is written about.
    for (call, name) in [
        ("credentials-put", name.as_str()),
        ("credentials-put", "../x"),
        ("credentials-delete", name.as_str()),
    ] {
        let vars = [("NAME", name), ("VALUE", secret.as_str())];
        let _ = target.call(call, &vars).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let output = target.instance().output().await;
    let audit = std::fs::read(target.file("audit")?).unwrap_or_default();
    let written = contains(&output, name.as_bytes());
    finding.reached(written, "the log, at its most talkative, tells of the credential by its name");
    finding.reached(
        contains(&audit, name.as_bytes()),
        "the audit log tells of the change by the credential's name",
    );
    for (place, bytes) in [("its log", &output), ("its audit log", &audit)] {
        let shown = contains(bytes, secret.as_bytes());
        finding.no_effect(!shown, format!("the short secret in {place}: {shown}"));
    }
    Ok(finding)
}

#[cfg(not(target_os = "linux"))]
pub(super) async fn zeroed(_: Lab) -> Result<Finding, Trouble> {
    Err(Trouble::Inconclusive("no sensor looks into another process's memory here".to_owned()))
}

#[cfg(target_os = "linux")]
pub(super) async fn zeroed(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    // What stands in the process for certain shows that the sensor sees.
    let workspace = target.world().workspace().to_string_lossy().into_owned();
    let seen = look(&target, vec![workspace.into_bytes()]).await?;
    let places = seen.counts.first().copied().unwrap_or(0);
    if places == 0 {
        return Err(Trouble::Inconclusive(format!(
            "the sensor does not see the target's own workspace path in its {} bytes",
            seen.bytes
        )));
    }
    finding.note(format!("the workspace's path stands in memory {places} times"));
    let secret = format!("sk-wiped-{}", random_hex(24));
    let before = target.call("credentials-list", &[]).await?;
    let saved = target.call("credentials-put", &[("NAME", "wiped"), ("VALUE", &secret)]).await?;
    let listed = target.call("credentials-list", &[]).await?;
    let stored = !saved.refused() && listed.body != before.body;
    finding.twin(stored, "the secret was taken and is listed");
    let removed = target.call("credentials-delete", &[("NAME", "wiped")]).await?;
    finding.reached(!removed.refused(), "the secret came in by a request and was deleted");
    let forms = leak::forms(secret.as_bytes());
    let (names, needles): (Vec<_>, Vec<_>) = forms.into_iter().unzip();
    // What was let go a moment ago may still be on its way: a connection that closes, a task.
    let mut left = Vec::new();
    let mut bytes = 0;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let seen = look(&target, needles.clone()).await?;
        bytes = seen.bytes;
        left = names.iter().zip(seen.counts).filter(|(_, count)| *count > 0).collect();
        if left.is_empty() {
            break;
        }
    }
    finding.no_effect(
        left.is_empty(),
        format!("forms of the deleted secret in {} KiB of memory: {left:?}", bytes >> 10),
    );
    finding.twin(target.alive().await, "the target goes on");
    Ok(finding)
}

#[cfg(target_os = "linux")]
async fn look(
    target: &Target,
    needles: Vec<Vec<u8>>,
) -> Result<crate::sensor::memory::Seen, Trouble> {
    let pid = target.instance().pid().await;
    tokio::task::spawn_blocking(move || crate::sensor::memory::count(pid, &needles))
        .await
        .map_err(|error| Trouble::Harness(error.to_string()))?
        .map_err(|error| {
            let words = format!("this process may not look into the target's memory: {error}");
            Trouble::Inconclusive(words)
        })
}
