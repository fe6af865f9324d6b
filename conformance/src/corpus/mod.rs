//! Room: corpus.
