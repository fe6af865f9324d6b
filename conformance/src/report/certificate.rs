//! placeholder
pub mod envelope;
