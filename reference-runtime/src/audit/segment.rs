//! The names of the log's files: the newest is `audit.jsonl`; a closed one is named by the number of
//! its first record, so that one that is missing is seen. It must never change a file.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::chain::{Broken, LONGEST_LINE, Link};

/// The file that records are appended to.
pub(super) fn newest(folder: &Path) -> PathBuf {
    folder.join("audit.jsonl")
}

/// A closed segment whose first record has this number.
pub(super) fn closed(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("audit-{first:020}.jsonl"))
}

/// The closed segments with the numbers of their first records, in order.
pub(super) fn all(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| {
            name.to_str()?.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse().ok()
        });
        if let Some(first) = number {
            found.push((first, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The last record of the closed segments: where the newest file begins.
pub(super) fn last(folder: &Path) -> Result<Link, Broken> {
    let unreadable = |error: io::Error| Broken::new(1, format!("it cannot be read: {error}"));
    let Some((first, path)) = all(folder).map_err(unreadable)?.pop() else {
        return Ok(Link::default());
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_LINE)))
        .and_then(|_| file.read_to_end(&mut tail))
        .map_err(unreadable)?;
    let broken = |reason: &str| Broken::new(first, reason);
    let lines = tail.strip_suffix(b"\n").ok_or_else(|| broken("its segment is torn"))?;
    let line = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    Link::of(line).filter(|link| link.records >= first).ok_or_else(|| broken("it was changed"))
}

/// The last lines of the log, oldest first, at most `count`.
///
/// # Errors
/// A file cannot be read.
pub fn tail(state: &Path, count: usize) -> io::Result<Vec<String>> {
    let folder = state.join("audit");
    let mut found: VecDeque<String> = VecDeque::new();
    let closed = all(&folder)?.into_iter().rev().map(|(_, path)| path);
    for path in [newest(&folder)].into_iter().chain(closed) {
        let mut lines = VecDeque::new();
        for line in BufReader::new(File::open(path)?).lines() {
            lines.push_back(line?);
            if lines.len() + found.len() > count {
                lines.pop_front();
            }
        }
        lines.append(&mut found);
        found = lines;
        if found.len() >= count {
            break;
        }
    }
    Ok(found.into())
}
