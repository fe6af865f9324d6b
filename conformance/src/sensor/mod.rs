//! Room: sensor.
