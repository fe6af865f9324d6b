//! Why there is no running target. It must never know how one is started.

use super::template::TemplateError;
use super::world::WorldError;

/// Why there is no running target. Each is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The manifest or the call is wrong: exit 2.
    #[error("{0}")]
    Manifest(String),
    /// The manifest does not name what the case needs.
    #[error("the manifest has no {0}")]
    Unsupported(String),
    /// The target did not start: its last words stand in it.
    #[error("{0}")]
    Target(String),
    /// The suite's own side failed: exit 3.
    #[error(transparent)]
    World(#[from] WorldError),
}

impl From<TemplateError> for StartError {
    fn from(error: TemplateError) -> Self {
        Self::Manifest(format!("the manifest names an {error}"))
    }
}
