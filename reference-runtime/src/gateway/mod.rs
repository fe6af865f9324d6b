//! The network face: authentication, HTTP, JSON-RPC.
