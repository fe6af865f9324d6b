//! `contain`: the part of this program that runs inside the sandbox, before any runtime starts. It
//! must never do anything that the orders which it was given do not say.

use std::process::ExitCode;

/// Answers `contain` and nothing else: `None` where the first argument is another one. To be called
/// first in `main`, before threads exist.
#[must_use]
pub fn dispatch() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != "contain" {
        return None;
    }
    #[cfg(target_os = "linux")]
    return Some(super::linux::shim::main(Some(crate::registry::worker)));
    #[cfg(target_os = "macos")]
    return Some(super::macos::shim::main());
    #[cfg(windows)]
    return Some(super::windows::helper_main());
    #[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
    return Some(ExitCode::from(125));
}

/// The same for programs alone, in a program of its own that holds nothing else.
#[must_use]
pub fn small() -> ExitCode {
    #[cfg(target_os = "linux")]
    return super::linux::shim::main(None);
    #[cfg(not(target_os = "linux"))]
    ExitCode::from(125)
}
