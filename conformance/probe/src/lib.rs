//! Probes: boundary actions.
