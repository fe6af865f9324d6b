//! Room: sensor. What can be observed of a target from outside. A sensor reports; it must never
//! know what ought to be seen, nor ask the target about itself.

pub mod audit_log;
pub mod files;
pub mod leak;
#[cfg(target_os = "linux")]
pub mod memory;
pub mod resident;
pub mod vault;
