//! Room: stage.
