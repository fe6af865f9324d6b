//! The ClawProof reference runtime: an agent runtime in which five layers of defence are real.
//!
//! Rooms stand in one order and a room never names one to its right:
//! `private, requirement -> audit, boundary -> rate, vault, config, outbound -> registry, sandbox -> plugin -> agent -> gateway`.
//! `cargo xtask tidy` holds that order.

pub mod private;
pub mod requirement;

pub mod audit;
pub mod boundary;

pub mod config;
mod outbound;
pub mod rate;
pub mod vault;

pub mod registry;
pub mod sandbox;

pub mod plugin;

pub mod agent;

pub mod gateway;
