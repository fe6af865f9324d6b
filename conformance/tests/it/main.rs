//! The suite's integration tests: one file per room. Must never know a room's inner parts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod corpus;
#[cfg(target_os = "linux")]
mod probes;
mod spec;
