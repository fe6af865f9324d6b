//! The text files of the repository, in a fixed order. Knows which folders are built, not written.

use std::path::Path;

use super::File;
use crate::failure::{Failure, io};

/// Built, fetched or private folders, wherever they stand.
const SKIPPED: &[&str] = &[".git", "node_modules", "artifacts"];
/// Where cargo builds, beside the manifest; a folder of this name elsewhere is somebody's room.
const BUILT: &str = "target";
/// Relative paths that git ignores as well.
const IGNORED: &[&str] = &["fuzz/corpus", "attacks/imported"];

/// Every file that is UTF-8 text; the rest is not ours to judge.
///
/// # Errors
/// A folder cannot be read.
pub(super) fn text_files(root: &Path) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    visit(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn visit(folder: &Path, relative: &str, files: &mut Vec<File>) -> Result<(), Failure> {
    let entries =
        std::fs::read_dir(folder).map_err(io(format_args!("list {}", folder.display())))?;
    for entry in entries {
        let entry = entry.map_err(io(format_args!("list {}", folder.display())))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
        let kind = entry.file_type().map_err(io(format_args!("look at {path}")))?;
        if kind.is_dir() {
            let built = name == BUILT && folder.join("Cargo.toml").is_file();
            if !built && !SKIPPED.contains(&name.as_str()) && !IGNORED.contains(&path.as_str()) {
                visit(&entry.path(), &path, files)?;
            }
        } else if kind.is_file()
            && name != ".git"
            && let Ok(text) = std::fs::read_to_string(entry.path())
        {
            files.push(File { path, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_folders_and_binary_files_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write("a.rs", b"//! a");
        write("b/c.md", b"text");
        write("b/d.bin", &[0xff, 0xfe]);
        write("Cargo.toml", b"");
        write("target/e.rs", b"built");
        write("src/target/g.rs", b"//! a room");
        write("fuzz/corpus/f", b"found");
        let files = text_files(folder.path()).unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["Cargo.toml", "a.rs", "b/c.md", "src/target/g.rs"]);
    }
}
