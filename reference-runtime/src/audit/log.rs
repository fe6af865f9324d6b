//! The files of the log: `audit/audit.jsonl`, the older segments beside it, and `audit/head`, which
//! says where the log ended when the last record was acknowledged, so that a cut end is seen. Several
//! processes may append: each batch is written under the lock of `head`, after what others wrote was
//! read. It must never write behind a record that it has not checked.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    Rejection, Verified,
    chain::{Broken, LONGEST_LINE, Link},
    encode::Middle,
    segment,
};
use crate::{private, requirement};

const UNWRITABLE: &str = "the audit log cannot be written";
/// Room for lines that is kept from one batch to the next, in bytes.
const KEPT: usize = 256 << 10;
const CHANGED: &str = "the audit log was changed";

/// The open files and the place up to which they are known.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    file: File,
    head: File,
    /// The last record that was read or written.
    link: Link,
    /// The number of the first record of the open file.
    first: u64,
    /// Bytes of the open file that `link` covers.
    length: u64,
    /// A file that has this many bytes is closed, and a new one begun.
    limit: u64,
    /// Room for the lines of a batch.
    lines: String,
}

impl Log {
    /// Opens or creates the files (0600, in a 0700 folder), checks the chain of the newest segment
    /// and how it hangs on the one before it, and drops a last line that a crash tore: it was never
    /// acknowledged. Older segments are `verify`'s matter.
    pub(super) fn open(state: &Path, limit: u64) -> Result<Self, Rejection> {
        let folder = state.join("audit");
        create_folder(&folder).map_err(unwritable)?;
        let head = own(&folder.join("head")).map_err(unwritable)?;
        head.lock().map_err(unwritable)?;
        let link = segment::last(&folder).map_err(changed)?;
        let file = own(&segment::newest(&folder)).map_err(unwritable)?;
        unlock(&head).map_err(unwritable)?;
        let first = link.records + 1;
        let lines = String::new();
        let mut log = Self { folder, file, head, link, first, length: 0, limit, lines };
        log.locked(|log| {
            let promised = read_head(&log.head).map_err(changed)?;
            log.catch_up(promised.as_ref())
        })?;
        Ok(log)
    }

    /// Appends one line for each middle, as one write. All of them say the time of that.
    pub(super) fn append(&mut self, middles: &[Middle]) -> Result<(), Rejection> {
        self.locked(|log| {
            log.catch_up(None)?;
            if log.length >= log.limit {
                log.rotate().map_err(unwritable)?;
            }
            let mut link = log.link.clone();
            let time = format!("{:.6}", jiff::Timestamp::now());
            let mut lines = std::mem::take(&mut log.lines);
            lines.clear();
            for middle in middles {
                link.append(&mut lines, &time, |out| middle.write(out));
            }
            let written = log.write(&lines, &link);
            if written.is_err() {
                // Half a line would break the chain for good. If even this fails, the next
                // batch finds the torn line and drops it, or refuses.
                let _ = log.file.set_len(log.length);
            } else {
                log.length += lines.len() as u64;
                log.link = link;
            }
            lines.shrink_to(KEPT);
            log.lines = lines;
            written.map_err(unwritable)
        })
    }

    /// Makes what was appended survive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.head.sync_data()
    }

    fn locked<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        self.head.lock().map_err(unwritable)?;
        let done = work(self);
        unlock(&self.head).map_err(unwritable)?;
        done
    }

    fn write(&mut self, lines: &str, link: &Link) -> io::Result<()> {
        write_at(&self.file, lines.as_bytes(), self.length)?;
        // The head goes last: a head without its record would look like a cut log.
        write_at(&self.head, head_line(link).as_bytes(), 0)
    }

    /// Closes the open file under the number of its first record and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let newest = segment::newest(&self.folder);
        fs::rename(&newest, segment::closed(&self.folder, self.first))?;
        self.file = own(&newest)?;
        (self.first, self.length) = (self.link.records + 1, 0);
        private::sync_folder(&self.folder)
    }

    /// Reads what others appended, and checks that nobody took the files away or cut them.
    fn catch_up(&mut self, promised: Option<&Link>) -> Result<(), Rejection> {
        let newest = segment::newest(&self.folder);
        loop {
            let length = self.file.metadata().map_err(unwritable)?.len();
            // A log that was moved away is written by nobody.
            let current = private::names(&newest, &self.file);
            if !current && !private::names(&segment::closed(&self.folder, self.first), &self.file) {
                let cause = format!("{} is not the file that was opened", newest.display());
                return Err(requirement::ERROR_DENY.refuse(UNWRITABLE, cause));
            }
            if length < self.length {
                return Err(changed(missing_end(&self.link)));
            }
            if length > self.length || promised.is_some() {
                self.read_on(promised, current)?;
            }
            if current {
                break;
            }
            // Another process closed the segment: on with the next.
            (self.first, self.length) = (self.link.records + 1, 0);
            let next = segment::closed(&self.folder, self.first);
            self.file =
                if next.exists() { own(&next) } else { own(&newest) }.map_err(unwritable)?;
        }
        match promised {
            Some(promised) if promised.records > self.link.records => {
                Err(changed(missing_end(&self.link)))
            }
            _ => Ok(()),
        }
    }

    fn read_on(&mut self, promised: Option<&Link>, current: bool) -> Result<(), Rejection> {
        self.file.seek(SeekFrom::Start(self.length)).map_err(unwritable)?;
        let mut reader = BufReader::new(&self.file);
        let read = read_lines(&mut reader, &mut self.link, promised).map_err(changed)?;
        self.length += read.bytes;
        if read.torn && !current {
            return Err(changed(Broken::new(self.link.records + 1, "the line is torn")));
        }
        if read.torn {
            self.file.set_len(self.length).map_err(unwritable)?;
        }
        Ok(())
    }
}

/// Reads the log of a state folder, all of its segments, and checks its chain from the first record
/// to the head.
///
/// # Errors
/// The first place at which it is not as it was written.
pub fn verify(state: &Path) -> Result<Verified, Broken> {
    if !requirement::AUDIT_INTEGRITY.enforced() {
        return Ok(Verified { records: 0, head: "0".repeat(64) });
    }
    let folder = state.join("audit");
    let unreadable = |error: io::Error| Broken::new(1, format!("it cannot be read: {error}"));
    let head = File::open(folder.join("head")).map_err(unreadable)?;
    head.lock_shared().map_err(unreadable)?;
    let promised = read_head(&head)?;
    let mut link = Link::default();
    let closed = segment::all(&folder).map_err(unreadable)?;
    let files = closed.into_iter().map(|(first, path)| (Some(first), path));
    for (first, path) in files.chain([(None, segment::newest(&folder))]) {
        if first.is_some_and(|first| first != link.records + 1) {
            return Err(Broken::new(link.records + 1, "a segment of the log is missing"));
        }
        let file = File::open(path).map_err(unreadable)?;
        let read = read_lines(&mut BufReader::new(&file), &mut link, promised.as_ref())?;
        if read.torn {
            return Err(Broken::new(link.records + 1, "the last line is torn"));
        }
    }
    match promised {
        None if link.records > 0 => Err(Broken::new(link.records, "the head is missing")),
        Some(promised) if promised.records > link.records => Err(missing_end(&link)),
        _ => Ok(Verified { records: link.records, head: link.hash }),
    }
}

fn missing_end(link: &Link) -> Broken {
    Broken::new(link.records + 1, "the end of the log is missing")
}

/// What was read: bytes of whole lines, and whether a part of a line came after them.
struct Lines {
    bytes: u64,
    torn: bool,
}

/// Follows the chain to the end of the reader. Where the record stands that the head names, it must
/// be that one.
fn read_lines(
    reader: &mut impl BufRead,
    link: &mut Link,
    promised: Option<&Link>,
) -> Result<Lines, Broken> {
    let mut read = Lines { bytes: 0, torn: false };
    let mut line = Vec::new();
    let differs = |link: &Link| {
        promised.is_some_and(|head| head.records == link.records && head.hash != link.hash)
    };
    loop {
        line.clear();
        let taken = reader
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|error| Broken::new(link.records + 1, error.to_string()))?;
        let Some(record) = line.strip_suffix(b"\n") else {
            if line.len() as u64 == LONGEST_LINE {
                return Err(Broken::new(link.records + 1, "the line is too long"));
            }
            read.torn = taken > 0;
            break;
        };
        link.follow(record)?;
        read.bytes += taken as u64;
        if differs(link) {
            return Err(Broken::new(link.records, "it is not the record that the head names"));
        }
    }
    Ok(read)
}

/// Fixed in length, so that one write replaces it.
fn head_line(link: &Link) -> String {
    format!("{:020} {}\n", link.records, link.hash)
}

/// The head; none if nothing was ever acknowledged.
fn read_head(mut head: &File) -> Result<Option<Link>, Broken> {
    let broken = |reason: String| Broken::new(1, format!("the head cannot be read: {reason}"));
    let mut text = String::new();
    head.rewind()
        .and_then(|()| head.take(4096).read_to_string(&mut text))
        .map_err(|error| broken(error.to_string()))?;
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.trim_end().split_once(' ').and_then(|(records, hash)| {
        Some(Link { records: records.parse().ok()?, hash: hash.to_owned() })
    });
    match parsed {
        Some(link) if head_line(&link) == text => Ok(Some(link)),
        _ => Err(broken("it is damaged".into())),
    }
}

fn unwritable(error: io::Error) -> Rejection {
    requirement::ERROR_DENY.refuse(UNWRITABLE, error.to_string())
}

fn changed(broken: Broken) -> Rejection {
    requirement::AUDIT_INTEGRITY.refuse(CHANGED, broken.to_string())
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use io::Write as _;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

fn create_folder(folder: &Path) -> io::Result<()> {
    match private::create_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            private::open_folder(folder).map(drop)
        }
        made => made,
    }
}

fn own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = private::open(options, path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Gives a lock back. On Windows the standard library asks twice, for a shared lock too; Wine answers
/// the second time, when nothing is locked any more, with "lock violation" where Windows says "not
/// locked" (Wine bug 59711), which says no more than that the lock is gone.
fn unlock(head: &File) -> io::Result<()> {
    const LOCK_VIOLATION: i32 = 33;
    match head.unlock() {
        Err(error) if cfg!(windows) && error.raw_os_error() == Some(LOCK_VIOLATION) => Ok(()),
        unlocked => unlocked,
    }
}
