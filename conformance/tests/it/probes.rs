//! The probes both ways: without a sandbox everything that this host can show is a breach, the
//! published line has its known holes, a tight line holds the basics. Must never know a stage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawproof::driver::launcher::Launcher;
use clawproof::scenario::probes;
use clawproof::scenario::{Lab, Trouble};
use clawproof::target::manifest::Manifest;
use clawproof::target::world::World;
use clawproof::verdict::Verdict;
use futures_util::StreamExt as _;

/// What each probe came to on one target.
type Table = BTreeMap<&'static str, (Verdict, String)>;

fn manifest(name: &str) -> Manifest {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("targets/{name}.toml"));
    Manifest::load(&path).unwrap()
}

/// Runs the probes whose id the filter takes, a few side by side.
async fn table(name: &str, wanted: impl Fn(&str) -> bool) -> Table {
    let manifest = manifest(name);
    assert_eq!(Launcher::missing(&manifest), None);
    // A program under test stands where the spare uid can reach it.
    let world = World::new().unwrap();
    let program = std::env::var_os("PROBE_BIN").map_or("/nonexistent".into(), PathBuf::from);
    let binary = if program.is_file() { world.install(&program).unwrap() } else { program };
    let lab = Lab::new(Arc::new(manifest), binary, std::env::var("PROBE_KNOCKOUT").ok());
    let chosen = probes::all().filter(|probe| wanted(probe.id));
    let runs = chosen.map(|probe| {
        let lab = lab.clone();
        async move {
            let found = match probes::case(&lab, probe).await {
                Ok(finding) => (finding.legs().verdict(), finding.evidence().join(" | ")),
                Err(Trouble::NotApplicable(reason)) => (Verdict::NotApplicable, reason),
                Err(trouble) => (Verdict::HarnessError, trouble.to_string()),
            };
            (probe.id, found)
        }
    });
    futures_util::stream::iter(runs).buffer_unordered(3).collect().await
}

/// The whole table of one target, for people: `PROBE_TARGET=sh cargo test ... -- --ignored`.
#[tokio::test]
#[ignore = "prints a table; it asserts nothing"]
async fn prints_the_table_of_a_target() {
    let target = std::env::var("PROBE_TARGET").unwrap_or_else(|_| "sh".into());
    let only = std::env::var("PROBE_ONLY").unwrap_or_default();
    for (id, (verdict, reason)) in table(&target, |id| id.starts_with(&only)).await {
        println!("{id:28} {verdict:?} {reason}");
    }
}
