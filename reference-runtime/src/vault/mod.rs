//! Layer 4: credentials, encrypted at rest. It must never show a secret but through
//! [`ApiKey::expose`], and never know what a secret is for.

mod files;
mod kdf;
mod record;
mod rotate;
mod secret;
mod store;
mod transfer;

pub use secret::{ApiKey, MasterPassword};
pub use store::Vault;
