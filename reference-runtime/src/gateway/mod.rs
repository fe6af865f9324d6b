//! The network face: HTTP, WebSocket, authentication, rates and JSON-RPC. It must never decide what a tool
//! may do, nor reach a tool but through the agent.

mod auth;
mod body;
mod clock;
mod entered;
mod envelope;
mod exchange;
mod http;
mod id;
mod lasting;
mod linger;
mod listen;
mod method;
mod origin;
mod rates;
mod reply;
mod server;
mod socket;
mod tls;
mod token;
mod upload;
#[cfg(feature = "knockout")]
mod variant;

mod settings;

use std::sync::{Arc, RwLock};

pub use auth::{Authenticated, Identity};
pub use method::METHODS;
pub use server::{Server, serve};
pub use token::{Holder, Record, Role, Tokens};

use tokio::sync::Semaphore;

use crate::agent::Agent;
use crate::audit::Rejection;
use crate::config::Config;
use crate::vault::Vault;

/// Everything that a request can reach.
pub struct Gateway {
    config: RwLock<Arc<Config>>,
    /// One change of the configuration at a time.
    changing: tokio::sync::Mutex<()>,
    agent: Arc<Agent>,
    /// None where no master password was given: every use of it is refused.
    vault: Option<Arc<Vault>>,
    gate: auth::Gate,
    origins: origin::Origins,
    rates: rates::Rates,
    /// Places for WebSocket connections.
    sockets: Arc<Semaphore>,
}

impl Gateway {
    /// A gateway of these parts. `listen` is the address that it is reached at.
    #[must_use]
    pub fn new(
        config: Config,
        listen: std::net::SocketAddr,
        agent: Arc<Agent>,
        tokens: Tokens,
        vault: Option<Arc<Vault>>,
    ) -> Self {
        let gate = auth::Gate::new(tokens, agent.audit().clone());
        let origins = origin::Origins::new(listen, &config.gateway.hosts, &config.gateway.origins);
        let rates = rates::Rates::new(&config.rates, agent.audit().clone());
        let (config, changing) = (RwLock::new(Arc::new(config)), tokio::sync::Mutex::new(()));
        let sockets = Arc::new(Semaphore::new(socket::CONNECTIONS));
        Self { config, changing, agent, vault, gate, origins, rates, sockets }
    }

    /// The vault, or why there is none.
    fn vault(&self) -> Result<Arc<Vault>, Rejection> {
        self.vault.clone().ok_or_else(|| {
            crate::requirement::ERROR_DENY
                .refuse("the vault is locked", "no master password was given at the start")
        })
    }
}
