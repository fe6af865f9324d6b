//! The probes of macOS. The rows stand on every system, so that each can be listed anywhere; the
//! actions are built on macOS alone. It must never know a verdict.

mod files;
mod rest;
mod services;

#[cfg(target_os = "macos")]
mod act;

use crate::Probe;

/// Every table, in the order of the boundaries.
pub(crate) const TABLES: &[&[Probe]] = &[files::PROBES, services::PROBES, rest::PROBES];

/// An action on macOS; elsewhere one that says that it cannot be tried.
#[cfg(target_os = "macos")]
macro_rules! action {
    ($path:path) => {
        $path
    };
}
#[cfg(not(target_os = "macos"))]
macro_rules! action {
    ($path:path) => {
        crate::elsewhere
    };
}
use action;
