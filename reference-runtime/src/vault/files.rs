//! The vault's files: whether they are the owner's alone, and how one replaces another as a whole. It
//! must never follow a link or create a file that is open to others for even a moment.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    audit::Rejection,
    private,
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
    let made = if requirement::VAULT_PERMISSIONS.enforced() {
        private::create_folder(path)
    } else {
        fs::create_dir(path)
    };
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let owners = match private::open_folder(path) {
        Ok(folder) => private::is_owners(&folder).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => false,
        Err(error) => return Err(failed(error)),
    };
    requirement::VAULT_PERMISSIONS
        .check(owners, NOT_PRIVATE, || format!("{} is a link, or open to others", path.display()))
}

/// Reads a private regular file of at most `longest` bytes; a longer one is cut one byte later.
pub(super) fn read(path: &Path, longest: usize) -> Result<Vec<u8>, Unread> {
    let file = match open(OpenOptions::new().read(true), path) {
        Err(error) if private::is_link(&error) => return Err(Unread::Refused(not_private(path))),
        opened => opened?,
    };
    let owners = !requirement::VAULT_PERMISSIONS.enforced()
        || (private::is_owners(&file)? && private::is_single(&file)?);
    if !file.metadata()?.is_file() || !owners {
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
        let made = if requirement::VAULT_PERMISSIONS.enforced() {
            private::create(&staged)
        } else {
            File::create_new(&staged)
        };
        let written = made.and_then(|mut file| io::Write::write_all(&mut file, content));
        written.map_err(|error| failed(&staged, &error))?;
        self.files.push((staged, path));
        Ok(())
    }

    /// Waits until everything that was written is on the disk, the names too.
    pub(super) fn flush(&self) -> Result<(), Rejection> {
        let Some((first, _)) = self.files.first() else { return Ok(()) };
        let all: Vec<&Path> = self.files.iter().map(|(staged, _)| staged.as_path()).collect();
        flush(&all).map_err(|error| failed(first, &error))
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
    let file = kept(&path).map_err(failed)?;
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
    let mut file = kept(path)?;
    file.set_len(0)?;
    for piece in content.chunks(32) {
        io::Write::write_all(&mut file, piece)?;
        file.sync_all()?;
    }
    Ok(())
}

/// A file that is there, or is made in the vault's folder, whose privacy it has.
fn kept(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().write(true).create(true).truncate(false), path)
}

fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    if requirement::VAULT_PERMISSIONS.enforced() {
        private::open(options, path)
    } else {
        options.open(path)
    }
}

/// Flushes files and their names: one call for the whole file system where Linux has it and it is
/// cheaper than a call for each file.
fn flush(files: &[&Path]) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if files.len() > 1
        && let Some(first) = files.first()
    {
        return Ok(rustix::fs::syncfs(File::open(first)?)?);
    }
    files.iter().try_for_each(|path| OpenOptions::new().write(true).open(path)?.sync_all())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), private::sync_folder)
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
