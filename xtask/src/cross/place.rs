//! Where the foreign tools stand and how cargo is called with them. Knows folders and variables,
//! never what is checked.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, io};
use crate::process::Program;
use crate::workspace::Workspace;

use super::{GNU, MACOS, MSVC};

/// One folder that holds everything that was fetched: of the user's cache, because two gigabytes
/// are not fetched again for each clone. `CLAWPROOF_CROSS` names another.
#[derive(Debug)]
pub(crate) struct Place {
    root: PathBuf,
}

/// A C compiler's place where only Rust is checked: makes the files that it is asked for, empty.
const NO_COMPILER: &str = r#"#!/bin/sh
next=
for word; do
  if [ -n "$next" ]; then : > "$word"; next=; fi
  case $word in
    -o) next=1 ;;
    -Fo*) : > "${word#-Fo}" ;;
  esac
done
exit 0
"#;
/// An archiver's place.
const NO_ARCHIVER: &str = r#"#!/bin/sh
for word; do
  case $word in
    -out:*) printf '!<arch>\n' > "${word#-out:}" ;;
    *.a | *.lib) [ -e "$word" ] || printf '!<arch>\n' > "$word" ;;
  esac
done
exit 0
"#;

impl Place {
    /// The folder, made with its small scripts.
    ///
    /// # Errors
    /// This is no Linux machine, or the folder cannot be made.
    pub(crate) fn find(workspace: &Workspace) -> Result<Self, Failure> {
        if !cfg!(target_os = "linux") {
            return Err(Failure::machine(
                "`cross` works from Linux; on other systems run `cargo xtask test` natively",
            ));
        }
        let named = std::env::var_os("CLAWPROOF_CROSS").map(PathBuf::from);
        let cache = || {
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || std::env::home_dir().map(|home| home.join(".cache"));
            Some(cache.or_else(home)?.join("clawproof-cross"))
        };
        let root = named.or_else(cache).unwrap_or_else(|| workspace.tools().join("cross"));
        fs::create_dir_all(&root).map_err(io(format_args!("make {}", root.display())))?;
        let place = Self { root };
        place.script("no-cc", NO_COMPILER)?;
        place.script("no-ar", NO_ARCHIVER)?;
        Ok(place)
    }

    /// A path inside.
    pub(crate) fn at(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Writes an executable script and returns where it stands.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn script(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.at(name);
        fs::write(&path, text).map_err(io(format_args!("write {}", path.display())))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(io(format_args!("make {} executable", path.display())))?;
        }
        Ok(path)
    }

    /// Whether a step was done with this compiler before.
    pub(crate) fn done(&self, step: &str, mark: &str) -> bool {
        fs::read_to_string(self.at(format!("done-{step}"))).is_ok_and(|found| found == mark)
    }

    /// Remembers that it was done.
    ///
    /// # Errors
    /// The mark cannot be written.
    pub(crate) fn set_done(&self, step: &str, mark: &str) -> Result<(), Failure> {
        fs::write(self.at(format!("done-{step}")), mark).map_err(io("write a mark"))
    }

    /// The copy of the toolchain that knows the foreign targets, where one was made.
    pub(crate) fn toolchain(&self) -> Option<PathBuf> {
        let folder = self.at("toolchain");
        folder.join("bin/cargo").is_file().then_some(folder)
    }

    /// The folder of MinGW's programs, where they were fetched.
    pub(crate) fn mingw(&self) -> PathBuf {
        self.at("mingw/usr/bin")
    }

    /// PATH with the foreign tools first.
    pub(crate) fn path(&self, workspace: &Workspace) -> std::ffi::OsString {
        let path = workspace.path();
        let first = self.toolchain().map(|folder| folder.join("bin")).into_iter();
        let folders = first.chain([self.mingw()]).chain(std::env::split_paths(&path));
        std::env::join_paths(folders).unwrap_or(path)
    }

    /// Cargo that can build for the foreign targets.
    pub(crate) fn cargo(&self, workspace: &Workspace) -> Program {
        let mut cargo = match self.toolchain() {
            None => workspace.cargo(),
            Some(folder) => Program::new(folder.join("bin/cargo"))
                .folder(workspace.root())
                .without("CARGO")
                .without("RUSTC")
                // By this the compiler would find the library of the toolchain that runs us.
                .without("LD_LIBRARY_PATH")
                .without("RUSTUP_TOOLCHAIN"),
        };
        // A build folder of its own: what was built with another standard library fits nothing.
        cargo = cargo.env("PATH", self.path(workspace)).env("CARGO_TARGET_DIR", target(workspace));
        for target in [MACOS, MSVC] {
            let name = target.triple.replace('-', "_");
            cargo = cargo.env(&format!("CC_{name}"), self.at("no-cc"));
            cargo = cargo.env(&format!("AR_{name}"), self.at("no-ar"));
        }
        let gnu = |what: &str| {
            format!("CARGO_TARGET_{}_{what}", GNU.triple.replace('-', "_").to_uppercase())
        };
        cargo.env(&gnu("RUNNER"), self.at("run-wine")).env(&gnu("LINKER"), self.at("link-windows"))
    }
}

/// Where foreign builds are made.
pub(crate) fn target(workspace: &Workspace) -> PathBuf {
    workspace.target().join("cross")
}
