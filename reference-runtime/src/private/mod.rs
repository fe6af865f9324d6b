//! Files and folders that are their owner's alone: made so from the first byte on, and looked at
//! through the open handle before they are believed. Unix has modes for it, Windows access lists.
//! It must never follow a link at the end of a path, and never know what a file holds.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::{io, path::Path};

#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;

/// Makes a folder, and those above it that are missing, each for its owner alone. One that is there
/// is left as it is.
///
/// # Errors
/// Something else has the name, or one cannot be made.
pub fn create_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() || path == Path::new("") {
        return Ok(());
    }
    path.parent().map_or(Ok(()), create_folders)?;
    match create_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        io::Write as _,
    };

    use super::*;

    #[test]
    fn what_is_made_here_is_its_owners_alone() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("above/folder");
        create_folders(&folder).unwrap();
        create_folders(&folder).unwrap();
        assert!(is_owners(&open_folder(folder.parent().unwrap()).unwrap()).unwrap());
        let again = create_folder(&folder).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert!(is_owners(&open_folder(&folder).unwrap()).unwrap());
        let path = folder.join("file");
        create(&path).unwrap().write_all(b"secret").unwrap();
        assert!(create(&path).is_err(), "a file that is there is not taken over");
        let file = open(OpenOptions::new().read(true), &path).unwrap();
        assert!(is_owners(&file).unwrap() && is_single(&file).unwrap());
        assert!(open_folder(&path).is_err());
        sync_folder(&folder).unwrap();
    }

    #[test]
    fn what_others_may_read_is_not() {
        #[cfg(unix)]
        let open_to_all = std::path::PathBuf::from("/etc/passwd");
        #[cfg(windows)]
        let open_to_all = std::env::var_os("SystemRoot")
            .map(|root| Path::new(&root).join("System32/kernel32.dll"))
            .unwrap();
        let file = open(OpenOptions::new().read(true), &open_to_all).unwrap();
        assert!(!is_owners(&file).unwrap_or(false));
    }

    #[test]
    fn a_second_name_and_another_file_under_the_name_are_seen() {
        let top = tempfile::tempdir().unwrap();
        let (path, second) = (top.path().join("file"), top.path().join("second"));
        create(&path).unwrap();
        let file = open(OpenOptions::new().read(true), &path).unwrap();
        assert!(is_single(&file).unwrap() && names(&path, &file));
        fs::hard_link(&path, &second).unwrap();
        assert!(!is_single(&file).unwrap() && names(&second, &file));
        fs::rename(&path, top.path().join("moved")).unwrap();
        assert!(!names(&path, &file));
        create(&path).unwrap();
        assert!(!names(&path, &file), "another file has the name now");
    }
}
