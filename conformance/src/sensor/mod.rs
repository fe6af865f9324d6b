//! Room: sensor.

pub mod vault;
