//! What the way of a path costs (lexical rules, open under the workspace, close) beside `openat` and
//! `close` of the same name, which is the least that any runtime pays; and the same with the look at
//! what was opened, which every reader and writer takes before the first byte, beside `openat`,
//! `fstat` and `close`. The two of a pair are timed in turn, by
//! the CPU time of the thread, so that both see the same machine.
#![expect(clippy::expect_used, reason = "a bench that cannot run must stop, not measure nothing")]

use criterion::{Criterion, criterion_group, criterion_main};

#[cfg(unix)]
mod unix {
    use std::hint::black_box;
    use std::time::Duration;

    use clawproof_runtime::boundary::path::Workspace;
    use criterion::Criterion;
    use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
    use rustix::time::{ClockId, clock_gettime};

    /// Calls that are timed at a time: long enough for the clock, short enough to be interleaved.
    const BATCH: u64 = 256;

    /// The CPU time of this thread: what others do on the machine does not count.
    fn spent() -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let part = |part: i64| u64::try_from(part).expect("time runs forward");
        Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
    }

    fn time(mut work: impl FnMut(), times: u64) -> Duration {
        let before = spent();
        (0..times).for_each(|_| work());
        spent() - before
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
            let resolve = |looked: bool| {
                let path = workspace.resolve(black_box(&path)).expect("a fine path");
                let found = workspace.find(&path).expect("something");
                if looked {
                    drop(found.regular().expect("a file"));
                }
            };
            let open = |looked: bool| {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
                let file = openat(&root, black_box(path.as_str()), flags, Mode::empty());
                let file = file.expect("a file");
                if looked {
                    black_box(fstat(&file).expect("a file"));
                }
            };
            let mut group = criterion.benchmark_group(format!("path/{name}"));
            // Each iteration does both and counts one.
            let both = |rounds: u64, looked: bool| {
                let (mut own, mut least, mut left) = (Duration::ZERO, Duration::ZERO, rounds);
                while left > 0 {
                    let times = left.min(BATCH);
                    own += time(|| resolve(looked), times);
                    least += time(|| open(looked), times);
                    left -= times;
                }
                (own, least)
            };
            for (looked, own, peer) in [
                (false, "resolve, open, close", "openat, close"),
                (true, "resolve, open, look, close", "openat, fstat, close"),
            ] {
                group.bench_function(own, |bencher| {
                    bencher.iter_custom(|rounds| both(rounds, looked).0);
                });
                group.bench_function(peer, |bencher| {
                    bencher.iter_custom(|rounds| both(rounds, looked).1);
                });
            }
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
