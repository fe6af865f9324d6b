//! Unix: the mode and the owner say it. It must never believe a path where it has the open file.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::{fs::OFlags, io::Errno, process::geteuid};

/// Makes a folder (0700).
///
/// # Errors
/// It is there already, or cannot be made.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Opens a folder to look at it.
///
/// # Errors
/// It is a link or no folder (`NotADirectory`), or cannot be opened.
pub fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(bits(flags)).open(path)
}

/// Opens a file; one that this creates has its final mode (0600) at once, and a umask can only take
/// more away. A pipe is not waited for.
///
/// # Errors
/// It is a link ([`is_link`]), or cannot be opened.
pub fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.mode(0o600).custom_flags(bits(flags)).open(path)
}

/// Makes a new file, for writing.
///
/// # Errors
/// The name is taken, or it cannot be made.
pub fn create(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().write(true).create_new(true), path)
}

/// Whether nobody but the owner, who is this user, may do anything with it.
///
/// # Errors
/// It cannot be asked.
pub fn is_owners(file: &File) -> io::Result<bool> {
    Ok(is_closed(file)? && file.metadata()?.uid() == geteuid().as_raw())
}

/// Whether nobody but the owner, whoever that is, may do anything with it.
///
/// # Errors
/// It cannot be asked.
pub fn is_closed(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.mode() & 0o077 == 0)
}

/// Whether it has one name: a second one could stand in a folder that others can read.
///
/// # Errors
/// It cannot be asked.
pub fn is_single(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() == 1)
}

/// Whether [`open`] failed as the path ends in a link.
pub fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Whether the path names this open file, and is no link to it.
pub fn names(path: &Path, file: &File) -> bool {
    let found = fs::symlink_metadata(path).and_then(|named| Ok((named, file.metadata()?)));
    found.is_ok_and(|(named, open)| (named.dev(), named.ino()) == (open.dev(), open.ino()))
}

/// Makes the names in a folder survive a power cut.
///
/// # Errors
/// The disk refused.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn bits(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}
