//! Room: target. An implementation under test: its manifest, its disposable world, its life.
//! It must never know a case, an expectation or a verdict.

pub mod binary;
pub mod command_line;
mod commands;
mod group;
pub mod host;
pub mod instance;
pub mod manifest;
pub mod namespaces;
pub(crate) mod patch;
pub mod plugins;
pub mod prepared;
pub mod process;
pub mod shipped;
pub mod start_error;
pub mod template;
mod turn;
pub mod world;
