//! Layer 4: credentials, encrypted at rest.
