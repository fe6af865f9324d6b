//! Room: oracle.
