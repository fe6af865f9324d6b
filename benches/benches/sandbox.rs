//! What a Strict launch costs beside a bare bubblewrap with the same namespaces: from a running
//! runtime, which this process is, because no tool is ever launched by a fresh one. All are launched
//! in turn, so that they see the same machine. Needs the built programs: the path of the runtime
//! stands in CLAWPROOF_RUNTIME (`cargo xtask bench` sets it). Must never run a tool outside a sandbox.
#![expect(clippy::expect_used, reason = "a bench that cannot run must stop, not measure nothing")]

use criterion::{Criterion, criterion_group, criterion_main};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    use std::path::{Path, PathBuf};
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    use clawproof_runtime::config::Config;
    use clawproof_runtime::registry::{ToolCall, ToolRegistry};
    use clawproof_runtime::sandbox::{Options, Sandbox};
    use criterion::{Criterion, SamplingMode};
    use tokio::process::Command;
    use tokio::runtime::Runtime;

    /// As root the launches are made by this uid: that is what bubblewrap meets in real use.
    const SPARE_UID: u32 = 60_123;
    /// Before each launch: the runtime builds the next sandbox in this time, as it would between two
    /// calls of a model.
    const REST: Duration = Duration::from_millis(40);

    struct Ground {
        folder: tempfile::TempDir,
        uid: Option<u32>,
        runtime: Runtime,
        tools: ToolRegistry,
        /// Builds each sandbox when the call comes.
        cold: Sandbox,
        /// Has built it before.
        ready: Sandbox,
    }

    impl Ground {
        fn lay(program: &Path) -> Self {
            let folder = tempfile::tempdir().expect("a scratch folder");
            // Who owns what this process makes is who it is.
            let root = fs::metadata(folder.path()).expect("the scratch folder").uid() == 0;
            let uid = root.then_some(SPARE_UID);
            let open = |path: &Path| {
                fs::set_permissions(path, Permissions::from_mode(0o755)).expect("a mode");
            };
            open(folder.path());
            let small = program.with_file_name("clawproof-contain");
            for file in [program, &small] {
                let copy = folder.path().join(file.file_name().expect("a name"));
                fs::copy(file, &copy).expect("a copy of a program");
                open(&copy);
            }
            let workspace = folder.path().join("workspace");
            fs::create_dir(&workspace).expect("a workspace");
            chown(&workspace, uid, uid).expect("the workspace's owner");
            let mut config = Config { workspace: Some(workspace), ..Config::default() };
            config.sandbox.uid = uid;
            let runtime = folder.path().join("clawproof-runtime");
            let sandbox = |cold| {
                let options = Options { shim: Some(runtime.clone()), cold, ..Options::default() };
                let sandbox = Sandbox::with(&config, options);
                assert_eq!(sandbox.status().effective, "strict", "{:?}", sandbox.status());
                sandbox
            };
            let (cold, ready) = (sandbox(true), sandbox(false));
            let tools = ToolRegistry::new(&config).expect("the tools");
            let runtime = Runtime::new().expect("a runtime");
            Self { folder, uid, runtime, tools, cold, ready }
        }

        fn workspace(&self) -> PathBuf {
            self.folder.path().join("workspace")
        }

        fn ours(&self, sandbox: &Sandbox) -> Duration {
            let began = Instant::now();
            let arguments = serde_json::json!({ "argv": ["/usr/bin/true"] });
            let call = ToolCall { id: "1".into(), name: "exec".into(), arguments };
            let call = self.tools.authorize(call).expect("a call that is allowed");
            let ran = self.runtime.block_on(sandbox.run(call)).expect("a launch");
            let took = began.elapsed();
            assert!(ran.get().completed, "a launch failed: {:?}", ran.get());
            took
        }

        fn bare(&self) -> Duration {
            let began = Instant::now();
            #[expect(
                clippy::disallowed_methods,
                reason = "what is measured here is the start of a process"
            )]
            let mut command = std::process::Command::new("bwrap");
            // The same namespaces: the one that forbids further user namespaces is one too.
            command.args(["--unshare-all", "--unshare-user", "--disable-userns"]);
            command.args(["--ro-bind", "/usr", "/usr"]);
            for link in ["bin", "lib", "lib64"] {
                if Path::new("/").join(link).is_symlink() {
                    command.args(["--symlink", &format!("usr/{link}"), &format!("/{link}")]);
                }
            }
            // Without it the program's own start takes longer than in ours.
            command.args(["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]);
            command.args(["--proc", "/proc", "--dev", "/dev", "--bind"]);
            command.arg(self.workspace()).arg(self.workspace());
            command.args(["--die-with-parent", "--new-session", "--", "/usr/bin/true"]);
            command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            if let Some(uid) = self.uid {
                command.uid(uid).gid(uid);
            }
            let mut command = Command::from(command);
            let output = self.runtime.block_on(async { command.output().await });
            let took = began.elapsed();
            let output = output.expect("a launch");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            took
        }

        /// One of each, in turn, and each as the second launch after a rest: the first one wakes the
        /// machine, and counts for none.
        fn round(&self) -> [Duration; 3] {
            let woken = |launch: &dyn Fn() -> Duration| {
                std::thread::sleep(REST);
                self.bare();
                launch()
            };
            [
                woken(&|| self.ours(&self.cold)),
                woken(&|| self.bare()),
                woken(&|| self.ours(&self.ready)),
            ]
        }
    }

    pub(super) fn benches(criterion: &mut Criterion) {
        let Some(runtime) = std::env::var_os("CLAWPROOF_RUNTIME") else {
            eprintln!(
                "sandbox: not measured: run it by `cargo xtask bench`, which builds the runtime"
            );
            return;
        };
        let ground = Ground::lay(Path::new(&runtime));
        ground.round();
        let mut group = criterion.benchmark_group("sandbox/launch");
        group.sample_size(60).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(8));
        // Each iteration launches all and counts one, so that they are interleaved.
        for (index, name) in ["strict", "bare bwrap", "strict, built ahead"].iter().enumerate() {
            group.bench_function(*name, |bencher| {
                bencher.iter_custom(|rounds| {
                    (0..rounds).filter_map(|_| ground.round().get(index).copied()).sum()
                });
            });
        }
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
