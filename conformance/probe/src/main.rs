//! The probe binary.
fn main() {}
