//! Rates: how often a client may ask and a session may speak.
