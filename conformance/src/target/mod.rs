//! Room: target.
