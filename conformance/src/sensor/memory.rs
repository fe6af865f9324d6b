//! What stands in another process's memory, read as a debugger would (`/proc/PID/mem`). Linux, and
//! only where the system lets this process look; elsewhere there is no such sensor. It must never
//! write there, nor know what it looks for.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use memchr::memmem::Finder;

/// Bytes that are looked through at a time.
const PIECE: usize = 1 << 20;

/// What one look through a process saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many bytes could be read.
    pub bytes: u64,
    /// For each needle how often it stands there.
    pub counts: Vec<usize>,
}

/// Counts needles in all memory that the process may write to.
///
/// # Errors
/// The process is gone or may not be looked at.
pub fn count(pid: u32, needles: &[Vec<u8>]) -> io::Result<Seen> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let finders: Vec<Finder<'_>> = needles.iter().map(Finder::new).collect();
    let longest = needles.iter().map(Vec::len).max().unwrap_or(0);
    let mut seen = Seen { bytes: 0, counts: vec![0; needles.len()] };
    for (begin, end) in maps.lines().filter_map(writable) {
        region(&memory, begin, end, longest, &finders, &mut seen);
    }
    if seen.bytes == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(seen)
}

/// The addresses of a line of `maps`, if the process may read and write there.
fn writable(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (begin, end) = words.next()?.split_once('-')?;
    words.next()?.starts_with("rw").then_some(())?;
    Some((u64::from_str_radix(begin, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

/// A needle that lies across two pieces is found in the second, which begins with the end of the
/// first; one that lies whole in what is repeated is counted once.
fn region(
    memory: &File,
    begin: u64,
    end: u64,
    longest: usize,
    finders: &[Finder<'_>],
    seen: &mut Seen,
) {
    let mut piece = vec![0; PIECE];
    let (mut at, mut kept): (u64, Vec<u8>) = (begin, Vec::new());
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let buffer = piece.get_mut(..wanted).unwrap_or_default();
        // A page that went away, or that nobody may read, ends the region.
        let Ok(read @ 1..) = memory.read_at(buffer, at) else { return };
        let before = kept.len();
        kept.extend_from_slice(piece.get(..read).unwrap_or_default());
        for (finder, count) in finders.iter().zip(&mut seen.counts) {
            let new = |found: &usize| found + finder.needle().len() > before;
            *count += finder.find_iter(&kept).filter(new).count();
        }
        seen.bytes += read as u64;
        at += read as u64;
        kept.drain(..kept.len().saturating_sub(longest.saturating_sub(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_this_process_holds_and_no_more_once_it_is_wiped() {
        let mut held: Vec<u8> = (0..64_u8).map(|n| n.wrapping_mul(167) ^ 0x5b).collect();
        // The needle is made from its mask, so that it does not itself stand in memory twice.
        let look = |held: &[u8]| {
            let needle: Vec<u8> = held.to_vec();
            count(std::process::id(), &[needle]).unwrap()
        };
        let seen = look(&held);
        assert!(seen.bytes > 100_000 && seen.counts[0] >= 2, "{seen:?}");
        assert_eq!(
            count(std::process::id(), &[b"\0never\xff\xfethere".repeat(9)]).unwrap().counts.len(),
            1
        );
        held.fill(0);
        assert!(count(u32::MAX, &[held]).is_err(), "a process that is not there");
    }

    #[test]
    fn only_writable_regions_are_looked_at() {
        let line = "7f00-8f00 rw-p 00000000 00:00 0 [heap]";
        assert_eq!(writable(line), Some((0x7f00, 0x8f00)));
        assert_eq!(writable("7f00-8f00 r-xp 00000000 08:01 7 /bin/true"), None);
    }
}
