//! The program under test: found, and copied where an unprivileged uid can run it but not change
//! it. It must never know what the program is.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use super::manifest::Manifest;

/// Where `cargo xtask subjects` installs, from the project's root.
const SUBJECTS: &str = "target/subjects";

/// A copy of the program in a folder of its own, removed on drop.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    digest: String,
    // Kept for its drop.
    _folder: Option<tempfile::TempDir>,
}

impl Program {
    /// Finds the program of a manifest: the file given, else beside this program, else on PATH.
    /// A manifest without a program (a launcher that is on PATH, an adapter) gives an empty path.
    ///
    /// # Errors
    /// One sentence for the person at the keyboard.
    pub fn find(manifest: &Manifest, given: Option<&Path>) -> Result<Self, String> {
        // Bubblewrap is what a sandbox is made of on Linux alone.
        let needed = |program: &&String| cfg!(target_os = "linux") || *program != "bwrap";
        for program in manifest.requires.iter().filter(needed) {
            if on_path(program).is_none() {
                return Err(format!(
                    "the target `{}` needs `{program}`, which is not on PATH{}",
                    manifest.name,
                    if program == "bwrap" { ": install bubblewrap" } else { "" }
                ));
            }
        }
        if let Some(below) = manifest.subject.as_ref().and_then(|it| it.program.as_deref()) {
            return Self::installed(manifest, below, given);
        }
        let found = match (given, &manifest.binary) {
            (Some(path), _) if path.is_file() => path.to_owned(),
            (Some(path), _) => return Err(format!("there is no program {}", path.display())),
            (None, None) if !manifest.driver.may_be_bare() => {
                return Err("the manifest names no program: name it with --bin FILE".to_owned());
            }
            (None, None) => {
                return Ok(Self { path: PathBuf::new(), digest: String::new(), _folder: None });
            }
            (None, Some(binary)) => {
                beside(&binary.name).or_else(|| on_path(&binary.name)).ok_or_else(|| {
                    format!(
                        "`{}` is neither beside this program nor on PATH: build it, or name it \
                         with --bin FILE",
                        binary.name
                    )
                })?
            }
        };
        let with = manifest.binary.as_ref().map_or(&[][..], |binary| &binary.beside);
        Self::copy(&found, with)
            .map_err(|error| format!("cannot copy {}: {error}", found.display()))
    }

    /// A published implementation stays where it was installed: it is more than one file.
    fn installed(manifest: &Manifest, below: &str, given: Option<&Path>) -> Result<Self, String> {
        let name = &manifest.name;
        let path = match given {
            Some(path) => path.to_owned(),
            None => {
                let shares = manifest.subject.as_ref().and_then(|it| it.shares.as_ref());
                Path::new(SUBJECTS).join(shares.unwrap_or(name)).join(below)
            }
        };
        let path = std::path::absolute(&path).map_err(|error| error.to_string())?;
        if !path.is_file() {
            return Err(format!(
                "`{name}` is not installed: there is no {}; `cargo xtask subjects install {name}` \
                 installs it, or name its program with --bin FILE",
                path.display()
            ));
        }
        passable(&path)?;
        let digest = sha256(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path, digest, _folder: None })
    }

    /// Copies the program, and what of `with` stands beside it.
    fn copy(found: &Path, with: &[String]) -> std::io::Result<Self> {
        let base = dunce::canonicalize(std::env::temp_dir())?;
        let folder = tempfile::Builder::new()
            .prefix(&format!("cb-{}-", std::process::id()))
            .tempdir_in(base)?;
        let path = folder.path().join(found.file_name().unwrap_or_default());
        open(folder.path())?;
        let names = with.iter().filter_map(|name| Path::new(name).file_name());
        let others = names.map(|name| found.with_file_name(name)).filter(|file| file.is_file());
        for file in std::iter::once(found.to_owned()).chain(others) {
            let copy = folder.path().join(file.file_name().unwrap_or_default());
            std::fs::copy(file, &copy)?;
            open(&copy)?;
        }
        let digest = sha256(&path)?;
        Ok(Self { path, digest, _folder: Some(folder) })
    }

    /// Where the copy stands.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SHA-256 of the program, in hexadecimal; empty without one.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// Everybody may read and run it, its owner alone change it.
fn open(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
    }
    #[cfg(not(unix))]
    path.metadata().map(|_| ())
}

/// Whether the user that a target runs as may come to a path, with or without anything there yet.
///
/// # Errors
/// A sentence that names the folder that is closed, and what to do.
pub fn passable(path: &Path) -> Result<(), String> {
    match closed_to_others(path) {
        None => Ok(()),
        Some(closed) => Err(format!(
            "the target runs as another user, who may not pass {0}: `chmod o+x {0}`, or clone into \
             a folder that is open to others",
            closed.display()
        )),
    }
}

/// The first folder above a path that the spare uid of a suite run by root may not pass.
#[cfg(unix)]
fn closed_to_others(path: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    super::world::spare_uid()?;
    let closed = |folder: &&Path| {
        std::fs::metadata(folder).is_ok_and(|data| data.permissions().mode() & 0o001 == 0)
    };
    path.ancestors().skip(1).find(closed).map(Path::to_owned)
}

#[cfg(not(unix))]
fn closed_to_others(_: &Path) -> Option<PathBuf> {
    None
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    // Not the portable implementation: programs are large, and debug builds of it are slow.
    let mut hasher = Context::new(&SHA256);
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finish())),
            count => hasher.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

fn beside(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    // Test programs stand one folder further down.
    let folders = own.parent()?.ancestors().take(2);
    folders.map(|folder| folder.join(&name)).find(|path| path.is_file())
}

pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|path| path.is_file())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_closed_folder_is_named_before_anything_is_put_into_it() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("not/there/yet");
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.path(), mode(0o700)).unwrap();
        let found = passable(&below);
        // Only the suite of root starts a target as somebody else.
        assert_eq!(found.is_err(), crate::target::world::spare_uid().is_some());
        if let Err(sentence) = found {
            assert!(sentence.contains(&folder.path().display().to_string()), "{sentence}");
        }
        std::fs::set_permissions(folder.path(), mode(0o711)).unwrap();
        assert_eq!(passable(&below), Ok(()));
    }
}
