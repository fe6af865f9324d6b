//! The content of a plugin's folder: read once, digested, and written again from memory for each
//! start, so that a change of the folder after it was accepted has no effect. It must never know
//! what the files mean.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{audit::Rejection, requirement::ERROR_DENY};

/// The most files of one plugin, and bytes of all of them.
const MOST_FILES: usize = 1_000;
const MOST_BYTES: u64 = 32_000_000;
/// The deepest folder.
const DEEPEST: usize = 16;

/// What a folder held when it was read.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    folder: PathBuf,
    /// By path relative to the folder, with `/` between names.
    files: BTreeMap<String, Vec<u8>>,
}

impl Bundle {
    /// Reads a folder.
    ///
    /// # Errors
    /// `error.deny`: it cannot be read, holds what is neither file nor folder, or too much.
    pub(super) fn read(folder: &Path) -> Result<Self, Rejection> {
        let mut bundle = Self { folder: folder.to_owned(), files: BTreeMap::new() };
        let mut room = MOST_BYTES;
        bundle.gather(folder, "", 0, &mut room).map_err(|error| {
            let cause = format!("{}: {error}", folder.display());
            ERROR_DENY.refuse("the folder of a plugin cannot be used", cause)
        })?;
        Ok(bundle)
    }

    fn gather(
        &mut self,
        folder: &Path,
        prefix: &str,
        depth: usize,
        room: &mut u64,
    ) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!("folders stand deeper than {DEEPEST}")));
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name =
                name.to_str().ok_or_else(|| io::Error::other("a file name is not Unicode"))?;
            let (path, name) = (entry.path(), format!("{prefix}{name}"));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.gather(&path, &format!("{name}/"), depth + 1, room)?;
            } else if kind.is_file() {
                let mut content = Vec::new();
                fs::File::open(&path)?.take(*room + 1).read_to_end(&mut content)?;
                *room = room.checked_sub(content.len() as u64).ok_or_else(|| {
                    io::Error::other(format!("it holds more than {MOST_BYTES} bytes"))
                })?;
                self.files.insert(name, content);
                if self.files.len() > MOST_FILES {
                    return Err(io::Error::other(format!("it holds more than {MOST_FILES} files")));
                }
            } else {
                return Err(io::Error::other(format!("{name} is neither a file nor a folder")));
            }
        }
        Ok(())
    }

    /// Where it was read.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The bytes of a file.
    pub(super) fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The SHA-256 of names and contents, each with its length before it, in the order of the names.
    pub(super) fn digest(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(b"clawproof plugin 1\n");
        for (name, content) in &self.files {
            for part in [name.as_bytes(), content] {
                digest.update((part.len() as u64).to_be_bytes());
                digest.update(part);
            }
        }
        hex::encode(digest.finalize())
    }

    /// Writes everything into a folder that does not exist yet, readable by its owner alone.
    pub(super) fn write(&self, into: &Path, owner: Option<u32>) -> io::Result<()> {
        make_folder(into, owner)?;
        for (name, content) in &self.files {
            let mut place = into.to_owned();
            let mut parts = name.split('/').peekable();
            while let Some(part) = parts.next() {
                place.push(part);
                if parts.peek().is_some() && !place.is_dir() {
                    make_folder(&place, owner)?;
                }
            }
            fs::write(&place, content)?;
            give(&place, 0o400, owner)?;
        }
        Ok(())
    }
}

/// Makes a folder that only its owner may enter; it must not exist.
pub(super) fn make_folder(path: &Path, owner: Option<u32>) -> io::Result<()> {
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(path)?;
    #[cfg(not(unix))]
    fs::create_dir(path)?;
    give(path, 0o700, owner)
}

/// Sets mode and owner.
pub(super) fn give(path: &Path, mode: u32, owner: Option<u32>) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        if let Some(uid) = owner {
            std::os::unix::fs::lchown(path, Some(uid), Some(uid))?;
        }
    }
    #[cfg(not(unix))]
    let _ = (path, mode, owner);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        fs::create_dir(folder.path().join("lib")).unwrap();
        fs::write(folder.path().join("lib/b"), "2").unwrap();
        folder
    }

    #[test]
    fn the_digest_changes_with_every_name_and_byte_and_with_nothing_else() {
        let one = folder();
        let digest = Bundle::read(one.path()).unwrap().digest();
        assert_eq!(Bundle::read(folder().path()).unwrap().digest(), digest);
        fs::write(one.path().join("lib/b"), "3").unwrap();
        assert_ne!(Bundle::read(one.path()).unwrap().digest(), digest);
        fs::write(one.path().join("lib/b"), "2").unwrap();
        fs::rename(one.path().join("a"), one.path().join("c")).unwrap();
        assert_ne!(Bundle::read(one.path()).unwrap().digest(), digest);
    }

    #[test]
    fn what_is_written_is_what_was_read_whatever_became_of_the_folder() {
        let one = folder();
        let bundle = Bundle::read(one.path()).unwrap();
        fs::write(one.path().join("a"), "changed").unwrap();
        let place = tempfile::tempdir().unwrap();
        let into = place.path().join("copy");
        bundle.write(&into, None).unwrap();
        assert_eq!(Bundle::read(&into).unwrap().digest(), bundle.digest());
        assert!(bundle.write(&into, None).is_err(), "a folder that is there already is not used");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_folder_is_refused() {
        let one = folder();
        std::os::unix::fs::symlink("/etc/passwd", one.path().join("link")).unwrap();
        assert_eq!(Bundle::read(one.path()).unwrap_err().requirement(), ERROR_DENY);
    }
}
