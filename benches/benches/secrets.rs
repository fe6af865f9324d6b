//! What opening a vault's first record costs (read it, derive the key, decrypt, wipe) beside the
//! same derivation by libargon2, whose own program says how much CPU it took. CPU time on both
//! sides: the peer spreads its lanes over threads. Needs the program `argon2`; Linux tells CPU time
//! of a thread.
#![expect(clippy::expect_used, reason = "a bench that cannot run must stop, not measure nothing")]

use std::alloc::System;

use criterion::{Criterion, criterion_group, criterion_main};
use zeroizing_alloc::ZeroAlloc;

/// As the runtime's own: memory is wiped as it is given back, which counts too.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use clawproof_runtime::vault::{ApiKey, MasterPassword, Vault};
    use criterion::{Criterion, SamplingMode};

    const PASSWORD: &str = "a long sentence that only this bench knows";

    /// CPU time of this thread.
    fn spent() -> Duration {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
        let nanos = text.split(' ').next().and_then(|it| it.parse().ok()).expect("a number");
        Duration::from_nanos(nanos)
    }

    /// One record opened by a vault that has derived nothing yet.
    fn open(state: &Path) -> Duration {
        let before = spent();
        let vault = Vault::open(state, MasterPassword::new(PASSWORD.to_owned())).expect("a vault");
        assert!(vault.get("model").expect("a record").is_some());
        drop(vault);
        spent().saturating_sub(before)
    }

    /// Argon2id with 64 MiB, 3 passes, 4 lanes and 32 bytes, by libargon2; `None` without it.
    fn peer() -> Option<Duration> {
        #[expect(clippy::disallowed_methods, reason = "the peer is a program")]
        let mut child = Command::new("argon2")
            .args(["sixteen-bytes-of", "-id", "-k", "65536", "-t", "3", "-p", "4", "-l", "32"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(PASSWORD.as_bytes()).ok()?;
        let output = child.wait_with_output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.strip_suffix(" seconds"))?;
        line.trim().parse().ok().map(Duration::from_secs_f64)
    }

    pub(super) fn benches(criterion: &mut Criterion) {
        if peer().is_none() {
            eprintln!("secrets: not measured: the program `argon2` (of libargon2) is not here");
            return;
        }
        let state = tempfile::tempdir().expect("a folder");
        let vault = Vault::open(state.path(), MasterPassword::new(PASSWORD.to_owned()));
        let key = ApiKey::new("sk-0123456789abcdef".to_owned());
        vault.expect("a vault").put("model", &key).expect("a record");
        let mut group = criterion.benchmark_group("secrets/first record");
        group.sample_size(15).sampling_mode(SamplingMode::Flat);
        group.measurement_time(Duration::from_secs(8));
        // Each iteration does both and counts one, so that the two are interleaved.
        let both = |rounds: u64| {
            let pairs = (0..rounds).map(|_| (open(state.path()), peer().expect("the peer")));
            pairs.fold((Duration::ZERO, Duration::ZERO), |sum, it| (sum.0 + it.0, sum.1 + it.1))
        };
        group.bench_function("open", |bencher| bencher.iter_custom(|rounds| both(rounds).0));
        group.bench_function("libargon2", |bencher| bencher.iter_custom(|rounds| both(rounds).1));
        group.finish();
    }
}

fn benches(criterion: &mut Criterion) {
    #[cfg(target_os = "linux")]
    linux::benches(criterion);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = criterion;
        eprintln!("secrets: not measured: no CPU time of a thread on this system");
    }
}

criterion_group!(all, benches);
criterion_main!(all);
