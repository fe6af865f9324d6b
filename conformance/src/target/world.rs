//! A disposable folder tree in which one target lives, with random canaries outside its workspace.
//! It must never know which target it houses, nor what is expected of it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// The spare uid (and gid) that owns a world when the suite itself runs as root.
pub const SPARE_UID: u32 = 60_123;

/// Whether this run keeps root for the target.
static AS_ROOT: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Keeps the suite's own uid for every world made from now on, also where it is root: the second
/// run of the sandbox profile. To be called once, before the first world.
pub fn keep_root() {
    AS_ROOT.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// Whether targets run as root in this run.
#[must_use]
pub fn targets_are_root() -> bool {
    #[cfg(unix)]
    let root = rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    let root = false;
    root && AS_ROOT.load(std::sync::atomic::Ordering::Relaxed)
}

/// Why a world could not be made or used: which path, and the system's reason.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {source}")]
pub struct WorldError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl WorldError {
    pub(super) fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

/// A disposable tree under the temp folder, removed on drop:
/// `bin/ home/ state/ workspace/ outside/`, all owned by the uid that the target runs as.
///
/// `outside/k` holds the canary: random text that no workspace file holds.
#[derive(Debug)]
pub struct World {
    root: PathBuf,
    owner: Option<u32>,
    /// Whether the target itself starts as the suite's uid and changes to the owner's.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no uid to change to"))]
    drops: bool,
    canary: std::sync::Mutex<String>,
}

impl World {
    /// Builds a fresh world. As uid 0 it is owned by [`SPARE_UID`], else by the caller.
    ///
    /// # Errors
    /// A folder could not be made or given to the spare uid.
    pub fn new() -> Result<Self, WorldError> {
        Self::owned(spare_uid(), false, &std::env::temp_dir())
    }

    /// A world for a target that is started as root and changes to the spare uid by itself; where
    /// targets do not run as root, as [`World::new`].
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn dropping() -> Result<Self, WorldError> {
        if targets_are_root() {
            Self::owned(Some(SPARE_UID), true, &std::env::temp_dir())
        } else {
            Self::new()
        }
    }

    /// A world on a file system in memory where the host has one, for cases that save thousands of
    /// files: a disk may take milliseconds for each. No tool can run there, as its workspace lies
    /// below a system folder.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn in_memory() -> Result<Self, WorldError> {
        let memory = Path::new("/dev/shm");
        if cfg!(target_os = "linux") && memory.is_dir() {
            Self::owned(spare_uid(), false, memory).or_else(|_| Self::new())
        } else {
            Self::new()
        }
    }

    fn owned(owner: Option<u32>, drops: bool, base: &Path) -> Result<Self, WorldError> {
        let base = dunce::canonicalize(base).map_err(WorldError::new("resolve", base))?;
        let mut builder = tempfile::Builder::new();
        let prefix = format!("cw-{}-", std::process::id());
        builder.prefix(&prefix);
        let root = builder.tempdir_in(&base).map_err(WorldError::new("create", &base))?.keep();
        let world = Self { root, owner, drops, canary: std::sync::Mutex::default() };
        set_mode(&world.root, 0o755)?;
        for name in ["bin", "home", "state", "workspace", "outside"] {
            let path = world.root.join(name);
            std::fs::create_dir(&path).map_err(WorldError::new("create", &path))?;
            set_mode(&path, if name == "home" || name == "state" { 0o700 } else { 0o755 })?;
            if name != "bin" {
                world.give(&path)?;
            }
        }
        world.renew_canary()?;
        Ok(world)
    }

    /// The root of the tree (absolute, no link in it).
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where binaries are copied to; not writable by the target.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The target's home folder (mode 0700).
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The target's state folder (mode 0700).
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The target's workspace, the only place that its tools may write to.
    #[must_use]
    pub fn workspace(&self) -> PathBuf {
        self.root.join("workspace")
    }

    /// A folder beside the workspace that the target's *process* may use but its tools must not.
    #[must_use]
    pub fn outside(&self) -> PathBuf {
        self.root.join("outside")
    }

    /// The canary file outside the workspace: `outside/k`.
    #[must_use]
    pub fn canary_file(&self) -> PathBuf {
        self.outside().join("k")
    }

    /// What the canary file holds now: 32 hexadecimal digits behind `canary-`.
    #[must_use]
    pub fn canary(&self) -> String {
        self.canary.lock().map(|text| text.clone()).unwrap_or_default()
    }

    /// Writes a new random canary, so that an earlier leak cannot be taken for a new one.
    ///
    /// # Errors
    /// The canary file could not be written.
    pub fn renew_canary(&self) -> Result<String, WorldError> {
        let text = format!("canary-{}", random_hex(16));
        let path = self.canary_file();
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, &text).map_err(WorldError::new("write", &path))?;
        self.give(&path)?;
        if let Ok(mut held) = self.canary.lock() {
            held.clone_from(&text);
        }
        Ok(text)
    }

    /// The uid that the target runs as, when it is not the suite's own.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.owner
    }

    /// Copies a program into `bin/` (mode 0755) under its own file name.
    ///
    /// # Errors
    /// The program could not be read or copied.
    pub fn install(&self, program: &Path) -> Result<PathBuf, WorldError> {
        let name = program.file_name().unwrap_or(OsStr::new("target"));
        let path = self.bin().join(name);
        if !path.exists() {
            std::fs::copy(program, &path).map_err(WorldError::new("copy", program))?;
            set_mode(&path, 0o755)?;
        }
        Ok(path)
    }

    /// Writes a file of the target's, making its parents; owner and mode (such as `0o600`) are set.
    ///
    /// # Errors
    /// A folder or the file could not be made.
    pub fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), WorldError> {
        if let Some(parent) = path.parent() {
            self.make_dir(parent)?;
        }
        std::fs::write(path, bytes).map_err(WorldError::new("write", path))?;
        set_mode(path, mode)?;
        self.give(path)
    }

    /// Makes a folder and its missing parents, each given to the target's uid.
    ///
    /// # Errors
    /// A folder could not be made.
    pub fn make_dir(&self, path: &Path) -> Result<(), WorldError> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_dir(parent)?;
        }
        std::fs::create_dir(path).map_err(WorldError::new("create", path))?;
        self.give(path)
    }

    /// Sets the mode of a path, such as `0o700`.
    ///
    /// # Errors
    /// The mode could not be changed.
    pub fn set_mode(&self, path: &Path, mode: u32) -> Result<(), WorldError> {
        set_mode(path, mode)
    }

    /// Gives a path to the uid that the target runs as; links are not followed.
    ///
    /// # Errors
    /// The owner could not be changed.
    pub fn give(&self, path: &Path) -> Result<(), WorldError> {
        #[cfg(unix)]
        if let Some(uid) = self.owner {
            std::os::unix::fs::lchown(path, Some(uid), Some(uid))
                .map_err(WorldError::new("change the owner of", path))?;
        }
        #[cfg(not(unix))]
        let _ = path;
        Ok(())
    }

    /// Empties the workspace, so that one case's files are not another's.
    ///
    /// # Errors
    /// The workspace could not be read or emptied.
    pub fn clear_workspace(&self) -> Result<(), WorldError> {
        let workspace = self.workspace();
        let entries = std::fs::read_dir(&workspace).map_err(WorldError::new("read", &workspace))?;
        for entry in entries {
            let path = entry.map_err(WorldError::new("read", &workspace))?.path();
            remove(&path).map_err(WorldError::new("remove", &path))?;
        }
        Ok(())
    }

    /// A command that runs as the target's uid, in its own process group, with a clean
    /// environment (`PATH`, `HOME`, `TMPDIR`, `LANG`), in the workspace, without standard input.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> tokio::process::Command {
        #[cfg_attr(not(unix), expect(unused_mut, reason = "there is no uid to change to"))]
        let mut command = self.command_as_suite(program);
        #[cfg(unix)]
        if let (Some(uid), false) = (self.owner, self.drops) {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// The same as the suite's own uid: for what the target's uid may not do.
    #[must_use]
    pub fn command_as_suite(&self, program: impl AsRef<OsStr>) -> tokio::process::Command {
        #[expect(clippy::disallowed_methods, reason = "the target room starts the targets")]
        let mut command = tokio::process::Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home())
            .env("TMPDIR", self.home())
            .env("LANG", "C.UTF-8")
            .current_dir(self.workspace())
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        // Without the first no program has sockets; the others say home and TMPDIR in its words.
        #[cfg(windows)]
        if let Some(root) = std::env::var_os("SystemRoot") {
            command.env("SystemRoot", root);
            for name in ["USERPROFILE", "TEMP", "TMP"] {
                command.env(name, self.home());
            }
        }
        command
    }
}

impl Drop for World {
    fn drop(&mut self) {
        super::process::sweep(&self.root);
        // A second try, for a process that was still writing when the first began.
        for _ in 0..3 {
            if remove(&self.root).is_ok() {
                return;
            }
        }
    }
}

/// Removes worlds and programs that a killed suite left in the temp folder, with the processes that
/// still live in them: those whose maker is gone and that are older than ten minutes.
pub fn remove_stale() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix("cw-").or_else(|| name.strip_prefix("cb-"));
        let maker = maker.and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
        let gone = maker.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        let age = entry.metadata().ok().and_then(|it| it.modified().ok()?.elapsed().ok());
        let old = age.is_some_and(|age| age > std::time::Duration::from_secs(600));
        if gone && old && own(&entry) && Path::new("/proc/self").exists() {
            super::process::sweep(&entry.path());
            let _ = remove(&entry.path());
        }
    }
}

/// Whether this user made the folder: nobody else's is touched.
fn own(entry: &std::fs::DirEntry) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let owner = entry.metadata().map(|it| it.uid());
        owner.is_ok_and(|uid| uid == rustix::process::geteuid().as_raw())
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
    }
    #[cfg(not(unix))]
    {
        let _ = entry;
        false
    }
}

/// Removes a file, link or whole tree; folders that forbid it are opened first.
fn remove(path: &Path) -> io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_dir() {
        return std::fs::remove_file(path);
    }
    let _ = set_mode(path, 0o700);
    if std::fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        remove(&entry?.path())?;
    }
    std::fs::remove_dir(path)
}

/// Random bytes as lower-case hexadecimal: two digits for each byte.
#[must_use]
pub fn random_hex(bytes: usize) -> String {
    let mut buffer = vec![0_u8; bytes];
    if getrandom::fill(&mut buffer).is_err() {
        // No entropy: names still differ by address-space and time, and nothing here is a secret.
        let now = jiff::Timestamp::now().as_nanosecond().to_le_bytes();
        for (slot, byte) in buffer.iter_mut().zip(now.iter().cycle()) {
            *slot = *byte;
        }
    }
    hex::encode(buffer)
}

#[cfg(unix)]
pub(super) fn spare_uid() -> Option<u32> {
    (rustix::process::geteuid().is_root() && !targets_are_root()).then_some(SPARE_UID)
}

#[cfg(not(unix))]
pub(super) fn spare_uid() -> Option<u32> {
    None
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> Result<(), WorldError> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(WorldError::new("set the mode of", path))
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) -> Result<(), WorldError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_nothing_behind() {
        let world = World::new().unwrap();
        let root = world.root().to_owned();
        world.write(&world.workspace().join("a/b"), b"x", 0o400).unwrap();
        set_mode(&world.workspace().join("a"), 0o500).unwrap();
        assert!(world.canary_file().exists());
        drop(world);
        assert!(!root.exists());
    }

    #[test]
    fn renews_its_canary() {
        let world = World::new().unwrap();
        let first = world.canary();
        world.renew_canary().unwrap();
        assert_ne!(first, world.canary());
        assert_eq!(std::fs::read_to_string(world.canary_file()).unwrap(), world.canary());
    }

    #[test]
    fn clearing_does_not_follow_a_link_out() {
        let world = World::new().unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(world.outside(), world.workspace().join("out")).unwrap();
        world.clear_workspace().unwrap();
        assert!(world.canary_file().exists());
        assert_eq!(std::fs::read_dir(world.workspace()).unwrap().count(), 0);
    }
}
