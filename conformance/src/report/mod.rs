//! Room: report.

pub mod certificate;
