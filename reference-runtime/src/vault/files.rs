//! Private files: who may read them, and how one replaces another as a whole. It must never follow
//! a link or create a file that is open to others for even a moment.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    audit::Rejection,
    requirement::{self, Requirement},
};

const NOT_PRIVATE: &str = "the vault's files are not private";

/// Why a file was not read: refused, or the system said no.
pub(super) enum Unread {
    Refused(Rejection),
    Missing,
    Failed(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Missing } else { Self::Failed(error) }
    }
}

/// Creates the folder (0700) or checks the one that is there.
pub(super) fn folder(path: &Path) -> Result<(), Rejection> {
    let failed = |error: io::Error| deny(format!("{}: {error}", path.display()));
    match system::create_folder(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    requirement::VAULT_PERMISSIONS.check(
        metadata.is_dir() && system::is_private(&metadata),
        NOT_PRIVATE,
        || format!("{} is a link, or open to others", path.display()),
    )
}

/// Reads a private regular file of at most `longest` bytes; a longer one is cut one byte later.
pub(super) fn read(path: &Path, longest: usize) -> Result<Vec<u8>, Unread> {
    let file = match system::open(path) {
        Err(error) if system::is_link(&error) => return Err(Unread::Refused(not_private(path))),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    let private = system::is_private(&metadata) && system::is_single(&metadata);
    if !metadata.is_file() || (!private && requirement::VAULT_PERMISSIONS.enforced()) {
        return Err(Unread::Refused(not_private(path)));
    }
    let mut content = Vec::new();
    let most = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}

/// Replaces a file as a whole: a reader sees the old or the new one, and so does the next start
/// after a kill or a power cut at any moment.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), Rejection> {
    replace_all(vec![(path.to_owned(), content.to_owned())])
}

/// The same for many files of one folder: each is the old or the new one, and all are on the disk
/// when this returns. The disk is waited for once and not once a file, where the system can.
pub(super) fn replace_all(files: Vec<(PathBuf, Vec<u8>)>) -> Result<(), Rejection> {
    if !requirement::VAULT_CRASH_SAFE.enforced() {
        return files
            .iter()
            .try_for_each(|(path, content)| in_place(path, content).map_err(|e| failed(path, &e)));
    }
    let mut staged = Staged::default();
    for (path, content) in files {
        staged.add(path, &content, "tmp")?;
    }
    staged.flush()?;
    staged.commit()
}

/// New files beside those that they will replace. What is not committed is removed again; what is
/// left by a kill is ciphertext, and the next open removes it.
#[derive(Default)]
pub(super) struct Staged {
    files: Vec<(PathBuf, PathBuf)>,
    done: bool,
}

impl Staged {
    /// Writes a file's new content beside it, under a name with this ending.
    pub(super) fn add(
        &mut self,
        path: PathBuf,
        content: &[u8],
        ending: &str,
    ) -> Result<(), Rejection> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| deny(error.to_string()))?;
        let staged = path.with_extension(format!("{}.{ending}", hex::encode(random)));
        let written = system::create(&staged, true)
            .and_then(|mut file| io::Write::write_all(&mut file, content));
        written.map_err(|error| failed(&staged, &error))?;
        self.files.push((staged, path));
        Ok(())
    }

    /// Waits until everything that was written is on the disk, the names too.
    pub(super) fn flush(&self) -> Result<(), Rejection> {
        let Some((first, _)) = self.files.first() else { return Ok(()) };
        let all: Vec<&Path> = self.files.iter().map(|(staged, _)| staged.as_path()).collect();
        system::flush(&all).map_err(|error| failed(first, &error))
    }

    /// From here on they count, and are no longer removed where they do not reach their places.
    pub(super) fn decide(&mut self) {
        self.done = true;
    }

    /// Puts every file in its place.
    pub(super) fn commit(mut self) -> Result<(), Rejection> {
        for (staged, path) in &self.files {
            fs::rename(staged, path).map_err(|error| failed(path, &error))?;
        }
        self.done = true;
        let last = self.files.last();
        last.map_or(Ok(()), |(_, path)| sync_parent(path).map_err(|error| failed(path, &error)))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.done {
            self.files.iter().for_each(|(staged, _)| drop(fs::remove_file(staged)));
        }
    }
}

/// Removes a file; says whether there was one.
pub(super) fn remove(path: &Path) -> Result<bool, Rejection> {
    match fs::remove_file(path).and_then(|()| sync_parent(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(deny(format!("{}: {error}", path.display()))),
    }
}

/// The writers' lock of a folder: held until the file is dropped.
pub(super) fn lock(folder: &Path) -> Result<File, Rejection> {
    let path = folder.join("lock");
    let failed = |error: io::Error| deny(format!("{}: {error}", path.display()));
    let file = system::create(&path, false).map_err(failed)?;
    if requirement::VAULT_CRASH_SAFE.enforced() {
        file.lock().map_err(failed)?;
    }
    Ok(file)
}

/// Renames a file within its folder.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Rejection> {
    fs::rename(from, to).map_err(|error| failed(from, &error))
}

/// Makes the names in the folder of this file survive a power cut.
pub(super) fn sync_names(path: &Path) -> Result<(), Rejection> {
    sync_parent(path).map_err(|error| failed(path, &error))
}

/// Where `vault.crash-safe` is knocked out: the old record is gone before the new one stands.
fn in_place(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = system::create(path, false)?;
    file.set_len(0)?;
    for piece in content.chunks(32) {
        io::Write::write_all(&mut file, piece)?;
        file.sync_all()?;
    }
    Ok(())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn not_private(path: &Path) -> Rejection {
    let cause = format!("{} is a link, or open to others", path.display());
    requirement::VAULT_PERMISSIONS.refuse(NOT_PRIVATE, cause)
}

fn failed(path: &Path, error: &io::Error) -> Rejection {
    deny(format!("{}: {error}", path.display()))
}

fn deny(cause: String) -> Rejection {
    const DENY: Requirement = requirement::ERROR_DENY;
    DENY.refuse("the vault cannot be used", cause)
}

#[cfg(unix)]
mod system {
    use std::{
        fs::{DirBuilder, File, Metadata, OpenOptions},
        io,
        os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
        path::Path,
    };

    use rustix::{fs::OFlags, io::Errno, process::geteuid};

    use crate::requirement;

    pub(super) fn create_folder(path: &Path) -> io::Result<()> {
        let mode = if requirement::VAULT_PERMISSIONS.enforced() { 0o700 } else { 0o755 };
        DirBuilder::new().mode(mode).create(path)
    }

    pub(super) fn open(path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).custom_flags(unfollowed()).open(path)
    }

    /// Creates with the final mode: no window, and a umask can only take more away.
    pub(super) fn create(path: &Path, new: bool) -> io::Result<File> {
        let mode = if requirement::VAULT_PERMISSIONS.enforced() { 0o600 } else { 0o644 };
        OpenOptions::new()
            .write(true)
            .create(true)
            .create_new(new)
            .mode(mode)
            .custom_flags(unfollowed())
            .open(path)
    }

    /// Nobody but the owner, who is this user, may do anything.
    pub(super) fn is_private(metadata: &Metadata) -> bool {
        metadata.mode() & 0o077 == 0 && metadata.uid() == geteuid().as_raw()
    }

    /// A second name could stand in a folder that others can read.
    pub(super) fn is_single(metadata: &Metadata) -> bool {
        metadata.nlink() == 1
    }

    /// Flushes files and their names: one call for the whole file system where Linux has it and it
    /// is cheaper than a call for each file.
    pub(super) fn flush(files: &[&Path]) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if files.len() > 1
            && let Some(first) = files.first()
        {
            return Ok(rustix::fs::syncfs(File::open(first)?)?);
        }
        files.iter().try_for_each(|path| File::open(path)?.sync_all())
    }

    pub(super) fn is_link(error: &io::Error) -> bool {
        error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
    }

    fn unfollowed() -> i32 {
        let follow = OFlags::NONBLOCK;
        let flags = if requirement::VAULT_PERMISSIONS.enforced() {
            follow | OFlags::NOFOLLOW
        } else {
            follow
        };
        i32::try_from(flags.bits()).unwrap_or_default()
    }
}

/// Elsewhere nobody can say yet who may read a file: so nothing is private.
#[cfg(not(unix))]
mod system {
    use std::{
        fs::{File, Metadata},
        io,
        path::Path,
    };

    pub(super) fn create_folder(_: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn open(_: &Path) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn create(_: &Path, _: bool) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn flush(_: &[&Path]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn is_private(_: &Metadata) -> bool {
        false
    }

    pub(super) fn is_single(_: &Metadata) -> bool {
        false
    }

    pub(super) fn is_link(_: &io::Error) -> bool {
        false
    }
}
