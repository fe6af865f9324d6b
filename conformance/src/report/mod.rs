//! Room: report. What a run has shown, for people and for machines. It must never change a
//! verdict.

pub mod advice;
pub mod badge;
pub mod baseline;
pub mod certificate;
pub mod compare;
pub mod contrast;
pub mod html;
pub mod json;
pub mod judgement;
pub mod junit;
#[cfg(test)]
mod looks;
pub mod merge;
pub mod progress;
#[cfg(test)]
mod sample;
pub mod sarif;
pub mod terminal;
