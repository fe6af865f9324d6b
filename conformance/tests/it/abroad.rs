//! The probes of macOS and Windows without a sandbox: each breaches, or is visibly not shown on this
//! machine; and each is staged. Under Wine this shows the probes themselves, and no boundary.

#![cfg(any(target_os = "macos", windows))]

use clawproof::scenario::{Trouble, abroad};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_sandbox_every_probe_breaches_or_is_visibly_not_shown() {
    let (mut breached, mut worked, mut not_shown) = (0, 0, Vec::new());
    let mut all = 0;
    for probe in clawproof_probe::all() {
        all += 1;
        match abroad::control(probe).await {
            Ok(side) => {
                println!("{:32} breached {:5} {}", probe.id, side.breached(), side.words());
                breached += usize::from(side.breached());
                worked += usize::from(side.worked());
                if !side.breached() {
                    not_shown.push(probe.id);
                }
            }
            Err(Trouble::NotApplicable(reason)) => {
                println!("{:32} not applicable: {reason}", probe.id);
                not_shown.push(probe.id);
            }
            Err(trouble) => panic!("{}: {trouble}", probe.id),
        }
    }
    println!("{breached} of {all} breached; not shown here: {not_shown:?}");
    assert!(worked * 10 >= all * 9, "ordinary work failed: {worked} of {all}");
    // Half of the catalogue needs nothing but files, sockets and processes.
    assert!(breached * 2 >= all, "only {breached} of {all} breached");
}
