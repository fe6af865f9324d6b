//! What exchanges two names under a launcher, and how that is ended. It must never know which probe
//! it is for.

use std::path::PathBuf;

use rustix::fs::{CWD, RenameFlags};
use tokio::process::Child;

/// Exchanges a git folder with a link to the outside until it is stopped, then puts it right.
pub(super) struct Racer {
    pub(super) child: Child,
    pub(super) folder: PathBuf,
    pub(super) link: PathBuf,
}

impl Racer {
    /// Ends the exchange and leaves the folder where it was.
    pub(super) async fn stop(mut self) {
        let _ = self.child.kill().await;
        if self.folder.is_symlink() {
            let _ = rustix::fs::renameat_with(
                CWD,
                &self.folder,
                CWD,
                &self.link,
                RenameFlags::EXCHANGE,
            );
        }
    }
}
