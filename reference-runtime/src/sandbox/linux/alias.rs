//! Other spellings of a protected name. A mount protects the name that it stands on; where the file
//! system finds the same file under another name that the mount does not cover, the protection is
//! none. It looks inside the sandbox, when everything is mounted; it must never mend anything.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// Whether the mount on this path holds for every name of the file.
///
/// # Errors
/// A sentence for the log: it does not, by which name.
pub(super) fn covered(path: &Path) -> Result<(), String> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let Some(own) = identity(path) else { return Ok(()) };
    let past = spellings(name).into_iter().map(|other| folder.join(other)).find(|other| {
        // The same file on another mount: reached without the protection.
        identity(other).is_some_and(|found| found.file == own.file && found.mount != own.mount)
    });
    past.map_or(Ok(()), |other| {
        Err(format!(
            "the file system finds {} as {} too, where its protection does not hold",
            path.display(),
            other.display()
        ))
    })
}

struct Found {
    file: (u32, u32, u64),
    mount: u64,
}

/// Which file it is and on which mount it is reached; none where there is none.
fn identity(path: &Path) -> Option<Found> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
    let file = (found.stx_dev_major, found.stx_dev_minor, found.stx_ino);
    Some(Found { file, mount: found.stx_mnt_id })
}

/// One spelling of each kind that some file system takes for the same name: another case, a sign
/// that is passed over, a short 8.3 name, a dot at the end.
fn spellings(name: &OsStr) -> Vec<PathBuf> {
    let Some(name) = name.to_str() else { return Vec::new() };
    let upper = name.to_ascii_uppercase();
    let (first, rest) = name.split_at(name.char_indices().nth(1).map_or(name.len(), |(at, _)| at));
    let plain: String = upper.chars().filter(char::is_ascii_alphanumeric).collect();
    let mixed: String = name
        .char_indices()
        .map(|(at, sign)| if at % 2 == 0 { sign.to_ascii_uppercase() } else { sign })
        .collect();
    let short: String = plain.chars().take(6).collect();
    let all =
        [upper, mixed, format!("{first}\u{200c}{rest}"), format!("{short}~1"), format!("{name}.")];
    all.into_iter().filter(|other| other != name).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling_of_each_kind() {
        let found = spellings(OsStr::new(".git"));
        let expected = [".GIT", ".gIt", ".\u{200c}git", "GIT~1", ".git."];
        assert!(expected.iter().all(|name| found.contains(&PathBuf::from(name))), "{found:?}");
        assert!(!spellings(OsStr::new("HOOKS")).contains(&PathBuf::from("HOOKS")));
    }

    #[test]
    fn a_name_that_no_other_spelling_finds_is_covered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".git");
        std::fs::create_dir(&path).unwrap();
        assert_eq!(covered(&path), Ok(()));
        // Another file of that name, and the same one on the same mount, are no way past.
        std::fs::write(folder.path().join("config"), "").unwrap();
        std::fs::hard_link(folder.path().join("config"), folder.path().join("CONFIG")).unwrap();
        assert_eq!(covered(&folder.path().join("config")), Ok(()));
    }
}
