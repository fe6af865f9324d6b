//! What the host's /proc says of a process that may be inside a sandbox. Never asks the process.

use std::fs;
use std::path::Path;

use crate::target::process::contains;

/// A process that carries a run's mark in its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    pub(crate) pid: u32,
    pub(crate) argv: Vec<String>,
}

impl Marked {
    /// Whether it is the probe itself, neither a launcher around it nor a child of it.
    pub(crate) fn is_probe(&self) -> bool {
        let program = self.argv.first().map(Path::new).and_then(Path::file_name);
        let role = self.argv.get(1).map_or("", String::as_str);
        program.is_some_and(|name| name == super::PROGRAM) && !role.starts_with('@')
    }

    /// Whether it is a child of the probe in that role.
    pub(crate) fn is(&self, role: &str) -> bool {
        self.argv.get(1).is_some_and(|word| word == role)
    }

    /// Whether it runs this program.
    pub(crate) fn runs(&self, name: &str) -> bool {
        let program = self.argv.first().map(Path::new).and_then(Path::file_name);
        program.is_some_and(|found| found == name)
    }
}

/// The live processes whose arguments hold the mark.
pub(crate) fn marked(token: &str) -> Vec<Marked> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            contains(&bytes, token.as_bytes()).then(|| {
                let words = bytes.split(|byte| *byte == 0);
                let argv = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
                Marked { pid, argv }
            })
        })
        .collect()
}

/// A field of `/proc/<pid>/status`.
pub(crate) fn status(pid: u32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name == field).then(|| value.trim().to_owned())
    })
}

/// A number of kilobytes in `/proc/<pid>/status`, in bytes.
pub(crate) fn size(pid: u32, field: &str) -> Option<u64> {
    let value = status(pid, field)?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Whether a signal is pending at the process or one of its threads.
pub(crate) fn pending(pid: u32, signal: u32) -> bool {
    ["SigPnd", "ShdPnd"].into_iter().any(|field| {
        let mask = status(pid, field).and_then(|text| u64::from_str_radix(&text, 16).ok());
        mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
    })
}

/// The soft and hard value of a limit in `/proc/<pid>/limits`; `None` for one is "unlimited".
pub(crate) fn limit(pid: u32, name: &str) -> Option<[Option<u64>; 2]> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = line.split_whitespace().map(|word| word.parse::<u64>().ok());
    Some([words.next()?, words.next()?])
}

/// The namespace of a process, such as `user:[4026531837]`.
pub(crate) fn namespace(pid: u32, kind: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Whether the process has a descriptor whose link holds this text; `None` if that is not shown.
pub(crate) fn has_descriptor(pid: u32, text: &str) -> Option<bool> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(entries.flatten().any(|entry| {
        fs::read_link(entry.path()).is_ok_and(|link| link.to_string_lossy().contains(text))
    }))
}

/// The kinds of the sockets that a process holds, such as `RAW` or `UNIX-STREAM`.
pub(crate) fn sockets(pid: u32) -> Option<Vec<String>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let kind = |path: std::path::PathBuf| {
        fs::read_link(&path).ok().filter(|link| link.to_string_lossy().starts_with("socket:"))?;
        let mut buffer = [0_u8; 64];
        let count = rustix::fs::getxattr(&path, "system.sockprotoname", &mut buffer).ok()?;
        let name = buffer.get(..count).unwrap_or_default();
        Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
    };
    Some(entries.flatten().filter_map(|entry| kind(entry.path())).collect())
}

/// Whether a process holds a file open whose path ends with one of these, for writing if asked.
/// Another process's view may show the path only from its file system's root on.
pub(crate) fn holds_open(pid: u32, tails: &[&str], writing: bool) -> Option<bool> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let matches = |path: &Path| -> Option<bool> {
        let link = fs::read_link(path).ok()?;
        let link = link.to_string_lossy();
        let number = path.file_name()?.to_str()?;
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
        Some(tails.iter().any(|tail| link.ends_with(tail)) && (!writing || flags & 3 != 0))
    };
    Some(entries.flatten().any(|entry| matches(&entry.path()) == Some(true)))
}

/// The options of a mount point in a process's view; of the topmost if several lie there.
pub(crate) fn mount_options(pid: u32, place: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
    let line = text.lines().rev().find(|line| line.split(' ').nth(4) == Some(place))?;
    line.split(' ').nth(5).map(str::to_owned)
}

/// The tightest memory bound on the cgroups of a process, in bytes (cgroup v2; none elsewhere).
pub(crate) fn memory_bound(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut folder = Path::new("/sys/fs/cgroup").join(path);
    let mut least = None;
    while folder.starts_with("/sys/fs/cgroup") {
        let bound = fs::read_to_string(folder.join("memory.max")).ok();
        let bound = bound.and_then(|text| text.trim().parse::<u64>().ok());
        least = [least, bound].into_iter().flatten().min();
        if !folder.pop() {
            break;
        }
    }
    least
}

/// Kills one process by its pid.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// The beginning of a file that a probe may have written; nothing where it is no plain file.
pub(super) fn plain_file(path: &Path, limit: u64) -> Vec<u8> {
    use rustix::fs::{Mode, OFlags};
    use std::io::Read as _;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut bytes = Vec::new();
    if let Ok(opened) = rustix::fs::open(path, flags, Mode::empty()) {
        let file = fs::File::from(opened);
        if file.metadata().is_ok_and(|data| data.is_file()) {
            let _ = file.take(limit).read_to_end(&mut bytes);
        }
    }
    bytes
}
