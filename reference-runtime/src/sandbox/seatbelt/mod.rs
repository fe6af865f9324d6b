//! The Seatbelt profile of a run, as text and parameters; and, for tests on any system, what such a
//! profile allows. It must never touch the system, and no path ever stands in the text.

#[cfg(test)]
mod evaluate;
#[cfg(test)]
mod parse;
mod profile;
#[cfg(test)]
mod tests;

pub(super) use profile::{Facts, Profile};
