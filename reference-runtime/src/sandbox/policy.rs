//! Which level is in force for which tool. It must never know how a level is enforced.

pub use crate::config::Level;
