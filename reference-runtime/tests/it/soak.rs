//! Many launches in a row, one in ten of them killed at a random moment: the host is as it was
//! before. It must never look only at what the runtime says of itself.

#![cfg(target_os = "linux")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The uid that tools get where the tests run as root.
const SPARE: u32 = 60123;

/// What a tool leaves behind if nothing stops it: a process in a session of its own that keeps the
/// output open, files in the temporary folders, a System V segment, a queue of messages.
const SCRIPT: &str = r#"
    echo left > /tmp/left; echo left > /dev/shm/left
    perl -e 'shmget(4711, 64, 0x780); msgget(4711, 0x780)' 2>/dev/null
    setsid sh -c 'exec sleep 60' "$0" &
    head -c 200000 /dev/zero > block; rm -f block
    echo done"#;

struct Ground {
    folder: tempfile::TempDir,
    token: String,
    runtime: PathBuf,
}

impl Ground {
    fn lay() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let runtime = folder.path().join("runtime");
        fs::copy(env!("CARGO_BIN_EXE_clawproof-runtime"), &runtime).unwrap();
        let token = format!("soak-{}", folder.path().file_name().unwrap().to_string_lossy());
        let ground = Self { folder, token, runtime };
        for name in ["workspace", "workspace/.git", "temporary"] {
            let path = ground.folder.path().join(name);
            fs::create_dir(&path).unwrap();
            if root() {
                std::os::unix::fs::chown(&path, Some(SPARE), Some(SPARE)).unwrap();
            }
        }
        ground
    }

    fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace").canonicalize().unwrap()
    }

    fn temporary(&self) -> PathBuf {
        self.folder.path().join("temporary")
    }

    fn launch(&self) -> Child {
        #[expect(clippy::disallowed_methods, reason = "the launcher is what is tested")]
        let mut command = Command::new(&self.runtime);
        command.args(["sandbox", "run", "--workspace"]).arg(self.workspace());
        if root() {
            command.args(["--uid", &SPARE.to_string()]);
        }
        command.args(["--", "/bin/sh", "-c", SCRIPT, &self.token]);
        command.env("TMPDIR", self.temporary());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Processes whose arguments hold the mark, or whose view holds the workspace as a mount.
    fn processes(&self) -> Vec<u32> {
        let workspace = self.workspace().to_string_lossy().into_owned();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let read = |name: &str| {
                let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            read("cmdline").contains(&self.token) || read("mountinfo").contains(&workspace)
        })
        .collect()
    }
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn names(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(names(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

/// Objects of the host that a run could leave: System V by key, mounts, what lies in /dev/shm.
fn objects() -> [BTreeSet<String>; 3] {
    let lines = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut keys = BTreeSet::new();
    for kind in ["shm", "msg", "sem"] {
        let table = lines(&format!("/proc/sysvipc/{kind}"));
        let rows = table.lines().filter(|row| row.split_whitespace().next() == Some("4711"));
        keys.extend(rows.map(|row| format!("{kind} {row}")));
    }
    let mounts = lines("/proc/self/mountinfo").lines().map(str::to_owned).collect();
    let shared = names(Path::new("/dev/shm")).into_iter();
    let shared = shared.map(|path| path.display().to_string()).filter(|it| it.ends_with("/left"));
    [keys, mounts, shared.collect()]
}

/// A number that is random enough to choose a moment.
fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

fn soak(launches: u32) {
    let ground = Ground::lay();
    let before = (names(&ground.workspace()), objects());
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
    let mut state = u64::from(std::process::id());
    println!("seed {state}");
    // How long a whole launch takes here, so that kills fall everywhere in it.
    let begin = Instant::now();
    assert!(ground.launch().wait_with_output().unwrap().status.success());
    let whole = u64::try_from(begin.elapsed().as_micros()).unwrap();
    let mut killed = 0;
    for number in 0..launches {
        let mut child = ground.launch();
        if random(&mut state, 10) == 0 || number == 1 {
            thread::sleep(Duration::from_micros(random(&mut state, whole + whole / 4)));
            let _ = child.kill();
            killed += 1;
            child.wait_with_output().unwrap();
        } else {
            let output = child.wait_with_output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.stdout, b"done\n", "launch {number}: {error}");
        }
    }
    assert!(killed >= launches / 25, "only {killed} of {launches} were killed");
    // The kernel ends what a killed launcher left; what it put into the workspace, the next run.
    let begin = Instant::now();
    while !ground.processes().is_empty() && begin.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(ground.processes(), [] as [u32; 0], "processes are left");
    assert!(ground.launch().wait_with_output().unwrap().status.success());
    assert_eq!((names(&ground.workspace()), objects()), before, "the host has changed");
    assert_eq!(names(&ground.temporary()), BTreeSet::new(), "temporary files are left");
    assert_eq!(fs::read_dir("/proc/self/fd").unwrap().count(), descriptors);
    println!("{launches} launches, {killed} of them killed");
}

#[test]
fn fifty_launches_of_which_some_are_killed_leave_nothing() {
    soak(50);
}

#[test]
#[ignore = "takes a minute or more; the same with fewer launches runs always"]
fn five_hundred_launches_of_which_some_are_killed_leave_nothing() {
    soak(500);
}
