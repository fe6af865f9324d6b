//! The runtime's command.
fn main() {}
