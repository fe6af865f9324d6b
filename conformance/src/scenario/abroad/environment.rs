//! The suite's own variables that a program of macOS or Windows is started with. It must never know
//! what is started.

use tokio::process::Command;

/// Variables without which programs of this system do not start.
pub(super) fn needed(command: &mut Command) {
    let names = [
        "SystemRoot",
        "SystemDrive",
        "windir",
        "ComSpec",
        "PATHEXT",
        "TEMP",
        "TMP",
        "APPDATA",
        "LOCALAPPDATA",
        "ProgramData",
        "USERPROFILE",
        "USERNAME",
        "USERDOMAIN",
        "PSModulePath",
        "WINEPREFIX",
    ];
    for name in names.iter().filter(|_| cfg!(windows)) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}
