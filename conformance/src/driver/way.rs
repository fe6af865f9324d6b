//! The way to a target that is reached by messages alone: it picks the driver that the manifest
//! names. It must never know how any of them speaks.

use std::sync::Arc;

use crate::target::instance::Instance;
use crate::target::manifest::DriverKind;
use crate::target::world::random_hex;

use super::acp::Acp;
use super::http::Reply;
use super::oneshot::OneShot;
use super::process::Adapted;
use super::web::Web;
use super::{Converse, DriverError};

/// A way to a target in its world, by messages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Way {
    converse: Arc<dyn Converse>,
}

impl Way {
    /// The way to this instance; none where it is a server of plain calls or a launcher.
    #[must_use]
    pub fn of(instance: &Instance) -> Option<Self> {
        let converse: Arc<dyn Converse> = match instance.manifest().driver {
            DriverKind::Cli => Arc::new(OneShot::of(instance)?),
            DriverKind::Acp => Arc::new(Acp::of(instance)?),
            DriverKind::Process => Arc::new(Adapted::of(instance)?),
            DriverKind::Http => Arc::new(Web::of(instance)),
            DriverKind::Rpc | DriverKind::Launcher => return None,
        };
        Some(Self { converse })
    }

    /// A name for a conversation that has not begun.
    #[must_use]
    pub fn session(&self) -> String {
        random_hex(8)
    }

    /// Hands over one user message of a conversation and waits for its answer.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn message(&self, session: &str, text: &[u8]) -> Result<Reply, DriverError> {
        self.converse.message(session, text).await
    }

    /// Whether what it speaks to has not ended.
    pub async fn alive(&self) -> bool {
        self.converse.alive().await
    }
}
