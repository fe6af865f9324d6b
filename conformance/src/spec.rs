//! The frozen requirements.
