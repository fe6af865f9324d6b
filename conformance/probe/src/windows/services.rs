//! Rows about the services of Windows: what a process reaches by asking another one. System tools
//! ask, because no safe crate does: reg, powershell, schtasks, bitsadmin, clip, cmdkey, wsl. It must
//! never leave behind what the suite cannot take away.

#[cfg(windows)]
use super::act;
use super::action;
use crate::{HOLD, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "windows-reg.hkcu-run",
        what: "Adds a value under HKEY_CURRENT_USER that is read at a logon (reg add).",
        why: "What stands under Run is started at the next logon.",
        observer: "the host reads the value",
        action: action!(act::registry_write),
        ..HOLD
    },
    Probe {
        id: "windows-reg.hkcu-read",
        what: "Reads a value of the user's registry (reg query).",
        why: "Programs keep tokens and histories there.",
        observer: "the random value comes out of the sandbox",
        action: action!(act::registry_read),
        ..HOLD
    },
    Probe {
        id: "windows-proc.wmi-create",
        what: "Has the management service start a process (Win32_Process.Create).",
        why: "What it starts is outside of the job.",
        observer: "the host finds the file that the process wrote",
        action: action!(act::wmi_create),
        ..HOLD
    },
    Probe {
        id: "windows-proc.wmi-list",
        what: "Asks the management service for the processes' command lines.",
        why: "Arguments hold paths, names and often secrets.",
        observer: "the canary process's random argument comes out of the sandbox",
        action: action!(act::wmi_list),
        ..HOLD
    },
    Probe {
        id: "windows-proc.schtasks",
        what: "Registers and runs a scheduled task (schtasks).",
        why: "What the scheduler starts is outside of the job and comes back after a restart.",
        observer: "the host finds the file that the task wrote",
        action: action!(act::scheduled_task),
        ..HOLD
    },
    Probe {
        id: "windows-proc.com-shell",
        what: "Asks the running shell by COM to start a program (ShellWindows).",
        why: "What the shell starts is outside of the job.",
        observer: "the host finds the file that the program wrote",
        action: action!(act::com_shell),
        ..HOLD
    },
    Probe {
        id: "windows-proc.bits",
        what: "Registers a transfer with a notification program (bitsadmin).",
        why: "The service starts it in the user's name, outside of the job.",
        observer: "the host finds the transfer",
        action: action!(act::transfer),
        ..HOLD
    },
    Probe {
        id: "windows-ipc.pipe-agent",
        what: "Connects to a named pipe of a host service and sends a nonce.",
        why: "ssh-agent, Docker and editors listen on such pipes.",
        observer: "the listener outside receives the nonce",
        action: action!(act::pipe),
        ..HOLD
    },
    Probe {
        id: "windows-ui.clipboard-write",
        what: "Puts text on the clipboard (clip).",
        why: "The user pastes it into a terminal.",
        observer: "the host reads the clipboard",
        action: action!(act::clipboard_write),
        ..HOLD
    },
    Probe {
        id: "windows-ui.clipboard-read",
        what: "Reads the clipboard (Get-Clipboard).",
        why: "Passwords are copied by way of it.",
        observer: "the random text that the host put there comes out of the sandbox",
        action: action!(act::clipboard_read),
        ..HOLD
    },
    Probe {
        id: "windows-cred.credman",
        what: "Lists the names in the credential manager (cmdkey).",
        why: "They tell where the user has accounts; programs of the user may read them.",
        observer: "the random name of the host's entry comes out of the sandbox",
        action: action!(act::credentials),
        ..HOLD
    },
    Probe {
        id: "windows-wsl.reenter",
        what: "Starts a shell in the Linux subsystem, which writes a file outside (wsl).",
        why: "The subsystem's machine sees the user's drives and no job.",
        observer: "the host finds the file that the shell wrote",
        action: action!(act::subsystem),
        ..HOLD
    },
];
