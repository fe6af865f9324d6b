//! What the way of a path costs (lexical rules, open under the workspace, look at what was opened,
//! close) beside `openat` and `close` of the same name, which is the least that any runtime pays. The
//! two are timed in turn, so that both see the same machine.
#![expect(clippy::expect_used, reason = "a bench that cannot run must stop, not measure nothing")]

use criterion::{Criterion, criterion_group, criterion_main};

#[cfg(unix)]
mod unix {
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    use clawproof_runtime::boundary::path::Workspace;
    use criterion::Criterion;
    use rustix::fs::{CWD, Mode, OFlags, openat};

    /// Calls that are timed at a time: long enough for the clock, short enough to be interleaved.
    const BATCH: u64 = 64;

    fn time(mut work: impl FnMut(), times: u64) -> Duration {
        let began = Instant::now();
        (0..times).for_each(|_| work());
        began.elapsed()
    }

    pub(super) fn benches(criterion: &mut Criterion) {
        let folder = tempfile::tempdir().expect("a folder");
        let deep: String = (0..32).map(|n| format!("d{n}/")).collect();
        std::fs::create_dir_all(folder.path().join(&deep)).expect("folders");
        let workspace = Workspace::open(folder.path()).expect("a workspace");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let root = openat(CWD, folder.path(), flags, Mode::empty()).expect("the folder");
        for (name, path) in
            [("short", "notes.txt".to_owned()), ("33 components", format!("{deep}notes.txt"))]
        {
            std::fs::write(folder.path().join(&path), "x").expect("a file");
            let ours = || {
                let path = workspace.resolve(black_box(&path)).expect("a fine path");
                drop(workspace.open_file(&path).expect("a file"));
            };
            let floor = || {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
                let file = openat(&root, black_box(path.as_str()), flags, Mode::empty());
                drop(file.expect("a file"));
            };
            let mut group = criterion.benchmark_group(format!("path/{name}"));
            // Each iteration does both and counts one.
            let both = |rounds: u64| {
                let (mut own, mut least, mut left) = (Duration::ZERO, Duration::ZERO, rounds);
                while left > 0 {
                    let times = left.min(BATCH);
                    own += time(ours, times);
                    least += time(floor, times);
                    left -= times;
                }
                (own, least)
            };
            group.bench_function("resolve and open", |bencher| {
                bencher.iter_custom(|rounds| both(rounds).0);
            });
            group.bench_function("openat and close", |bencher| {
                bencher.iter_custom(|rounds| both(rounds).1);
            });
            group.finish();
        }
    }
}

fn benches(criterion: &mut Criterion) {
    #[cfg(unix)]
    unix::benches(criterion);
    #[cfg(not(unix))]
    {
        let _ = criterion;
        eprintln!("path: not measured: the peer is a call of Unix");
    }
}

criterion_group!(all, benches);
criterion_main!(all);
