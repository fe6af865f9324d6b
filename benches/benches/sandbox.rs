//! What a Strict launch costs beside a bare bubblewrap with the same namespaces. The two are
//! launched in turn, so that both see the same machine. Needs the built runtime: its path stands in
//! CLAWPROOF_RUNTIME (`cargo xtask bench` sets it). Must never run a tool outside a sandbox.
#![expect(clippy::expect_used, reason = "a bench that cannot run must stop, not measure nothing")]

use criterion::{Criterion, criterion_group, criterion_main};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use criterion::{Criterion, SamplingMode};

    /// As root the launches are made by this uid: that is what bubblewrap meets in real use.
    const SPARE_UID: u32 = 60_123;

    struct Ground {
        folder: tempfile::TempDir,
        uid: Option<u32>,
    }

    impl Ground {
        fn lay(runtime: &Path) -> Self {
            let folder = tempfile::tempdir().expect("a scratch folder");
            // Who owns what this process makes is who it is.
            let root = fs::metadata(folder.path()).expect("the scratch folder").uid() == 0;
            let uid = root.then_some(SPARE_UID);
            let open = |path: &Path| {
                fs::set_permissions(path, Permissions::from_mode(0o755)).expect("a mode");
            };
            open(folder.path());
            let ground = Self { folder, uid };
            fs::copy(runtime, ground.runtime()).expect("a copy of the runtime");
            open(&ground.runtime());
            fs::create_dir(ground.workspace()).expect("a workspace");
            chown(ground.workspace(), uid, uid).expect("the workspace's owner");
            ground
        }

        fn runtime(&self) -> PathBuf {
            self.folder.path().join("clawproof-runtime")
        }

        fn workspace(&self) -> PathBuf {
            self.folder.path().join("workspace")
        }

        fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
            #[expect(
                clippy::disallowed_methods,
                reason = "what is measured here is the start of a process"
            )]
            let mut command = Command::new(program);
            command.stdin(Stdio::null()).current_dir(self.workspace());
            if let Some(uid) = self.uid {
                command.uid(uid).gid(uid);
            }
            command
        }

        fn strict(&self) -> Command {
            let mut command = self.command(self.runtime());
            command.args(["sandbox", "run", "--level", "strict", "--workspace"]);
            command.arg(self.workspace()).args(["--", "/usr/bin/true"]);
            command
        }

        fn bare(&self) -> Command {
            let mut command = self.command("bwrap");
            // The same namespaces: the one that forbids further user namespaces is one too.
            command.args(["--unshare-all", "--unshare-user", "--disable-userns"]);
            command.args(["--ro-bind", "/usr", "/usr"]);
            for link in ["bin", "lib", "lib64"] {
                if Path::new("/").join(link).is_symlink() {
                    command.args(["--symlink", &format!("usr/{link}"), &format!("/{link}")]);
                }
            }
            command.args(["--proc", "/proc", "--dev", "/dev", "--bind"]);
            command.arg(self.workspace()).arg(self.workspace());
            command.args(["--die-with-parent", "--new-session", "--", "/usr/bin/true"]);
            command
        }
    }

    fn time(mut command: Command) -> Duration {
        let began = Instant::now();
        let output = command.output().expect("a launch");
        let took = began.elapsed();
        assert!(
            output.status.success(),
            "a launch failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        took
    }

    pub(super) fn benches(criterion: &mut Criterion) {
        let Some(runtime) = std::env::var_os("CLAWPROOF_RUNTIME") else {
            eprintln!(
                "sandbox: not measured: run it by `cargo xtask bench`, which builds the runtime"
            );
            return;
        };
        let ground = Ground::lay(Path::new(&runtime));
        let mut group = criterion.benchmark_group("sandbox/launch");
        group.sample_size(30).sampling_mode(SamplingMode::Flat);
        group.measurement_time(Duration::from_secs(8));
        // Each iteration launches both and counts one, so that the two are interleaved.
        group.bench_function("strict", |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds).map(|_| (time(ground.strict()), time(ground.bare())).0).sum()
            });
        });
        group.bench_function("bare bwrap", |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds).map(|_| (time(ground.strict()), time(ground.bare())).1).sum()
            });
        });
        group.finish();
    }
}

fn benches(criterion: &mut Criterion) {
    #[cfg(target_os = "linux")]
    linux::benches(criterion);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = criterion;
        eprintln!("sandbox: not measured: no backend for this system yet");
    }
}

criterion_group!(all, benches);
criterion_main!(all);
