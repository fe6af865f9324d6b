//! Plugins: programs of others that answer calls of their tools, each in a sandboxed process of its
//! own that is spoken to through one socket. This room must never know who asked for a call, nor
//! run anything of a plugin inside this process.

#[cfg_attr(not(any(unix, test)), expect(dead_code, reason = "plugins run on Unix alone"))]
mod bundle;
#[cfg_attr(not(unix), expect(dead_code, reason = "plugins run on Unix alone"))]
mod declaration;
#[cfg(unix)]
mod door;
#[cfg_attr(not(any(unix, test)), expect(dead_code, reason = "plugins run on Unix alone"))]
mod host;
#[cfg(unix)]
mod life;
#[cfg_attr(not(unix), expect(dead_code, reason = "plugins run on Unix alone"))]
mod message;
#[cfg_attr(not(unix), expect(dead_code, reason = "plugins run on Unix alone"))]
mod wire;

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::mpsc;
#[cfg(unix)]
use tokio::sync::oneshot;

use self::{bundle::Bundle, declaration::Declaration, host::Host};
use crate::{
    audit::{Audit, Correlation, Rejection},
    boundary::Limits,
    config::{Config, Grant, Level},
    registry::{Authorized, Declared, Kind, ToolCall},
    requirement::{PLUGIN_LEAST, PLUGIN_PEER, PLUGIN_PROCESS},
    sandbox::{Contained, Outcome, Sandbox},
};

/// Calls that wait for one plugin.
const QUEUE: usize = 16;
const PLACES: &[&str] = &["/usr/bin", "/usr/local/bin", "/bin"];
/// Names another Node, by absolute path.
const VARIABLE: &str = "CLAWPROOF_NODE";

/// A plugin that was read and accepted.
#[derive(Debug)]
struct Accepted {
    declaration: Declaration,
    bundle: Bundle,
    digest: String,
    granted: std::collections::BTreeSet<Grant>,
    tools: Vec<Declared>,
}

/// What is known of a plugin, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The digest of its folder's content.
    pub sha256: String,
    /// The level that it runs at.
    pub level: Level,
    /// The names of its tools.
    pub tools: Vec<String>,
    /// What it wants to ask of the runtime.
    pub wants: Vec<Grant>,
    /// What of that it was granted.
    pub granted: Vec<Grant>,
}

/// The plugins of a configuration, none of which has run.
#[derive(Debug, Default)]
pub struct Loaded(Vec<Accepted>);

/// Reads a plugin's folder: what it is, whoever accepted it.
///
/// # Errors
/// Why it is no plugin.
pub fn look(folder: &Path) -> Result<Listing, Rejection> {
    let bundle = Bundle::read(folder)?;
    let declaration = Declaration::read(&bundle)?;
    Ok(listing(&declaration, bundle.digest(), Vec::new()))
}

fn listing(declaration: &Declaration, sha256: String, granted: Vec<Grant>) -> Listing {
    Listing {
        name: declaration.name.clone(),
        version: declaration.version.clone(),
        sha256,
        level: declaration.sandbox,
        tools: declaration.tools().map(str::to_owned).collect(),
        wants: declaration.host.iter().copied().collect(),
        granted,
    }
}

/// Reads every plugin that the configuration names.
///
/// # Errors
/// One is not what was accepted, or is not sound; two have one name.
pub fn load(config: &Config) -> Result<Loaded, Rejection> {
    let mut found: Vec<Accepted> = Vec::new();
    for accepted in &config.plugins {
        let bundle = Bundle::read(&accepted.path)?;
        let declaration = Declaration::read(&bundle)?;
        declaration.accepted(&bundle, accepted)?;
        if found.iter().any(|other| other.declaration.name == declaration.name) {
            let public = "two plugins have one name";
            return Err(PLUGIN_PEER.refuse(public, declaration.name));
        }
        let (granted, tools) = (declaration.granted(accepted), declaration.declared());
        let digest = bundle.digest();
        found.push(Accepted { declaration, bundle, digest, granted, tools });
    }
    Ok(Loaded(found))
}

impl Loaded {
    /// What they declared, for the registry.
    #[must_use]
    pub fn declared(&self) -> Vec<Declared> {
        self.0.iter().flat_map(|plugin| plugin.tools.iter().copied()).collect()
    }

    /// One line each.
    #[must_use]
    pub fn list(&self) -> Vec<Listing> {
        let line = |one: &Accepted| {
            listing(&one.declaration, one.digest.clone(), one.granted.iter().copied().collect())
        };
        self.0.iter().map(line).collect()
    }

    /// Makes them callable; their processes start with their first calls. To be called where a
    /// runtime is at work.
    #[must_use]
    pub fn start(self, config: &Config, sandbox: &Arc<Sandbox>, audit: &Audit) -> Plugins {
        let settings = Arc::new(RwLock::new(Settings::of(config)));
        let mut callable = BTreeMap::new();
        for accepted in self.0 {
            let host = Host {
                plugin: accepted.declaration.name.clone(),
                tools: accepted.declaration.tools().map(str::to_owned).collect(),
                granted: accepted.granted,
                workspace: config.workspace.clone(),
            };
            let plugin = Plugin {
                declaration: accepted.declaration,
                bundle: accepted.bundle,
                digest: accepted.digest,
                host,
                sandbox: Arc::clone(sandbox),
                audit: audit.clone(),
                settings: Arc::clone(&settings),
            };
            let name = plugin.name().to_owned();
            let (sender, receiver) = mpsc::channel(QUEUE);
            #[cfg(unix)]
            tokio::spawn(life::live(Arc::new(plugin), receiver));
            #[cfg(not(unix))]
            drop((plugin, receiver));
            callable.insert(name, sender);
        }
        Plugins { callable, settings, one_at_a_time: Arc::default() }
    }
}

/// What of the configuration concerns plugins and can change while they run.
#[derive(Clone, Copy, Debug, Default)]
struct Settings {
    limits: Limits,
    timeout: Duration,
}

impl Settings {
    fn of(config: &Config) -> Self {
        Self { limits: config.limits, timeout: config.sandbox.timeout }
    }
}

/// One plugin as its life knows it.
#[derive(Debug)]
#[cfg_attr(not(unix), expect(dead_code, reason = "plugins run on Unix alone"))]
struct Plugin {
    declaration: Declaration,
    bundle: Bundle,
    digest: String,
    host: Host,
    sandbox: Arc<Sandbox>,
    audit: Audit,
    settings: Arc<RwLock<Settings>>,
}

#[cfg_attr(not(unix), expect(dead_code, reason = "plugins run on Unix alone"))]
impl Plugin {
    fn name(&self) -> &str {
        &self.declaration.name
    }

    fn settings(&self) -> Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limits of a frame: those of every other door.
    fn limits(&self) -> Limits {
        self.settings().limits
    }

    fn time_limit(&self) -> Duration {
        self.settings().timeout
    }

    /// What runs: the content that was accepted.
    fn bundle(&self) -> Result<Bundle, Rejection> {
        if PLUGIN_PEER.enforced() {
            return Ok(self.bundle.clone());
        }
        // What is prevented: what stands there now, whatever was accepted.
        Bundle::read(self.bundle.folder())
    }
}

/// The plugins of a runtime.
#[derive(Debug, Default)]
pub struct Plugins {
    callable: BTreeMap<String, mpsc::Sender<life_call::Call>>,
    settings: Arc<RwLock<Settings>>,
    /// What `plugin.process` prevents: that one plugin waits for another.
    one_at_a_time: Arc<tokio::sync::Mutex<()>>,
}

#[cfg(unix)]
use life as life_call;

#[cfg(not(unix))]
mod life_call {
    //! Where no plugin runs there is nobody to hand a call to. It must never hold anything.

    /// Never made.
    #[derive(Debug)]
    pub(super) enum Call {}
}

impl Plugins {
    /// Takes over limits and times of a configuration; which plugins there are stays as it is.
    pub fn reconfigure(&self, config: &Config) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Settings::of(config);
    }

    /// Has a plugin answer one authorised call of a tool of its own.
    ///
    /// # Errors
    /// `sandbox.fail-closed`, `plugin.process`, `plugin.frame`, `plugin.peer`: it did not answer,
    /// and why.
    pub async fn call(
        &self,
        call: Authorized<ToolCall>,
        correlation: &Correlation,
    ) -> Result<Contained<Outcome>, Rejection> {
        let tool = call.tool();
        let Kind::Plugin(name) = tool.kind else {
            return Err(PLUGIN_LEAST.refuse("no plugin has this tool", tool.name));
        };
        let plugin = self.callable.get(name);
        let plugin = plugin.ok_or_else(|| PLUGIN_LEAST.refuse("no such plugin runs", name))?;
        let _turn = match PLUGIN_PROCESS.enforced() {
            true => None,
            false => Some(self.one_at_a_time.lock().await),
        };
        let gone = || PLUGIN_PROCESS.refuse("the plugin is not there any more", name);
        #[cfg(unix)]
        {
            let (answer, answered) = oneshot::channel();
            let arguments = call.into_inner().arguments;
            let correlation = correlation.clone();
            let call = life::Call { tool: tool.name, arguments, correlation, answer };
            plugin.send(call).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        }
        #[cfg(not(unix))]
        {
            let _ = (plugin, correlation, call);
            Err(gone())
        }
    }
}

/// Node, by its absolute path, where a sandbox sees it.
///
/// # Errors
/// `sandbox.fail-closed`: there is none, or it lies where no sandbox sees it.
pub fn node() -> Result<PathBuf, Rejection> {
    let refuse = |cause: String| {
        let public = "Node.js is not installed below /usr, so no plugin runs";
        crate::requirement::SANDBOX_FAIL_CLOSED.refuse(public, cause)
    };
    let executable = |path: &Path| path.is_absolute() && path.is_file();
    let named = env::var_os(VARIABLE).map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let places = PLACES.iter().map(PathBuf::from).chain(env::split_paths(&path));
    let found = match named {
        Some(named) => Some(named).filter(|path| executable(path)),
        None => places.map(|place| place.join("node")).find(|path| executable(path)),
    };
    let found = found.ok_or_else(|| refuse("no node in the system's folders or PATH".into()))?;
    let real = found.canonicalize().map_err(|error| refuse(error.to_string()))?;
    if real.starts_with("/usr") { Ok(real) } else { Err(refuse(real.display().to_string())) }
}
