//! Probes of the machine below the kernel's face: other entries into it, as a tiny program of a few
//! instructions that the probe writes and starts, and the dynamic loader. It must never know which
//! filter stands in the way.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::helper::program_of;
use crate::kernel::stand;
use crate::{Expect, HOLD, Need, Params, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "kern.compat-int80",
        what: "Makes a file by the 32-bit entry into the kernel (int 0x80).",
        why: "Its numbers mean other calls, so a filter by number alone lets them through.",
        relaxed: Expect::HoldOrDegraded,
        needs: &[Need::X86],
        observer: "the host looks for the file in the workspace",
        action: |params| enter(params, Entry::Compat),
        ..HOLD
    },
    Probe {
        id: "kern.x32",
        what: "Makes a file by a call number of the x32 interface.",
        why: "The numbers above 0x40000000 are the same calls under other numbers.",
        relaxed: Expect::HoldOrDegraded,
        needs: &[Need::X86],
        observer: "the host looks for the file in the workspace",
        action: |params| enter(params, Entry::X32),
        ..HOLD
    },
    Probe {
        id: "kern.ld-preload",
        what: "Stands still while the libraries in its memory are looked at.",
        why: "A library that the environment names runs in the launcher's helper before any limit.",
        needs: &[Need::Launch],
        observer: "the library in /proc/<pid>/maps, read from outside",
        action: stand,
        ..HOLD
    },
];

#[derive(Clone, Copy)]
enum Entry {
    Compat,
    X32,
}

/// ENOSYS.
const NO_SUCH_CALL: i32 = 38;
/// Where the program is loaded: below 4 GB, so that a pointer fits in 32 bits.
const BASE: u32 = 0x40_0000;
/// The headers of an ELF program with one segment.
const HEADERS: u32 = 64 + 56;

/// open(path, O_WRONLY | O_CREAT, 0644), then exit with the error's number, as machine code.
fn code(entry: Entry, path: u32) -> Vec<u8> {
    let path = path.to_le_bytes();
    let parts: &[&[u8]] = match entry {
        Entry::Compat => &[
            &[0xb8, 5, 0, 0, 0, 0xbb],
            &path,
            &[0xb9, 0x41, 0, 0, 0, 0xba, 0xa4, 1, 0, 0, 0xcd, 0x80],
            &[0x89, 0xc3, 0xf7, 0xdb, 0xb8, 1, 0, 0, 0, 0xcd, 0x80],
        ],
        Entry::X32 => &[
            &[0xb8, 2, 0, 0, 0x40, 0xbf],
            &path,
            &[0xbe, 0x41, 0, 0, 0, 0xba, 0xa4, 1, 0, 0, 0x0f, 0x05],
            &[0x89, 0xc7, 0xf7, 0xdf, 0xb8, 60, 0, 0, 0, 0x0f, 0x05],
        ],
    };
    parts.concat()
}

/// A whole program: headers, code, and the path behind it.
fn program(entry: Entry, path: &[u8]) -> Vec<u8> {
    let length = u32::try_from(code(entry, 0).len()).unwrap_or(0);
    let text = code(entry, BASE + HEADERS + length);
    let size = u64::from(HEADERS + length) + path.len() as u64 + 1;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for word in [u64::from(BASE + HEADERS), 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // One segment: load, readable and executable.
    for word in [1_u32, 5] {
        file.extend(word.to_le_bytes());
    }
    for word in [0, u64::from(BASE), u64::from(BASE), size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(text);
    file.extend(path);
    file.push(0);
    file
}

fn enter(params: &Params, entry: Entry) -> io::Result<String> {
    use std::os::unix::ffi::OsStrExt as _;
    let place = params.workspace.join("entry");
    std::fs::write(&place, program(entry, params.target()?.as_os_str().as_bytes()))?;
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755))?;
    let status = program_of(&place).stdin(Stdio::null()).status().map_err(|error| {
        io::Error::new(io::ErrorKind::Unsupported, format!("the program does not start: {error}"))
    })?;
    if params.target()?.exists() {
        return Ok("made the file".into());
    }
    match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
        (Some(number @ 1..), _) => Err(io::Error::from_raw_os_error(number)),
        // A processor or kernel without that entry sees a fault of the program.
        (None, Some(11)) => Err(io::Error::from_raw_os_error(NO_SUCH_CALL)),
        _ => Err(io::Error::other(format!("it ended with {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_stands_where_the_code_points() {
        for entry in [Entry::Compat, Entry::X32] {
            let file = program(entry, b"/tmp/x");
            let at = HEADERS as usize + 6;
            let pointer = u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            let offset = (pointer - BASE) as usize;
            assert_eq!(&file[offset..offset + 7], b"/tmp/x\0");
            assert_eq!(file.len(), offset + 7);
        }
    }
}
