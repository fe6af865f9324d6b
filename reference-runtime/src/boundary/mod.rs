//! Layer 1: every external byte is checked here before anything else looks at it.
