//! A pseudo-terminal of the suite's own. It must never know who is put at it, or why.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;

use super::Trouble;

/// How its inner end is opened, by whoever opens it once more.
pub(super) const FLAGS: OFlags = OFlags::RDWR.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Both ends, and the path of the inner one.
pub(super) struct Terminal {
    pub(super) master: OwnedFd,
    pub(super) slave: OwnedFd,
    pub(super) path: CString,
}

/// What a host that has none is told.
pub(super) fn none(error: rustix::io::Errno) -> Trouble {
    Trouble::NotApplicable(format!("no terminal: {error}"))
}

/// A new terminal; it is nobody's controlling one.
///
/// # Errors
/// `NotApplicable` where the host gives none.
pub(super) fn open() -> Result<Terminal, Trouble> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).map_err(none)?;
    rustix::pty::grantpt(&master).map_err(none)?;
    rustix::pty::unlockpt(&master).map_err(none)?;
    let path = rustix::pty::ptsname(&master, Vec::new()).map_err(none)?;
    let slave = rustix::fs::open(&path, FLAGS, Mode::empty()).map_err(none)?;
    Ok(Terminal { master, slave, path })
}
