//! Layer 2: tools exist only by registration.
