//! The runtime's integration tests: one binary, one file per room.
