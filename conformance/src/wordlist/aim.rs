//! What the lines of a list would reach: aimed at the canary of this run where they name a file that
//! every list names, and looked up as a program without any defence would open them. It must never
//! open what a line names, but to look into regular files for something to recognise them by.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::target::process::contains;

/// Files that lists are aimed at, below `etc`.
const NAMES: [&[u8]; 7] =
    [b"passwd", b"shadow", b"group", b"hosts", b"issue", b"motd", b"hostname"];
/// The placeholder that lists put where a file is to be named.
const PLACEHOLDER: &[u8] = b"{FILE}";
/// The longest separator between `etc` and the name, however it is encoded.
const SEPARATOR: usize = 24;
/// Files of the host whose lines are known, besides those that a list is seen to reach.
const HOST_FILES: &[&str] = &[
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/issue",
    "/etc/os-release",
    "/etc/fstab",
    "/etc/shadow",
    "/proc/version",
    "/proc/cpuinfo",
    "C:/Windows/system.ini",
    "C:/Windows/win.ini",
    "C:/Windows/System32/drivers/etc/hosts",
];
/// The most files that are looked into, and the largest.
const MOST_FILES: usize = 300;
const LARGEST: u64 = 1_000_000;

/// A line aimed at the canary, in the spelling of its own separator; none where it names no file
/// that can be exchanged.
pub(super) fn aimed(payload: &[u8], canary: &Path) -> Option<Vec<u8>> {
    let below = below_root(canary);
    let parts: Vec<&[u8]> = below.iter().map(OsStr::as_encoded_bytes).collect();
    if let Some((before, after)) = around(payload, PLACEHOLDER) {
        return Some([before, &parts.join(b"/".as_slice()), after].concat());
    }
    let lower = payload.to_ascii_lowercase();
    let mut from = 0;
    while let Some(at) = find(lower.get(from..)?, b"etc").map(|at| at + from) {
        let behind = at + 3;
        let window = lower.get(behind..)?;
        let window = window.get(..SEPARATOR + 8).unwrap_or(window);
        let found = NAMES.iter().filter_map(|name| Some((find(window, name)?, name.len()))).min();
        // A separator begins with no letter: `etcetera` is no folder.
        let separated = window.first().is_some_and(|byte| !byte.is_ascii_alphanumeric());
        if let Some((gap @ 1..=SEPARATOR, length)) = found.filter(|_| separated) {
            let separator = payload.get(behind..behind + gap)?;
            let rest = payload.get(behind + gap + length..)?;
            return Some([payload.get(..at)?, &parts.join(separator), rest].concat());
        }
        from = behind;
    }
    None
}

/// A path from its root on: a drive has no place inside a path.
pub(super) fn below_root(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn around<'a>(bytes: &'a [u8], wanted: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = find(bytes, wanted)?;
    Some((bytes.get(..at)?, bytes.get(at + wanted.len()..)?))
}

/// The place outside the workspace that a program without any defence would open for a line.
pub(super) fn reached(workspace: &Path, payload: &[u8]) -> Option<PathBuf> {
    let path = workspace.join(path_of(payload)?);
    let place = dunce::canonicalize(path).ok()?;
    (!place.starts_with(workspace)).then_some(place)
}

#[cfg(unix)]
fn path_of(payload: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    Some(PathBuf::from(OsStr::from_bytes(payload)))
}

#[cfg(not(unix))]
fn path_of(payload: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(payload).ok().map(PathBuf::from)
}

/// Lines by which the content of a file outside is recognised, with the file.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<(String, String)>);

impl Marks {
    /// Of the host's well-known files and of those that the lines of a list reach.
    pub(super) fn of(reached: &[PathBuf], world: &Path) -> Self {
        let mut files: BTreeMap<PathBuf, ()> = BTreeMap::new();
        files.extend(HOST_FILES.iter().map(|path| (PathBuf::from(path), ())));
        let foreign = reached.iter().filter(|path| !path.starts_with(world));
        files.extend(foreign.take(MOST_FILES).map(|path| (path.clone(), ())));
        let mut marks = Vec::new();
        for path in files.keys() {
            let regular =
                std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= LARGEST);
            let known = HOST_FILES.iter().any(|it| Path::new(it) == path);
            // A file of /proc says that it is empty, and may wait for ever.
            if regular && (known || !path.starts_with("/proc") && !path.starts_with("/sys")) {
                let content = std::fs::read(path).unwrap_or_default();
                let content = String::from_utf8_lossy(&content);
                let mut lines: Vec<&str> =
                    content.lines().map(str::trim).filter(|line| line.len() >= 16).collect();
                lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
                let lines = lines.iter().take(3).map(|line| line.chars().take(60).collect());
                marks.extend(lines.map(|line: String| (path.display().to_string(), line)));
            }
        }
        Self(marks)
    }

    /// The file outside whose content stands in a text that came back for a line.
    pub(super) fn found(&self, text: &str, payload: &[u8]) -> Option<&str> {
        let marks = self.0.iter().filter(|(_, mark)| text.contains(mark.as_str()));
        marks
            .filter(|(_, mark)| !contains(payload, mark.as_bytes()))
            .map(|(file, _)| file.as_str())
            .next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aimed_in_their_own_spelling() {
        let canary = Path::new("/tmp/cw-1/outside/k");
        for (line, expected) in [
            ("../../etc/passwd", "../../tmp/cw-1/outside/k"),
            ("..%2f..%2fetc%2fpasswd%00.png", "..%2f..%2ftmp%2fcw-1%2foutside%2fk%00.png"),
            ("..\\..\\ETC\\Passwd", "..\\..\\tmp\\cw-1\\outside\\k"),
            ("..%c0%af{FILE}", "..%c0%aftmp/cw-1/outside/k"),
            ("/sketch/etc/issue", "/sketch/tmp/cw-1/outside/k"),
        ] {
            let aimed = aimed(line.as_bytes(), canary).map(|it| String::from_utf8(it).unwrap());
            assert_eq!(aimed.as_deref(), Some(expected));
        }
        for line in ["../../boot.ini", "etcetera", "etc", "etcpasswd", "passwd"] {
            assert_eq!(aimed(line.as_bytes(), canary), None, "{line}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_an_open_without_defence_reaches_is_known_and_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("workspace")).unwrap();
        std::fs::write(root.join("k"), "a line that stands nowhere else\n").unwrap();
        let workspace = root.join("workspace");
        assert_eq!(reached(&workspace, b"../k"), Some(root.join("k")));
        for line in [&b"k"[..], b"..%2fk", b"../k\0", b"."] {
            assert_eq!(reached(&workspace, line), None);
        }
        let marks = Marks::of(&[root.join("k")], &workspace);
        let file = marks.found("it says: a line that stands nowhere else", b"../k");
        assert_eq!(file.map(Path::new), Some(root.join("k").as_path()));
        assert_eq!(marks.found("nothing", b"../k"), None);
        assert_eq!(
            marks.found("a line that stands nowhere else", b"a line that stands nowhere else"),
            None
        );
    }
}
