//! Rows about files on Windows: aliases of a name, links of three kinds, and folders that are open
//! to more than the user. It must never know where a canary lies.

#[cfg(windows)]
use super::act;
use super::action;
#[cfg(windows)]
use crate::portable;
use crate::{Expect, HOLD, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "windows-fs.write-profile",
        what: "Creates a file beside the workspace, in the user's profile.",
        why: "A write outside plants programs, keys and start files for the user.",
        observer: "the host finds the file with the probe's text",
        action: action!(portable::write_target),
        ..HOLD
    },
    Probe {
        id: "windows-fs.read-secrets",
        what: "Reads a private file of the user outside the workspace.",
        why: "Keys and tokens are what an attacker is after.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::read_target),
        ..HOLD
    },
    Probe {
        id: "windows-fs.everyone-writable",
        what: "Creates a file in a folder outside that everyone may write.",
        why: "A low integrity level alone leaves such folders open.",
        observer: "the host finds the file with the probe's text",
        action: action!(portable::write_target),
        ..HOLD
    },
    Probe {
        id: "windows-fs.startup",
        what: "Writes a command into the start menu's Startup folder below the home folder.",
        why: "The system runs it at the next logon.",
        observer: "the host finds the file with the probe's text",
        action: action!(portable::write_target),
        ..HOLD
    },
    Probe {
        id: "windows-fs.temp-read",
        what: "Reads a private file in the host's temporary folder.",
        why: "Editors, agents and build tools leave scripts and tokens there.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::read_target),
        ..HOLD
    },
    Probe {
        id: "windows-fs.junction",
        what: "Makes a junction to a folder outside in the workspace, and reads through it.",
        why: "A rule that looks at the path as written takes it for the workspace's.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(act::junction),
        ..HOLD
    },
    Probe {
        id: "windows-fs.symlink",
        what: "Makes a symbolic link to a file outside in the workspace, and reads through it.",
        why: "A rule that looks at the path as written takes it for the workspace's.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(act::symbolic_link),
        ..HOLD
    },
    Probe {
        id: "windows-fs.symlink-planted",
        what: "Replaces a workspace file by a link or junction that leads outside.",
        why: "The host's own tools follow it later, with the user's rights.",
        observer: "after the run the host opens the workspace's path and gets the outside content",
        action: action!(act::planted),
        ..HOLD
    },
    Probe {
        id: "windows-fs.hardlink",
        what: "Makes a hard link to a file outside in the workspace, and reads through it.",
        why: "By the link's own path the file lies in the workspace.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::hard_link_in),
        ..HOLD
    },
    Probe {
        id: "windows-fs.ads",
        what: "Writes an alternate stream of a file outside (k:stream).",
        why: "A rule about the file's name does not see the stream.",
        observer: "the host finds the stream with the probe's text",
        action: action!(portable::write_target),
        ..HOLD
    },
    Probe {
        id: "windows-fs.name-alias",
        what: "Writes outside by a name with a trailing dot, which Windows drops.",
        why: "A rule by letters takes it for another name.",
        observer: "the host finds the file with the probe's text",
        action: action!(portable::write_target),
        ..HOLD
    },
    Probe {
        id: "windows-fs.verbatim",
        what: "Reads a file outside by its verbatim path (\\\\?\\).",
        why: "Paths of this form skip the usual parsing.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::read_target),
        ..HOLD
    },
    Probe {
        id: "windows-fs.device",
        what: "Reads a file outside by its device path (\\\\.\\).",
        why: "Paths of this form skip the usual parsing.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::read_target),
        ..HOLD
    },
    Probe {
        id: "windows-fs.unc",
        what: "Reads a file outside by the machine's own administrative share.",
        why: "The file service opens it in its own name.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::read_target),
        ..HOLD
    },
    Probe {
        id: "windows-fs.metadata-outside",
        what: "Asks for the time stamp of a file outside the workspace.",
        why: "Names, sizes and times tell what the user works on.",
        observer: "the file's random time stamp comes out of the sandbox",
        action: action!(portable::stamp_of_target),
        ..HOLD
    },
    Probe {
        id: "windows-fs.git-config",
        what: "Adds a program to run to the workspace's .git\\config.",
        why: "The next git command of the user runs it.",
        relaxed: Expect::Residual,
        strict: Expect::Residual,
        observer: "the host re-reads .git\\config",
        action: action!(portable::git_config),
        ..HOLD
    },
];
