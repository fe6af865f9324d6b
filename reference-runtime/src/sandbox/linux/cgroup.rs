//! A cgroup (version 2) for each run, where the system hands some down to this process: memory and
//! processes of a whole run are limited together. It must never take a limit for set that the kernel
//! does not read back.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use crate::sandbox::plan::Whole;

/// Where this process goes, so that its old place may hand controllers on to the runs.
const OWN: &str = "clawproof-runtime";
const RUN: &str = "clawproof-run-";
const NEEDED: [&str; 2] = ["memory", "pids"];

/// The folder in which each run gets a group of its own.
#[derive(Clone, Debug)]
pub(super) struct Tree(PathBuf);

impl Tree {
    /// Looks for the groups that are handed down to this process, and tries one. A runtime that
    /// serves (`asks`) asks the user's systemd for a place of its own where it has none.
    ///
    /// # Errors
    /// One sentence: why there are none.
    pub(super) fn find(limits: &Whole, asks: bool) -> Result<Self, String> {
        let own = std::process::id();
        let found = place().and_then(|folder| Self::at(&folder, own));
        let tree = match found {
            Err(_) if asks && scope(Path::new(BUSCTL), own).is_ok() => moved(own),
            found => found,
        }?;
        tree.group(limits).map_err(|error| format!("a group cannot be limited: {error}"))?;
        Ok(tree)
    }

    /// The tree below a group that this process is in.
    fn at(folder: &Path, own: u32) -> Result<Self, String> {
        let text = |error: io::Error| format!("{}: {error}", folder.display());
        if folder.ends_with(OWN) {
            let above = folder.parent().unwrap_or(folder);
            return if has(above, "cgroup.subtree_control").map_err(text)? {
                Ok(Self(above.to_owned()))
            } else {
                Err("the controllers were taken back".to_owned())
            };
        }
        if !has(folder, "cgroup.controllers").map_err(text)? {
            return Err("the controllers memory and pids are not handed down".to_owned());
        }
        if !has(folder, "cgroup.subtree_control").map_err(text)? {
            hand_on(folder, own)?;
        }
        let tree = Self(folder.to_owned());
        tree.sweep();
        Ok(tree)
    }

    /// A new group with these limits.
    pub(super) fn group(&self, limits: &Whole) -> io::Result<Group> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = self.0.join(format!("{RUN}{}-{number}", std::process::id()));
        fs::create_dir(&folder)?;
        let group = Group(folder);
        group.limit("memory.max", limits.memory)?;
        group.limit("pids.max", limits.processes)?;
        // Not every kernel has these; without swap to go to, the limit of memory is what counts.
        for (name, value) in [("memory.swap.max", "0"), ("memory.oom.group", "1")] {
            let _ = fs::write(group.0.join(name), value);
        }
        Ok(group)
    }

    /// Groups of runtimes that are gone; one in which something lives stays.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        for entry in entries.filter(|it| it.file_name().to_string_lossy().starts_with(RUN)) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The group of one run. Dropping it ends what is left in it and takes it away.
#[derive(Debug)]
pub(super) struct Group(PathBuf);

impl Group {
    /// Who writes `0` here is in it.
    pub(super) fn door(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().write(true).open(self.0.join("cgroup.procs"))
    }

    fn limit(&self, name: &str, value: u64) -> io::Result<()> {
        let path = self.0.join(name);
        fs::write(&path, value.to_string())?;
        let said = fs::read_to_string(&path)?;
        if said.trim() == value.to_string() {
            return Ok(());
        }
        Err(io::Error::other(format!("{name} is {:?} and not {value}", said.trim())))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..20 {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                    thread::sleep(Duration::from_millis(1));
                }
                _ => return,
            }
        }
    }
}

/// Whether a file of a group names both controllers.
fn has(folder: &Path, file: &str) -> io::Result<bool> {
    let text = fs::read_to_string(folder.join(file))?;
    Ok(NEEDED.iter().all(|name| text.split_whitespace().any(|word| word == *name)))
}

/// A group that holds processes hands nothing on: this process, if it is alone in there, steps aside.
fn hand_on(folder: &Path, own: u32) -> Result<(), String> {
    let inside = fs::read_to_string(folder.join("cgroup.procs")).map_err(|e| e.to_string())?;
    if inside.split_whitespace().any(|pid| pid != own.to_string()) {
        return Err("the group of this process is shared with others".to_owned());
    }
    let aside = folder.join(OWN);
    let step = || {
        match fs::create_dir(&aside) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::write(aside.join("cgroup.procs"), own.to_string())?;
        fs::write(folder.join("cgroup.subtree_control"), "+memory +pids")
    };
    step().map_err(|error| {
        let _ = fs::write(folder.join("cgroup.procs"), own.to_string());
        let _ = fs::remove_dir(&aside);
        format!("the controllers cannot be handed on: {error}")
    })
}

/// The group of this process as a folder.
fn place() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    folder(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
}

fn folder(groups: &str, mounts: &str) -> Result<PathBuf, String> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let own = own.ok_or("this process is in no cgroup of version 2")?;
    if own == "/" {
        // What is changed there is changed for the whole system.
        return Err("this process is in the root of all cgroups".to_owned());
    }
    let mounted = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let below = Path::new(own).strip_prefix(root).ok()?;
        after.starts_with("cgroup2 ").then(|| Path::new(at).join(below))
    });
    mounted.ok_or_else(|| "no cgroup of version 2 is mounted".to_owned())
}

const BUSCTL: &str = "/usr/bin/busctl";

/// The tree of a process that is just being moved.
fn moved(own: u32) -> Result<Tree, String> {
    let mut found = Err(String::new());
    for _ in 0..50 {
        found = place().and_then(|folder| Tree::at(&folder, own));
        if found.is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    found
}

/// Asks the user's systemd for a scope with this process in it and with its controllers handed
/// down: what `systemd-run --user --scope -p Delegate=yes` does for a program that it starts, done
/// once for one that runs already.
fn scope(busctl: &Path, own: u32) -> Result<(), String> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").ok_or("there is no user session")?;
    ask(busctl, &runtime, own)
}

fn ask(busctl: &Path, runtime: &OsStr, own: u32) -> Result<(), String> {
    let unit = format!("clawproof-{own}.scope");
    #[expect(clippy::disallowed_methods, reason = "asks the user's systemd for a cgroup")]
    let mut command = Command::new(busctl);
    command.env_clear().env("XDG_RUNTIME_DIR", runtime);
    command.args(["--user", "--quiet", "--timeout=5", "call", "org.freedesktop.systemd1"]);
    command.args(["/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]);
    command.args(["StartTransientUnit", "ssa(sv)a(sa(sv))", &unit, "fail", "2"]);
    command.args(["PIDs", "au", "1", &own.to_string(), "Delegate", "b", "true", "0"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("busctl ended with {status}")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Whole = Whole { memory: 1 << 30, processes: 80 };

    /// A folder with the files of a group; a write to them stays what it is, as in the kernel.
    fn group(controllers: &str, handed: &str, processes: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", handed),
            ("cgroup.procs", processes),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_run_gets_both_limits_and_they_are_read_back() {
        let folder = group("cpu memory pids", "memory pids", "7\n8\n");
        let tree = Tree::at(folder.path(), 7).unwrap();
        let run = tree.group(&LIMITS).unwrap();
        let read = |name| fs::read_to_string(run.0.join(name)).unwrap();
        assert_eq!((read("memory.max"), read("pids.max")), ("1073741824".into(), "80".into()));
        assert_eq!((read("memory.swap.max"), read("memory.oom.group")), ("0".into(), "1".into()));
        let other = tree.group(&LIMITS).unwrap();
        assert_ne!(run.0, other.0);
    }

    #[test]
    fn a_process_that_is_alone_steps_aside_and_one_that_is_not_has_no_groups() {
        let folder = group("memory pids", "", "7\n");
        Tree::at(folder.path(), 7).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("clawproof-runtime/cgroup.procs"), "7");
        assert_eq!(read("cgroup.subtree_control"), "+memory +pids");
        let shared = group("memory pids", "", "7\n8\n");
        assert!(Tree::at(shared.path(), 7).unwrap_err().contains("shared"));
        assert!(!shared.path().join(OWN).exists());
    }

    #[test]
    fn without_both_controllers_there_are_no_groups() {
        for controllers in ["", "hugetlb", "memory", "pids cpu", "memoryx pids"] {
            let folder = group(controllers, controllers, "7\n");
            assert!(Tree::at(folder.path(), 7).unwrap_err().contains("not handed down"));
        }
    }

    #[test]
    fn the_users_systemd_is_asked_for_a_scope_that_hands_on() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let busctl = folder.path().join("busctl");
        let asked = folder.path().join("asked");
        let script = format!(
            "#!/bin/sh\necho \"$XDG_RUNTIME_DIR $*\" > {}\n[ \"$2\" = --quiet ]\n",
            asked.display()
        );
        fs::write(&busctl, script).unwrap();
        fs::set_permissions(&busctl, fs::Permissions::from_mode(0o755)).unwrap();
        ask(&busctl, OsStr::new("/run/user/7"), 7).unwrap();
        let asked = fs::read_to_string(asked).unwrap();
        assert!(asked.starts_with("/run/user/7 --user "), "{asked}");
        let end = "clawproof-7.scope fail 2 PIDs au 1 7 Delegate b true 0\n";
        assert!(asked.ends_with(end), "{asked}");
        assert!(ask(Path::new("/bin/false"), OsStr::new(""), 7).is_err());
    }

    #[test]
    fn the_folder_is_found_below_the_mount_and_the_root_is_left_alone() {
        let mounts = "24 1 0:2 / /proc rw - proc proc rw\n\
                      30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let found = folder("0::/user.slice/a.scope\n", mounts).unwrap();
        assert_eq!(found, Path::new("/sys/fs/cgroup/user.slice/a.scope"));
        let part = mounts.replace(" / /sys", " /user.slice /sys");
        assert_eq!(
            folder("0::/user.slice/a.scope\n", &part).unwrap(),
            Path::new("/sys/fs/cgroup/a.scope")
        );
        assert!(folder("0::/\n", mounts).is_err());
        assert!(folder("4:memory:/a\n", mounts).is_err());
        assert!(folder("0::/a\n", "24 1 0:2 / /proc rw - proc proc rw\n").is_err());
    }
}
