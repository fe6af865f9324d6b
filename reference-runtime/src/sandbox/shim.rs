//! `contain`: the part of this program that runs inside the sandbox, before any runtime starts. It
//! must never do anything that the plan which it was given does not say.

use std::process::ExitCode;

/// Answers `contain` and nothing else: `None` where the first argument is another one. To be called
/// first in `main`, before threads exist.
#[must_use]
pub fn dispatch() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == "contain").then_some(ExitCode::from(125))
}
