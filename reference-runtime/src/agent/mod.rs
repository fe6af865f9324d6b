//! Sessions, turns and the model: what happens between a user's message and its answer. It must
//! never know how a message came in or how an answer goes out.

mod attachment;
mod call_report;
#[cfg(feature = "knockout")]
mod conjure;
mod contents;
mod execute;
mod history;
mod integrity;
mod model;
mod progress;
mod session;
mod session_id;
mod stop;
mod turn;
mod unavailable;
mod vet;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

pub use attachment::Upload;
pub use call_report::{CallOutcome, CallReport};
pub use execute::Executed;
pub use history::{Attachment, Entry, ProposedCall};
pub use model::Model;
pub use progress::{Heard, Listener, Progress};
pub use session::{Session, Store};
pub use session_id::SessionId;
pub use stop::Stop;
pub use turn::{Blame, Failure, Reply};

use tokio::sync::{broadcast, watch};

use crate::audit::{Audit, Rejection};
use crate::boundary::attachment::FileName;
use crate::boundary::{Checked, Limits};
use crate::config::{self, Config};
use crate::plugin::Plugins;
use crate::registry::{Listing, ToolRegistry};
use crate::requirement::ERROR_DENY;
use crate::sandbox::{Sandbox, Status};

/// The bytes of stored history that a model is sent, and that a caller can read back.
const HISTORY_BYTES: usize = 2_000_000;
/// The most sessions that one list holds.
const LIST_LIMIT: usize = 1_000;

/// The agent of one runtime.
pub struct Agent {
    settings: RwLock<Arc<Settings>>,
    sandbox: Arc<Sandbox>,
    plugins: Plugins,
    store: Store,
    model: Model,
    audit: Audit,
    workspace: Option<PathBuf>,
    /// The sessions that are being spoken in. An entry lives as long as someone holds it.
    live: Mutex<HashMap<SessionId, Weak<Live>>>,
}

/// What can change while the process runs.
struct Settings {
    registry: ToolRegistry,
    limits: Limits,
    max_steps: u32,
    timeout: Duration,
}

impl Settings {
    fn of(registry: ToolRegistry, config: &Config) -> Self {
        let config::Agent { max_steps, timeout } = config.agent;
        Self { registry, limits: config.limits, max_steps, timeout }
    }
}

/// What all users of one session share: turns come one after the other, orders stop them, and
/// events tell of them.
struct Live {
    turn: tokio::sync::Mutex<()>,
    order: watch::Sender<stop::Order>,
    events: broadcast::Sender<Arc<Progress>>,
}

impl Live {
    /// Tells whoever listens; mostly nobody does.
    fn tell(&self, progress: Progress) {
        if self.events.receiver_count() > 0 {
            let _ = self.events.send(Arc::new(progress));
        }
    }
}

impl Agent {
    /// An agent of these parts.
    #[must_use]
    pub fn new(
        config: &Config,
        registry: ToolRegistry,
        sandbox: impl Into<Arc<Sandbox>>,
        store: Store,
        model: Model,
        audit: Audit,
    ) -> Self {
        let settings = Settings::of(registry, config);
        Self {
            settings: RwLock::new(Arc::new(settings)),
            sandbox: sandbox.into(),
            plugins: Plugins::default(),
            store,
            model,
            audit,
            workspace: config.workspace.clone(),
            live: Mutex::default(),
        }
    }

    /// The same agent with plugins, whose tools its registry has.
    #[must_use]
    pub fn with_plugins(mut self, plugins: Plugins) -> Self {
        self.plugins = plugins;
        self
    }

    /// The registry of another configuration, with the tools that the plugins declared.
    ///
    /// # Errors
    /// As [`ToolRegistry::with`].
    pub fn registry(&self, config: &Config) -> Result<ToolRegistry, Rejection> {
        self.settings().registry.renewed(config)
    }

    /// The tools and limits in force; a turn keeps those that it began with only for a step.
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over tools, their levels and limits of a configuration.
    pub fn reconfigure(&self, registry: ToolRegistry, config: &Config) {
        self.sandbox.reconfigure(config);
        self.plugins.reconfigure(config);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Settings::of(registry, config));
    }

    /// The registered tools.
    #[must_use]
    pub fn tools(&self) -> Vec<Listing> {
        self.settings().registry.list()
    }

    /// What the sandbox says about itself.
    #[must_use]
    pub fn sandbox(&self) -> Status {
        self.sandbox.status()
    }

    /// The audit log that everything here is recorded in.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// A limit for work that belongs to no session: the time that a turn may take.
    #[must_use]
    pub fn time_limit(&self) -> Stop {
        Stop::after(self.settings().timeout)
    }

    /// Makes a session for `owner`; it is on disk when this returns.
    ///
    /// # Errors
    /// `error.deny` where it cannot be stored.
    pub async fn create(&self, owner: &str) -> Result<SessionId, Rejection> {
        self.store.create(owner).await
    }

    /// Whether `owner` has a session of this id. A session of somebody else is none.
    ///
    /// # Errors
    /// `error.deny` where the store cannot be read.
    pub async fn owns(&self, owner: &str, id: &SessionId) -> Result<bool, Rejection> {
        Ok(self.store.get(id).await?.is_some_and(|session| session.owner == owner))
    }

    /// The ids of the sessions of `owner`, at most 1,000.
    ///
    /// # Errors
    /// `error.deny` where the store cannot be read.
    pub async fn list(&self, owner: &str) -> Result<Vec<String>, Rejection> {
        self.store.list(owner, LIST_LIMIT).await
    }

    /// The last 2 MB of a session's history, oldest first.
    ///
    /// # Errors
    /// `error.deny` where the store cannot be read.
    pub async fn history(&self, id: &SessionId) -> Result<Vec<Entry>, Rejection> {
        self.store.history(id, HISTORY_BYTES).await
    }

    /// Ends a session: a turn that runs is stopped, then the session, its history and its
    /// attachments are removed.
    ///
    /// # Errors
    /// `error.deny` where it cannot be removed.
    pub async fn end(&self, id: &SessionId) -> Result<(), Rejection> {
        let live = self.live(id);
        live.order.send_modify(|order| order.ended = true);
        let _turn = live.turn.lock().await;
        let attachments = self.store.attachments(id).await?;
        if !attachments.is_empty() {
            let workspace = self.workspace()?.to_owned();
            let back = move || attachment::take_back(&attachments, &workspace);
            tokio::task::spawn_blocking(back).await.map_err(unavailable::unavailable)??;
        }
        self.store.remove(id).await?;
        live.tell(Progress::Ended);
        Ok(())
    }

    /// Stops the turns of a session that run or wait; the session stays.
    pub fn cancel(&self, id: &SessionId) {
        self.live(id).order.send_modify(|order| order.cancelled += 1);
    }

    /// Listens to a session from now on.
    #[must_use]
    pub fn listen(&self, id: &SessionId) -> Listener {
        let live = self.live(id);
        Listener { events: live.events.subscribe(), _live: live }
    }

    /// Begins an upload into a session.
    ///
    /// # Errors
    /// `error.deny` where it cannot be stored.
    pub async fn upload(
        &self,
        session: &SessionId,
        name: Checked<FileName>,
    ) -> Result<Upload, Rejection> {
        self.store.upload(session, name, &self.settings().limits).await
    }

    /// The attachment of this id, if the session has it.
    ///
    /// # Errors
    /// `error.deny` where the store cannot be read.
    pub async fn attachment(
        &self,
        session: &SessionId,
        id: &str,
    ) -> Result<Option<Attachment>, Rejection> {
        self.store.attachment(session, id).await
    }

    fn workspace(&self) -> Result<&Path, Rejection> {
        self.workspace.as_deref().ok_or_else(|| {
            ERROR_DENY.refuse("there is no workspace", "the configuration names none")
        })
    }

    fn live(&self, id: &SessionId) -> Arc<Live> {
        let mut sessions = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = sessions.get(id).and_then(Weak::upgrade) {
            return live;
        }
        sessions.retain(|_, live| live.strong_count() > 0);
        let live = Arc::new(Live {
            turn: tokio::sync::Mutex::new(()),
            order: watch::Sender::new(stop::Order::default()),
            events: broadcast::Sender::new(progress::LAG),
        });
        sessions.insert(id.clone(), Arc::downgrade(&live));
        live
    }
}
