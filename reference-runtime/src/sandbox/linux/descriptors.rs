//! The descriptors that the shim is started with. It must never know what comes through them.

use std::path::PathBuf;

/// The descriptor that holds the orders.
pub(super) const ORDERS_FD: i32 = 5;
/// The descriptor of the report: lines `ready landlock=WORD`, `failed TEXT`, `missing TEXT`.
pub(super) const REPORT_FD: i32 = 4;
/// The descriptor of a pipe that is closed when the starter is gone. A byte in it says that the call
/// has come, where the shim was started ahead of it.
pub(super) const LIFE_FD: i32 = 8;
/// The descriptor of what is standard input behind the door of a cgroup.
pub(super) const STDIN_FD: i32 = 7;
/// The descriptor of a file in memory that holds the call then.
pub(super) const CALL_FD: i32 = 9;

/// Where a process opens a descriptor of its own anew.
pub(super) fn descriptor(number: i32) -> PathBuf {
    format!("/proc/self/fd/{number}").into()
}
