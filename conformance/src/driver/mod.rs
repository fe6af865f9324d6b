//! Room: driver.
