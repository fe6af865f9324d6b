//! The probes of Windows. The rows stand on every system, so that each can be listed anywhere; the
//! actions are built on Windows alone. It must never know a verdict.

mod desk;
mod files;
mod rest;
mod services;

#[cfg(windows)]
mod act;
#[cfg(windows)]
mod act_console;
#[cfg(windows)]
mod act_more;

use crate::Probe;

/// Every table, in the order of the boundaries.
pub(crate) const TABLES: &[&[Probe]] =
    &[files::PROBES, services::PROBES, desk::PROBES, rest::PROBES];

/// An action on Windows; elsewhere one that says that it cannot be tried.
#[cfg(windows)]
macro_rules! action {
    ($path:path) => {
        $path
    };
}
#[cfg(not(windows))]
macro_rules! action {
    ($path:path) => {
        crate::elsewhere
    };
}
use action;
