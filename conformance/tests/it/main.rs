//! The suite against what it must see through (a small runtime with and without its defences, null
//! subjects, sandboxes) and against its own data. One file per room.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops")]

mod abroad;
mod adapter;
#[cfg(target_os = "linux")]
mod browser;
mod cases;
mod command;
mod corpus;
mod fake;
mod lent;
mod model;
mod null_subjects;
#[cfg(target_os = "linux")]
mod probes;
mod published;
mod spec;
mod verdicts;
#[cfg(target_os = "linux")]
mod web;
mod wordlist;
