//! Targets that scenarios hand on to each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawproof::scenario::{Finding, Lab, Lent, Options};
use clawproof::target::binary::Program;
use clawproof::target::manifest::Manifest;

use super::fake;

fn place(lent: &Lent) -> PathBuf {
    lent.world().root().to_owned()
}

#[tokio::test]
async fn a_target_is_handed_on_unless_it_fell_died_or_is_another_kind() {
    let manifest = Manifest::parse(&fake::manifest("naive"), Path::new("fake")).unwrap();
    let own = std::env::current_exe().unwrap();
    let program = Program::find(&manifest, Some(&own)).unwrap();
    let lab = Lab::new(Arc::new(manifest), program.path().to_owned(), None);
    let usual = || lab.lent(Options::default());

    let first = usual().await.unwrap();
    let place_of_first = place(&first);
    let second = usual().await.unwrap();
    assert_ne!(place(&second), place_of_first, "one that is in use is nobody else's");
    let place_of_second = place(&second);
    second.back(Finding::new().no_effect(false, "a breach"));
    first.back(Finding::new().no_effect(true, "no breach"));
    assert!(!place_of_second.exists(), "one in which something fell has ended");

    let again = usual().await.unwrap();
    assert_eq!(place(&again), place_of_first);
    again.back(&Finding::new());
    let other = lab.lent(Options::default().env("OTHER", "1")).await.unwrap();
    assert_ne!(place(&other), place_of_first, "a target is lent only as it was started");

    let again = usual().await.unwrap();
    again.instance().kill().await;
    again.back(&Finding::new());
    let fresh = usual().await.unwrap();
    assert_ne!(place(&fresh), place_of_first, "one that is dead is lent to nobody");
}
