//! A run's own folders outside the workspace: one that the tool may write, and beside it a canary
//! that it must not. It must never outlive the run.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, chown},
    path::PathBuf,
};

/// The two, in one private folder. Dropping it removes them.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    /// What the tool has for its temporary files and its home.
    pub(super) inside: PathBuf,
    /// A file that nothing inside may open for writing.
    pub(super) canary: PathBuf,
}

impl Scratch {
    /// Makes both, owned by `owner` where this process is root.
    ///
    /// # Errors
    /// The system's temporary folder cannot be used.
    pub(super) fn new(owner: Option<u32>) -> io::Result<Self> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        // Canonical: to the kernel /var is /private/var.
        let parent = env::temp_dir().canonicalize()?;
        let folder = parent.join(format!("clawproof-{}", hex::encode(random)));
        let (inside, canary) = (folder.join("tmp"), folder.join("canary"));
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        builder.create(&folder)?;
        let made = Self { folder, inside, canary };
        builder.create(&made.inside)?;
        fs::write(&made.canary, b"")?;
        for path in [&made.folder, &made.inside, &made.canary] {
            if owner.is_some() {
                chown(path, owner, owner)?;
            }
        }
        Ok(made)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
