//! The probes of Windows. The rows stand on every system, so that each can be listed anywhere; the
//! actions are built on Windows alone. It must never know a verdict.

mod files;
mod rest;
mod services;

#[cfg(windows)]
mod act;

use crate::Probe;

/// Every table, in the order of the boundaries.
pub(crate) const TABLES: &[&[Probe]] = &[files::PROBES, services::PROBES, rest::PROBES];

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
