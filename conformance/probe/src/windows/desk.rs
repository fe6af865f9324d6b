//! Rows about the desktop, named objects and the token of a process on Windows. It must never know
//! what the host shows or types.

#[cfg(windows)]
use super::act_more;
use super::action;
use crate::{HOLD, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "windows-ipc.named-section",
        what: "Opens a named piece of memory of a host's process and prints it.",
        why: "Programs share passwords and documents that way.",
        observer: "the random text in that memory comes out of the sandbox",
        action: action!(act_more::section),
        ..HOLD
    },
    Probe {
        id: "windows-ui.screenshot",
        what: "Copies a part of the screen and prints a pixel's colour.",
        why: "The screen shows what the user reads.",
        observer: "the random colour of a window of the host comes out of the sandbox",
        action: action!(act_more::screen),
        ..HOLD
    },
    Probe {
        id: "windows-ui.hook",
        what: "Hooks the keyboard and prints the keys that the user presses.",
        why: "Passwords are typed.",
        observer: "random function keys that the host presses come out of the sandbox",
        action: action!(act_more::keys),
        ..HOLD
    },
    Probe {
        id: "windows-tok.privileges",
        what: "Copies a file that nobody may read as a backup program does (robocopy /b).",
        why: "A privilege in the token goes past every access list.",
        observer: "the host finds the file's random content in the workspace",
        action: action!(act_more::back_up),
        ..HOLD
    },
    Probe {
        id: "windows-tok.integrity",
        what: "Makes a file in the workspace; the system labels it by its maker's integrity level.",
        why: "What has the user's own level may write and message whatever the user's programs own.",
        observer: "the host reads no low label on the file",
        action: action!(act_more::labelled),
        ..HOLD
    },
];
