//! What the preparation of a target left in its state folder, kept in memory so that a run prepares
//! once and every further target starts from a copy. It must never hold what a server wrote.

use std::io;
use std::path::{Path, PathBuf};

use super::template::Vars;
use super::world::{World, WorldError};

/// One preparation, shared by all targets of a run.
pub type Once = std::sync::Arc<tokio::sync::OnceCell<Prepared>>;

/// The variables that a preparation uses and that the copies share: the secret that it stored and
/// the password that it stored it under. They are random for each run.
const SHARED: [&str; 2] = ["SECRET", "MASTER"];

/// A folder or file of the state folder: where, with which mode, and what it holds.
#[derive(Clone, Debug)]
struct Entry {
    path: PathBuf,
    mode: u32,
    bytes: Option<Vec<u8>>,
}

/// A prepared state folder.
#[derive(Clone, Debug)]
pub struct Prepared {
    entries: Vec<Entry>,
    vars: Vars,
}

impl Prepared {
    /// Reads what stands in the state folder of a world, and keeps the shared variables.
    ///
    /// # Errors
    /// The folder could not be read.
    pub fn of(world: &World, vars: &Vars) -> Result<Self, WorldError> {
        let state = world.state();
        let mut entries = Vec::new();
        gather(&state, Path::new(""), &mut entries).map_err(WorldError::new("read", &state))?;
        let mut shared = Vars::new();
        for name in SHARED {
            shared.set(name, vars.text(name));
        }
        Ok(Self { entries, vars: shared })
    }

    /// The variables that a copy shares with the target that was prepared.
    #[must_use]
    pub fn vars(&self) -> &Vars {
        &self.vars
    }

    /// Puts a copy into the state folder of a fresh world, each entry with its mode and owner.
    ///
    /// # Errors
    /// An entry could not be made.
    pub fn put(&self, world: &World) -> Result<(), WorldError> {
        let state = world.state();
        for entry in &self.entries {
            let path = state.join(&entry.path);
            match &entry.bytes {
                Some(bytes) => world.write(&path, bytes, entry.mode)?,
                None => {
                    world.make_dir(&path)?;
                    world.set_mode(&path, entry.mode)?;
                }
            }
        }
        Ok(())
    }
}

/// Folders before what they hold. What is neither a folder nor a file cannot be copied.
fn gather(root: &Path, below: &Path, entries: &mut Vec<Entry>) -> io::Result<()> {
    let mut found: Vec<_> = std::fs::read_dir(root.join(below))?.collect::<Result<_, _>>()?;
    found.sort_by_key(std::fs::DirEntry::file_name);
    for entry in found {
        let path = below.join(entry.file_name());
        let metadata = entry.metadata()?;
        let mode = mode_of(&metadata);
        if metadata.is_dir() {
            entries.push(Entry { path: path.clone(), mode, bytes: None });
            gather(root, &path, entries)?;
        } else if metadata.is_file() {
            let bytes = Some(std::fs::read(entry.path())?);
            entries.push(Entry { path, mode, bytes });
        } else {
            let words = format!("{} is neither a file nor a folder", path.display());
            return Err(io::Error::other(words));
        }
    }
    Ok(())
}

#[cfg(unix)]
fn mode_of(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o7777
}

#[cfg(not(unix))]
fn mode_of(_metadata: &std::fs::Metadata) -> u32 {
    0o600
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_modes_and_shared_variables() {
        let (first, second) = (World::new().unwrap(), World::new().unwrap());
        let mut vars = Vars::new();
        vars.set("SECRET", "s").set("MASTER", "m").set("PORT", "1");
        first.write(&first.state().join("vault/a.cred"), b"sealed", 0o600).unwrap();
        first.set_mode(&first.state().join("vault"), 0o700).unwrap();
        first.write(&first.state().join("tokens"), b"t", 0o644).unwrap();
        let prepared = Prepared::of(&first, &vars).unwrap();
        prepared.put(&second).unwrap();
        for name in ["vault", "vault/a.cred", "tokens"] {
            let mode = |world: &World| mode_of(&world.state().join(name).metadata().unwrap());
            assert_eq!(mode(&first), mode(&second), "{name}");
        }
        assert_eq!(std::fs::read(second.state().join("vault/a.cred")).unwrap(), b"sealed");
        assert_eq!(prepared.vars().text("MASTER"), "m");
        assert!(!prepared.vars().has("PORT"));
    }

    #[test]
    fn a_state_folder_that_holds_a_link_is_not_copied() {
        let world = World::new().unwrap();
        std::os::unix::fs::symlink(world.outside(), world.state().join("out")).unwrap();
        assert!(Prepared::of(&world, &Vars::new()).is_err());
    }
}
