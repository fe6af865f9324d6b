//! Rows about files on macOS: aliases of the kernel, names that are trusted later, links, and the
//! profile that is made from a path. It must never know where a canary lies.

#[cfg(target_os = "macos")]
use super::act;
use super::action;
#[cfg(target_os = "macos")]
use crate::portable;
use crate::{Expect, HOLD, Need, Probe};

const SEATBELT: &[&str] = &["sandbox-exec(1), sandbox(7)"];

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "macos-fs.write-outside",
        what: "Creates a file beside the workspace.",
        why: "A write outside plants programs, keys and start files for the user.",
        references: SEATBELT,
        observer: "the host finds the file with the probe's text",
        action: action!(portable::write_target),
        ..HOLD
    },
    Probe {
        id: "macos-fs.tmp-alias",
        what: "Creates a file in /tmp, which is a link to /private/tmp.",
        why: "A rule for one of the two names leaves the other open.",
        observer: "the host finds the file with the probe's text",
        action: action!(portable::write_target),
        ..HOLD
    },
    Probe {
        id: "macos-fs.tmp-read",
        what: "Reads a private file of the user in /private/tmp.",
        why: "Editors, agents and build tools leave sockets, scripts and tokens there.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::read_target),
        ..HOLD
    },
    Probe {
        id: "macos-fs.firmlink",
        what: "Reads a file outside by its path on the data volume, /System/Volumes/Data.",
        why: "The same file has two names; system folders are open for reading.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::read_target),
        ..HOLD
    },
    Probe {
        id: "macos-fs.case-variant",
        what: "Makes a git hook by a path in other letter case (.GIT/HOOKS).",
        why: "The file system takes both for the same, a rule by letters does not.",
        references: &["CVE-2025-59944 (secondary source)"],
        observer: "the host looks for the hook under its usual name",
        action: action!(portable::write_target),
        ..HOLD
    },
    Probe {
        id: "macos-fs.hardlink-in",
        what: "Makes a hard link to a file outside in the workspace, and reads through it.",
        why: "By the link's own path the file lies in the workspace.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::hard_link_in),
        ..HOLD
    },
    Probe {
        id: "macos-fs.symlink-denied-read",
        what: "Makes a symbolic link to a file outside in the workspace, and reads through it.",
        why: "A rule that looks at the path as written takes it for the workspace's.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(act::symbolic_link_in),
        ..HOLD
    },
    Probe {
        id: "macos-fs.rename-ancestor",
        what: "Moves .git aside and puts another in its place, with its own configuration.",
        why: "Protecting a file's path does not protect its name.",
        observer: "the host re-reads .git/config",
        action: action!(act::rename_git),
        ..HOLD
    },
    Probe {
        id: "macos-fs.git-config",
        what: "Adds a program to run to the workspace's .git/config.",
        why: "The next git command of the user runs it.",
        observer: "the host re-reads .git/config",
        action: action!(portable::git_config),
        ..HOLD
    },
    Probe {
        id: "macos-fs.protected-missing",
        what: "Creates a git hook where the repository had none.",
        why: "What is not there can be made.",
        references: &["CVE-2026-25725 (secondary source)"],
        observer: "the host looks for the hook",
        action: action!(portable::write_target),
        ..HOLD
    },
    Probe {
        id: "macos-fs.protected-nested",
        what: "Adds a program to run to the .git/config of a repository below the workspace's top.",
        why: "A submodule or a vendored project is the user's repository too.",
        observer: "the host re-reads that .git/config",
        action: action!(portable::git_config),
        ..HOLD
    },
    Probe {
        id: "macos-fs.home-read",
        what: "Reads a private key in the user's home folder.",
        why: "Keys and tokens are what an attacker is after.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::read_target),
        ..HOLD
    },
    Probe {
        id: "macos-fs.keychain-files",
        what: "Reads a file in Library/Keychains of the home folder.",
        why: "A keychain file can be opened elsewhere, with time.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::read_target),
        ..HOLD
    },
    Probe {
        id: "macos-fs.dotdot-root",
        what: "Reads a file outside by a path that climbs over the root folder.",
        why: "A rule that normalises otherwise than the kernel lets it through.",
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::read_target),
        ..HOLD
    },
    Probe {
        id: "macos-fs.metadata-outside",
        what: "Asks for the time stamp of a file outside the workspace.",
        why: "Names, sizes and times tell what the user works on.",
        observer: "the file's random time stamp comes out of the sandbox",
        action: action!(portable::stamp_of_target),
        ..HOLD
    },
    Probe {
        id: "macos-fs.setuid-ws",
        what: "Makes a set-user-id program in the workspace.",
        why: "Another user or service that runs it acts as the user.",
        observer: "the host sees the bit on the file",
        action: action!(act::setuid),
        ..HOLD
    },
    Probe {
        id: "macos-fs.launch-agents",
        what: "Writes a property list into Library/LaunchAgents of the home folder.",
        why: "The system starts what it names at the next login.",
        observer: "the host finds the file with the probe's text",
        action: action!(portable::write_target),
        ..HOLD
    },
    Probe {
        id: "macos-fs.shell-rc",
        what: "Appends a line to .zshrc in the home folder.",
        why: "The user's next shell runs it.",
        observer: "the host re-reads .zshrc",
        action: action!(portable::append_target),
        ..HOLD
    },
    Probe {
        id: "macos-policy.injection",
        what: "Writes outside of a workspace whose name reads like a rule of the profile.",
        why: "A path that is spliced into the profile's text becomes a rule.",
        references: SEATBELT,
        observer: "the host finds the file with the probe's text",
        action: action!(portable::write_target),
        ..HOLD
    },
    Probe {
        id: "macos-policy.missing-param",
        what: "Reads a private key in the user's home folder, of a launcher without HOME and TMPDIR.",
        why: "A rule whose parameter is empty may cover nothing, or allow everything.",
        references: SEATBELT,
        needs: &[Need::Launch],
        observer: "the file's random content comes out of the sandbox",
        action: action!(portable::read_target),
        ..HOLD
    },
    Probe {
        id: "macos-policy.ancestors",
        what: "Lists the folder above the workspace.",
        why: "The names of the user's other projects are nobody's business.",
        relaxed: Expect::Hold,
        observer: "the random name of a neighbouring folder comes out of the sandbox",
        action: action!(act::list_target),
        ..HOLD
    },
];
