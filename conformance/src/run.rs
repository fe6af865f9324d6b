//! The schedule of cases.
