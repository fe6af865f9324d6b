//! Rooms of the command alone, not of the library: what a person types and reads.

pub(crate) mod certify;
