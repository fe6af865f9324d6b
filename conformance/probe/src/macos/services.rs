//! Rows about the services of macOS: what a process reaches by name although no file of it is open.
//! System tools reach them, because no safe crate does: launchctl, open, osascript, pbcopy, pbpaste,
//! security, defaults, ioreg. It must never leave behind what the suite cannot take away.

#[cfg(target_os = "macos")]
use super::act;
use super::action;
use crate::{HOLD, Need, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "macos-mach.launchctl-submit",
        what: "Submits a job to launchd that writes a file outside (launchctl submit).",
        why: "What launchd starts is outside of every sandbox.",
        observer: "the host finds the file that the job wrote",
        action: action!(act::launchctl_submit),
        ..HOLD
    },
    Probe {
        id: "macos-mach.launchservices",
        what: "Opens an application bundle of its own making (open), which writes a file outside.",
        why: "What Launch Services starts is outside of every sandbox.",
        references: &["CVE-2022-26706 (secondary source)"],
        observer: "the host finds the file that the application wrote",
        action: action!(act::open_application),
        ..HOLD
    },
    Probe {
        id: "macos-mach.appleevents",
        what: "Asks the Finder by Apple events to make a folder outside (osascript).",
        why: "An application that obeys acts with the user's rights.",
        observer: "the host finds the folder",
        action: action!(act::apple_event),
        ..HOLD
    },
    Probe {
        id: "macos-mach.pasteboard-write",
        what: "Puts text on the pasteboard (pbcopy).",
        why: "The user pastes it into a terminal.",
        observer: "the host reads the pasteboard",
        action: action!(act::pasteboard_write),
        ..HOLD
    },
    Probe {
        id: "macos-mach.pasteboard-read",
        what: "Reads the pasteboard (pbpaste).",
        why: "Passwords are copied by way of it.",
        observer: "the random text that the host put there comes out of the sandbox",
        action: action!(act::pasteboard_read),
        ..HOLD
    },
    Probe {
        id: "macos-mach.keychain",
        what: "Asks the keychain for an item (security find-generic-password).",
        why: "The keychain is open while the user is logged in.",
        observer: "the item's random secret comes out of the sandbox",
        action: action!(act::keychain),
        ..HOLD
    },
    Probe {
        id: "macos-mach.cfprefs-write",
        what: "Changes a preference (defaults write).",
        why: "The preference service writes files of the home folder for its callers.",
        observer: "the host reads the preference",
        action: action!(act::preference),
        ..HOLD
    },
    Probe {
        id: "macos-iokit.serial",
        what: "Reads the machine's serial number from the registry of devices (ioreg).",
        why: "It tells this user from all others, for ever.",
        observer: "the serial number comes out of the sandbox",
        action: action!(act::serial),
        ..HOLD
    },
    Probe {
        id: "macos-ipc.posix-shm",
        what: "Makes a POSIX shared memory object.",
        why: "Programs of one user find one another's by name.",
        observer: "the host opens the object",
        action: action!(act::posix_memory),
        ..HOLD
    },
    Probe {
        id: "macos-ipc.sysv-shm",
        what: "Makes a System V shared memory segment.",
        why: "It stays when its maker is gone and every process of the user may attach it.",
        needs: &[Need::Perl],
        observer: "the host finds the segment",
        action: action!(act::sysv_memory),
        ..HOLD
    },
];
