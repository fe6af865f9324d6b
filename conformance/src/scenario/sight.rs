//! What observers outside a sandbox say of a probe, on every system. It must never know a verdict.

use std::path::Path;
use std::time::Duration;

use clawproof_probe::step;

/// What an observer outside saw, with one sentence of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// The effect did not come.
    Held(String),
    /// The effect is there.
    Breached(String),
    /// The effect is there, but bounded.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "seen by Linux's stages alone")
    )]
    Partial(String),
    /// The observer could not look.
    Blind(String),
}

impl Sight {
    /// Breached if `effect`, else held, with the sentence of that case.
    pub(super) fn of(effect: bool, breached: impl Into<String>, held: impl Into<String>) -> Self {
        if effect { Self::Breached(breached.into()) } else { Self::Held(held.into()) }
    }
}

/// Whether the file by which a process left behind shows that it lives still grows.
pub(super) async fn heartbeat(workspace: &Path, token: &str) -> Sight {
    let path = step::heartbeat(workspace, token);
    let size = || std::fs::symlink_metadata(&path).map(|data| data.len());
    if size().is_err() {
        return Sight::Held("no process was left behind".into());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = size().unwrap_or(0);
    // A second is fifty beats: enough for a process that waits for a busy processor.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if size().unwrap_or(0) > before {
            return Sight::Breached("a process of the run lives on: its heartbeat grows".into());
        }
    }
    Sight::Held("the heartbeat stopped with the run".into())
}
