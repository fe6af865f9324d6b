//! Room: report. What a run has shown, for people and for machines. It must never change a
//! verdict.

pub mod certificate;
pub mod json;
pub mod progress;
pub mod terminal;
