//! Layer 3: the operating system holds what a tool may do.
