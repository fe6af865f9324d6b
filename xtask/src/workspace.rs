//! Where things stand in this repository. Knows folders, never what is done with them.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, io};
use crate::process::Program;

/// The folders that the commands work in.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the workspace from the running cargo, else from where this crate was built.
    ///
    /// # Errors
    /// There is no workspace manifest there.
    pub(crate) fn find() -> Result<Self, Failure> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().unwrap_or(&manifest).to_path_buf();
        if !root.join("Cargo.toml").is_file() {
            return Err(Failure::usage("no workspace here: run `cargo xtask` inside the clone"));
        }
        // The folder that cargo builds into, wherever the environment or a config puts it.
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |target| root.join(target));
        Ok(Self { root, target })
    }

    /// The root of the clone.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside the clone.
    pub(crate) fn at(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// The build folder.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where the commands put tools of their own (`bin/` inside); never outside the build folder.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The programs among those tools.
    pub(crate) fn tool_bin(&self) -> PathBuf {
        self.tools().join("bin")
    }

    /// A built program of this workspace.
    pub(crate) fn built(&self, profile: &str, program: &str) -> PathBuf {
        self.target.join(profile).join(format!("{program}{}", std::env::consts::EXE_SUFFIX))
    }

    /// A folder under the build folder, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.target.join(name);
        std::fs::create_dir_all(&folder).map_err(io(format_args!("make {}", folder.display())))?;
        Ok(folder)
    }

    /// Cargo, in the root of the clone.
    pub(crate) fn cargo(&self) -> Program {
        Program::cargo().folder(&self.root)
    }

    /// A built program, in the root of the clone, with the tools of the build folder on its PATH.
    pub(crate) fn program(&self, profile: &str, program: &str) -> Program {
        Program::new(self.built(profile, program)).folder(&self.root).env("PATH", self.path())
    }

    /// PATH with the tools of the build folder last: what the system has is preferred.
    pub(crate) fn path(&self) -> std::ffi::OsString {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain([self.tool_bin()]);
        std::env::join_paths(folders).unwrap_or(path)
    }
}
