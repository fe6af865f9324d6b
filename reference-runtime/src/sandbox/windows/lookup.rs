//! Which file a program's name means: an absolute path, or a name in the folders of the tool's own
//! PATH. It must never look in the working folder, and never return a batch file.

use std::path::{Path, PathBuf};

/// The program's file.
///
/// # Errors
/// The reason, for the caller of the tool.
pub(super) fn find(name: &Path, path: &str) -> Result<PathBuf, String> {
    let named = with_ending(name)?;
    if named.is_absolute() {
        return if named.is_file() { Ok(named) } else { Err("no such program".to_owned()) };
    }
    if named.components().count() != 1 {
        return Err("a program is named by its absolute path or by its name alone".to_owned());
    }
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&named))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| "no such program".to_owned())
}

fn with_ending(name: &Path) -> Result<PathBuf, String> {
    let ending = name.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref() {
        Some("exe" | "com") => Ok(name.to_owned()),
        // Their parser reads arguments a second time, as commands.
        Some("bat" | "cmd") => Err("a batch file cannot be run with arguments as data".to_owned()),
        _ => {
            let mut named = name.as_os_str().to_owned();
            named.push(".exe");
            Ok(named.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_in_the_path_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tool.exe"), b"").unwrap();
        let path = folder.path().to_str().unwrap();
        assert_eq!(find(Path::new("tool"), path), Ok(folder.path().join("tool.exe")));
        assert!(find(Path::new("tool"), ".").is_err());
        assert!(find(Path::new(r"sub\tool"), path).is_err());
        assert!(find(Path::new(r"..\tool"), path).is_err());
    }

    #[test]
    fn batch_files_are_refused_in_any_case() {
        for name in ["a.bat", "A.CMD", r"C:\x\a.Bat"] {
            assert!(find(Path::new(name), "").unwrap_err().contains("batch"), "{name}");
        }
    }
}
