//! The runtime's integration tests: one binary, one file per room.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's panic is its verdict")]

mod agent;
mod attachment;
mod audit;
mod boundary;
mod config;
#[cfg(unix)]
mod durability;
mod errors;
mod gateway;
mod house;
#[cfg(feature = "knockout")]
mod knockout;
mod plugin;
mod program;
mod rate;
mod redact;
mod registry;
mod sandbox;
mod sandbox_windows;
mod soak;
mod socket;
#[cfg(unix)]
mod tls;
mod vault;
mod workspace;
