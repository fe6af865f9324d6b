//! The configuration as a value. It must never know the rooms that it configures, but for the
//! limits of the boundary.

mod file;
mod live;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use live::{Adopted, Change};

use crate::{audit::Rejection, boundary::Limits, requirement};

/// The whole configuration; every key of the file is optional and has a default. Its serialised
/// form has the keys of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The network face.
    pub gateway: Gateway,
    /// How much a caller may send.
    #[serde(with = "file::limits")]
    #[schemars(with = "file::limits::Keys")]
    pub limits: Limits,
    /// How often a caller may ask.
    pub rates: Rates,
    /// The folder that tools work in; none: the command line must name it.
    pub workspace: Option<PathBuf>,
    /// How tools are contained.
    pub sandbox: Sandbox,
    /// The model that answers.
    pub model: Model,
    /// Which tools exist.
    pub tools: Tools,
    /// How long a turn may be.
    pub agent: Agent,
    /// How the audit log is kept.
    pub audit: Audit,
    /// The plugins that the operator accepted. Default none.
    pub plugins: Vec<Plugin>,
}

/// One of `plugins`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Its folder, which holds `plugin.json` and its program.
    pub path: PathBuf,
    /// The SHA-256 of the folder's content that was accepted, as `clawproof-runtime plugin digest`
    /// prints it. With other content the runtime does not start.
    pub sha256: String,
    /// What it may ask of the runtime, of what it declares to want. Default nothing.
    #[serde(default)]
    pub grants: BTreeSet<Grant>,
    /// The loosest level that it may run at. Default strict.
    #[serde(default = "strict")]
    pub level: Level,
}

/// One thing that a plugin may ask of the runtime.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Grant {
    /// Write a line to the runtime's log.
    #[serde(rename = "log")]
    Log,
    /// Read the names of its own tools.
    #[serde(rename = "tool.list")]
    ToolList,
    /// Read a text file of the workspace.
    #[serde(rename = "workspace.read")]
    WorkspaceRead,
}

impl Grant {
    /// Every method of the runtime's, by its name on the wire.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("log", Self::Log),
        ("tool.list", Self::ToolList),
        ("workspace.read", Self::WorkspaceRead),
    ];
}

const fn strict() -> Level {
    Level::Strict
}

/// `gateway`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// The address to listen on. Default `127.0.0.1:18789`.
    pub listen: SocketAddr,
    /// Values of `Origin` that are allowed beside the gateway's own. Default none.
    pub origins: Vec<String>,
    /// Values of `Host` that are allowed beside the gateway's own. Default none.
    pub hosts: Vec<String>,
    /// TLS on the listener. Default none: plain HTTP, which is for this machine alone.
    pub tls: Option<Tls>,
}

/// `gateway.tls`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The PEM file of the certificate and those between it and its root.
    pub certificate: PathBuf,
    /// The PEM file of its private key, readable by its owner alone.
    pub key: PathBuf,
}

/// `rates`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Rates {
    /// Requests of one client in any minute. Default 60.
    pub requests_per_minute: u32,
    /// Messages of one session in any minute. Default 30.
    pub messages_per_minute: u32,
}

/// How tightly a tool is contained.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not contained.
    None,
    /// Workspace-only writes, network.
    Relaxed,
    /// Workspace-only writes, no network, isolated namespaces. The default.
    Strict,
}

/// One thing that a tool may do.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Read files of the workspace.
    Read,
    /// Create and change files of the workspace.
    Write,
    /// Use the network, where its level allows one.
    Network,
    /// Start programs.
    Process,
}

/// `sandbox`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// The level for every tool that is not named in `tools`. Default strict.
    pub level: Level,
    /// Looser or tighter levels, by exact tool name.
    pub tools: BTreeMap<String, Level>,
    /// The unprivileged uid to drop to when the runtime runs as root.
    pub uid: Option<u32>,
    /// The time limit of one tool run. Default 30 s.
    #[serde(rename = "timeoutSeconds", with = "file::seconds")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
}

/// Which model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Offline: understands a few fixed sentences. The default.
    Scripted,
    /// Anything that speaks the chat-completions protocol.
    OpenAi,
    /// Anything that speaks the messages protocol.
    Anthropic,
}

/// `model`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Model {
    /// Default scripted.
    pub provider: Provider,
    /// The base URL of an `openai` or `anthropic` provider, without a trailing slash.
    pub base_url: Option<String>,
    /// The model's name at the provider.
    pub name: Option<String>,
    /// The *name of the vault record* that holds the key, never the key.
    pub api_key: Option<String>,
    /// Whether answers are asked for piece by piece. Default true.
    pub stream: bool,
    /// The most tokens of one answer that an `anthropic` provider is asked for. Default 4096.
    pub max_tokens: u32,
    /// The time limit of one answer. Default 60 s.
    #[serde(rename = "timeoutSeconds", with = "file::seconds")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
}

/// `tools`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tools {
    /// Names of tools that are not registered.
    pub disabled: BTreeSet<String>,
    /// Names of tools that are registered only where they are named here, such as `shell`.
    pub enabled: BTreeSet<String>,
    /// What a tool may do, by exact name, where that is less than it declares.
    pub capabilities: BTreeMap<String, BTreeSet<Capability>>,
}

/// `agent`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Agent {
    /// Model answers in one turn. Default 16.
    pub max_steps: u32,
    /// The time limit of one turn. Default 120 s.
    #[serde(rename = "timeoutSeconds", with = "file::seconds")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
}

/// `audit`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Audit {
    /// A file of the log that has this many bytes is closed, and a new one begun. Default 64 MiB.
    pub segment_bytes: u64,
    /// Whether a record is acknowledged only when the disk has it. Default false: the disk has it
    /// within a second.
    pub durable: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, durable: false }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 18789)),
            origins: Vec::new(),
            hosts: Vec::new(),
            tls: None,
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self { requests_per_minute: 60, messages_per_minute: 30 }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        let strict = requirement::SANDBOX_DEFAULT_STRICT.enforced();
        Self {
            level: if strict { Level::Strict } else { Level::None },
            tools: BTreeMap::new(),
            uid: None,
            timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self {
            provider: Provider::Scripted,
            base_url: None,
            name: None,
            api_key: None,
            stream: true,
            max_tokens: 4_096,
            timeout: Duration::from_secs(60),
        }
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self { max_steps: 16, timeout: Duration::from_secs(120) }
    }
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// A Layer 1 requirement that the file breaks, or `error.deny`; the cause is the sentence for
    /// the operator who wrote the file.
    pub fn load(path: &Path) -> Result<Self, Rejection> {
        file::load(path)
    }

    /// Reads a configuration from the bytes of a file.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejection> {
        file::parse(bytes)
    }

    /// The JSON Schema of the file, as it is published in docs/config.schema.json.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// The level in force for a tool.
    #[must_use]
    pub fn level(&self, tool: &str) -> Level {
        let named = if requirement::SANDBOX_LOOSER_PER_TOOL.enforced() {
            self.sandbox.tools.get(tool)
        } else {
            self.sandbox.tools.values().min()
        };
        named.copied().unwrap_or(self.sandbox.level)
    }
}
