//! The manifest of a target: a TOML file that says how it is started, reached and configured.
//! It must never hold an expectation: what a target ought to do stands in the catalogue alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::corpus::payload::{Naming, ToolShape};

use super::command_line::Command;
use super::template::nearest;
pub use super::turn::{Pairing, Told, Turn};

/// Why a manifest cannot be used; each is one sentence for the person who wrote it.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file could not be read.
    #[error("cannot read the manifest {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no manifest; the message names the key and, if one is near, the right one.
    #[error("{path}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
}

/// How a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DriverKind {
    /// A server that is sent HTTP calls and asks the suite's model.
    Rpc,
    /// A server whose answer to a message comes by a stream of events, by a socket, by asking again,
    /// or after it asked for leave.
    Http,
    /// A sandbox command: a prefix before the command line that it confines.
    Launcher,
    /// A one-shot agent: a process of its own for each user message.
    Cli,
    /// An adapter that speaks the suite's JSON-lines protocol on its standard streams.
    Process,
    /// An agent that speaks the Agent Client Protocol on its standard streams.
    Acp,
}

/// How an agent is answered that asks its user for leave to run a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// No.
    #[default]
    Deny,
    /// Yes, this once.
    Allow,
}

impl DriverKind {
    /// Whether it runs command lines in a sandbox and is no agent that asks a model.
    #[must_use]
    pub fn is_launcher(self) -> bool {
        self == Self::Launcher
    }

    /// Whether its manifest may name no program of its own, since its command line says it all.
    #[must_use]
    pub fn may_be_bare(self) -> bool {
        matches!(self, Self::Launcher | Self::Process | Self::Acp | Self::Http)
    }

    /// Whether its driver starts it when the first message comes.
    #[must_use]
    pub fn starts_late(self) -> bool {
        matches!(self, Self::Cli | Self::Process | Self::Acp)
    }
}

/// One implementation under test. Strings may hold variables; see [`Manifest::VARIABLES`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// A short name, such as `reference`.
    pub name: String,
    /// One sentence about the target.
    #[serde(default)]
    pub title: String,
    /// How it is reached.
    pub driver: DriverKind,
    /// The profiles that it claims: boundary, gateway, registry, sandbox, vault, plugins, full.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// The program under test; `--bin` names another file.
    #[serde(default)]
    pub binary: Option<Binary>,
    /// Programs that must be on PATH, such as `bwrap`.
    #[serde(default)]
    pub requires: Vec<String>,
    /// For `driver = "launcher"`.
    #[serde(default)]
    pub launcher: Option<Launcher>,
    /// The configuration file written before the target starts.
    #[serde(default)]
    pub config: Option<Config>,
    /// Further files written before the target is prepared, such as a configuration that is no
    /// JSON.
    #[serde(default)]
    pub write: Vec<Text>,
    /// For `driver = "cli"`: the command line that hands over one user message (`${MESSAGE}`) and
    /// ends when it is answered.
    #[serde(default)]
    pub message: Option<Command>,
    /// How the published version that this manifest speaks about is had.
    #[serde(default)]
    pub subject: Option<Subject>,
    /// Commands that run to their end before the target starts, in order.
    #[serde(default)]
    pub prepare: Vec<Command>,
    /// Whether `prepare` is run once and its result copied for every further target of a run: all
    /// that it writes then lies below `${STATE}`, holds no path or address, and depends on
    /// `${SECRET}` and `${MASTER}` alone, which the copies share.
    #[serde(default)]
    pub prepare_once: bool,
    /// The command whose standard output is the access token (run before the target starts).
    #[serde(default)]
    pub token: Option<Command>,
    /// For `driver = "acp"` and `http`: how the agent is answered that asks for leave to run a tool.
    #[serde(default)]
    pub approval: Approval,
    /// How the server is started; for `driver = "process"` the adapter, for `acp` the agent.
    #[serde(default)]
    pub start: Option<Command>,
    /// How long the target may take to be ready, in seconds.
    #[serde(default = "ready_seconds")]
    pub ready_seconds: u64,
    /// The header that carries the token, as `Name: value`.
    #[serde(default)]
    pub authorization: Option<String>,
    /// HTTP calls by role: `health`, `session-create`, `message` and `metadata` are what the
    /// suite needs; scenarios ask for others by name and are unsupported without them.
    #[serde(default)]
    pub calls: BTreeMap<String, Call>,
    /// How a token is had from the running server: the call `pair` picks it from its answer.
    #[serde(default)]
    pub pairing: Option<Pairing>,
    /// For `driver = "http"`: where the answer to a message is told.
    #[serde(default)]
    pub turn: Turn,
    /// How its WebSocket is reached, whose frames are bodies of the calls.
    #[serde(default)]
    pub websocket: Option<WebSocket>,
    /// The target's tools by role: `read`, `write`, `list`, `exec`.
    #[serde(default)]
    pub tools: BTreeMap<String, Tool>,
    /// Other command lines by role, for scenarios: `vault-put`, `audit-verify`, `status`, ...
    #[serde(default)]
    pub commands: BTreeMap<String, Command>,
    /// Places that scenarios read, by role: `audit`, `vault`, `logs`.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// How the records of the audit log (`files.audit`, one JSON object a line) are to be read.
    #[serde(default)]
    pub audit: Option<Audit>,
    /// How a plugin of the suite's is put into it.
    #[serde(default)]
    pub plugins: Option<super::plugins::Plugins>,
    /// Where an error answer has its parts.
    #[serde(default)]
    pub errors: Option<Errors>,
    /// Environment variables of the server by role, for scenarios: `without-sandbox-helper` names
    /// those under which the target does not find the program that contains its tools.
    #[serde(default)]
    pub environments: BTreeMap<String, BTreeMap<String, String>>,
    /// Arguments inserted behind the program name for `--knockout ID`: `${KNOCKOUT}`.
    #[serde(default)]
    pub knockout: Vec<String>,
    /// Requirements (or heads such as `plugin`) that the target says it does not meet: id = reason.
    #[serde(default)]
    pub unsupported: BTreeMap<String, String>,
}

fn ready_seconds() -> u64 {
    20
}

/// The program under test.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Binary {
    /// Its name: looked for beside `clawproof` itself, then on PATH.
    pub name: String,
    /// The names of files that belong to it: where they stand beside it, they are copied with it.
    #[serde(default)]
    pub beside: Vec<String>,
}

/// A sandbox command.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Launcher {
    /// The command line up to the confined one.
    pub prefix: Vec<String>,
    /// Environment variables of the launcher, on top of PATH, HOME, TMPDIR and LANG.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The level that this command line asks for: `relaxed` or `strict` (the default).
    #[serde(default)]
    pub level: Option<String>,
    /// The command line that asks for level Relaxed, where there is one beside `prefix`; the probes
    /// are then run at both levels.
    #[serde(default)]
    pub relaxed: Option<Vec<String>>,
    /// Whether it changes to the uid `${UID}` where it is started as root: the workspace is then
    /// that uid's (`clawproof run --as-root`).
    #[serde(default)]
    pub drops: bool,
}

/// A configuration file in JSON.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Where it is written.
    pub path: String,
    /// The base text: a JSON object.
    pub json: String,
    /// JSON merge patches (RFC 7396) by role. `raised-rates` is applied unless a case asks for
    /// the target's own rates; others are applied where a case asks for them by name.
    #[serde(default)]
    pub patches: BTreeMap<String, String>,
}

/// A file that is written for the target.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Text {
    /// Where it is written.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// A published implementation: its version, and what its registries call it. It is installed into
/// a folder of its own, `${SUBJECT}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Subject {
    /// The version, for people.
    pub version: String,
    /// Its licence, as SPDX.
    pub licence: String,
    /// npm packages, each `name@version`.
    #[serde(default)]
    pub npm: Vec<String>,
    /// Python packages, each `name==version`, installed into a virtual environment.
    #[serde(default)]
    pub pip: Vec<String>,
    /// Rust packages, each `name@version` with further arguments of `cargo install` behind it.
    #[serde(default)]
    pub cargo: Vec<String>,
    /// A crate of this repository that wires published ones into a program, from the project's root.
    #[serde(default)]
    pub wiring: Option<String>,
    /// Packages of the distribution that it needs or is.
    #[serde(default)]
    pub apt: Vec<String>,
    /// Its program, relative to the folder; without one it is found on PATH.
    #[serde(default)]
    pub program: Option<String>,
    /// The subject whose folder it shares, where two manifests speak about one installation.
    #[serde(default)]
    pub shares: Option<String>,
    /// Limits that its authors document, one sentence each.
    #[serde(default)]
    pub limits: Vec<String>,
    /// When and how this manifest was last run, in words; absent where it never was.
    #[serde(default)]
    pub seen: Option<String>,
}

/// An HTTP call.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Call {
    /// The method; `POST` where there is a body, else `GET`.
    #[serde(default)]
    pub method: Option<String>,
    /// The path, such as `/rpc`.
    pub path: String,
    /// Headers besides Host, Content-Length and the authorization. Content-Type is that of JSON
    /// where there is a body and none stands here.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(default)]
    pub body: Option<String>,
    /// Whether the authorization header is sent.
    #[serde(default = "yes")]
    pub authorized: bool,
    /// JSON pointer to what the caller wants of the answer, such as `/result/session`.
    #[serde(default)]
    pub pick: Option<String>,
    /// Whether several bodies of this call may be sent at once, as a JSON array of them.
    #[serde(default)]
    pub batch: bool,
}

fn yes() -> bool {
    true
}

/// A WebSocket whose text frames are the bodies of calls.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WebSocket {
    /// The path, such as `/ws`.
    pub path: String,
    /// JSON pointer to what every answer has and no event: `/id`. Without one every frame is an answer.
    #[serde(default)]
    pub answer: String,
}

/// How an audit record says what it is. Every place is a JSON pointer into the record.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Audit {
    /// Where the id stands that the answer to the caller had too.
    #[serde(default)]
    pub correlation: Option<String>,
    /// Where the sandbox level stands that was in force for a tool.
    #[serde(default)]
    pub level: Option<String>,
    /// What a record of an event holds: place = value. Events: `auth-success`, `auth-failure`,
    /// `authorization-allow`, `authorization-deny`, `tool-completed`, `tool-failed`,
    /// `config-change`, `rate-limit`.
    #[serde(default)]
    pub events: BTreeMap<String, BTreeMap<String, String>>,
}

/// The parts of an error answer. Every place is a JSON pointer into the body.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Errors {
    /// Where the stable code stands.
    pub code: String,
    /// Where the id stands that the log has too.
    pub correlation: String,
}

/// A tool of the target.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tool {
    /// Its name on this target.
    pub name: String,
    /// Its arguments: the strings `${path}`, `${content}`, `${argv}` (an array of strings) and
    /// `${command}` (the same quoted for a POSIX shell) stand for the values. `${path|shell}` and
    /// `${content|shell}` may stand inside a text, for a runtime that has a shell and no file tools.
    pub arguments: serde_json::Map<String, serde_json::Value>,
}

impl Manifest {
    /// The variables that every string of a manifest may use.
    pub const VARIABLES: &'static [&'static str] = &[
        "BIN",
        "STATE",
        "WORKSPACE",
        "HOME",
        "PORT",
        "MODEL_URL",
        "CONFIG",
        "SECRET",
        "MASTER",
        "TOKEN",
        "KNOCKOUT",
        "UID",
        "SUBJECT",
        "MESSAGE",
        "SESSION",
        "FRESH",
        "CODE",
        "RUN",
        "REQUEST",
        "DECISION",
    ];

    /// Reads a manifest file.
    ///
    /// # Errors
    /// The file is unreadable, is no TOML, or has an unknown key (the nearest known one is named).
    pub fn load(path: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ManifestError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads a manifest's text; `path` is named in errors.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ManifestError> {
        let invalid = |message: String| ManifestError::Invalid { path: path.to_owned(), message };
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| {
                let before = text.get(..span.start).unwrap_or_default();
                format!("line {}: ", before.matches('\n').count() + 1)
            });
            invalid(format!("{}{}", line.unwrap_or_default(), with_nearest(error.message())))
        })?;
        manifest.check().map_err(invalid)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        match self.driver {
            DriverKind::Launcher if self.launcher.is_none() => {
                return Err("driver = \"launcher\" needs a [launcher] with its prefix".to_owned());
            }
            DriverKind::Rpc if self.start.is_none() => {
                return Err("driver = \"rpc\" needs a [start] with its argv".to_owned());
            }
            DriverKind::Process | DriverKind::Acp if self.start.is_none() => {
                let name = if self.driver == DriverKind::Acp { "acp" } else { "process" };
                return Err(format!("driver = \"{name}\" needs a [start] with its argv"));
            }
            DriverKind::Http => self.check_turns()?,
            DriverKind::Cli if self.message.is_none() => {
                return Err("driver = \"cli\" needs a [message] with its argv".to_owned());
            }
            DriverKind::Rpc if !self.calls.contains_key("health") => {
                return Err("driver = \"rpc\" needs a [calls.health]".to_owned());
            }
            _ => {}
        }
        for (name, lines) in self.command_lines() {
            if lines.is_empty() {
                return Err(format!("{name}: argv is empty"));
            }
        }
        Ok(())
    }

    /// That it has what the turns of its server need.
    fn check_turns(&self) -> Result<(), String> {
        let call = |name: &str| self.calls.contains_key(name);
        let missing = if self.start.is_none() {
            Some("[start] with its argv")
        } else if !call("message") {
            Some("[calls.message]")
        } else if self.pairing.is_some() && !call("pair") {
            Some("[calls.pair], since there is a [pairing]")
        } else {
            self.turn.lacks(call, self.websocket.is_some())
        };
        missing.map_or(Ok(()), |what| Err(format!("driver = \"http\" needs {what}")))
    }

    fn command_lines(&self) -> impl Iterator<Item = (&str, &[String])> {
        let named = self.commands.iter().map(|(name, command)| (name.as_str(), command));
        let fixed = [
            ("start", self.start.as_ref()),
            ("token", self.token.as_ref()),
            ("message", self.message.as_ref()),
        ];
        let prepare = self.prepare.iter().map(|command| ("prepare", command));
        fixed
            .into_iter()
            .filter_map(|(name, command)| command.map(|command| (name, command)))
            .chain(prepare)
            .chain(named)
            .map(|(name, command)| (name, command.argv.as_slice()))
    }

    /// The folder that a subject was installed into, seen from its program.
    #[must_use]
    pub fn folder<'a>(&self, program: &'a Path) -> &'a Path {
        let below = self.subject.as_ref().and_then(|subject| subject.program.as_deref());
        let depth = below.map_or(0, |below| Path::new(below).components().count());
        program.ancestors().nth(depth).unwrap_or(program)
    }

    /// What this target calls the tools that corpus cases use; the suite's own names where the
    /// manifest maps none (cases that need such a tool are `unsupported`).
    #[must_use]
    pub fn naming(&self) -> Naming {
        let mut naming = Naming::default();
        let slots =
            [("read", &mut naming.read), ("write", &mut naming.write), ("exec", &mut naming.exec)];
        for (role, slot) in slots {
            if let Some(Tool { name, arguments }) = self.tools.get(role) {
                *slot = ToolShape { name: name.clone(), arguments: arguments.clone() };
            }
        }
        naming
    }

    /// Why the target says that it does not meet this requirement, if it says so: the longest
    /// head of the id that `[unsupported]` names.
    #[must_use]
    pub fn unsupported(&self, requirement: &str) -> Option<&str> {
        declared_unsupported(&self.unsupported, requirement)
    }
}

/// See [`Manifest::unsupported`].
#[must_use]
pub fn declared_unsupported<'a>(
    declared: &'a BTreeMap<String, String>,
    requirement: &str,
) -> Option<&'a str> {
    let mut head = requirement;
    loop {
        if let Some(reason) = declared.get(head) {
            return Some(reason);
        }
        head = head.rsplit_once('.')?.0;
    }
}

/// Turns serde's list of all known keys into the one that was probably meant.
fn with_nearest(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let (Some(unknown), true) = (words.next(), message.starts_with("unknown ")) else {
        return message.trim().to_owned();
    };
    let kind = if message.starts_with("unknown variant") { "value" } else { "key" };
    match nearest(unknown, words) {
        Some(near) => format!("unknown {kind} `{unknown}`; did you mean `{near}`?"),
        None => message.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(text, Path::new("t.toml"))
    }

    #[test]
    fn names_the_nearest_known_key() {
        let error = parse("name = \"a\"\ndrivr = \"rpc\"\n").unwrap_err().to_string();
        assert_eq!(error, "t.toml: line 2: unknown key `drivr`; did you mean `driver`?");
    }

    #[test]
    fn a_server_without_a_start_is_refused() {
        let error = parse("name = \"a\"\ndriver = \"rpc\"\n").unwrap_err().to_string();
        assert!(error.contains("[start]"), "{error}");
    }

    #[test]
    fn a_head_covers_the_requirements_below_it() {
        let text = "name = \"a\"\ndriver = \"launcher\"\nlauncher.prefix = [\"x\"]\n\
                    [unsupported]\nplugin = \"has none\"\n";
        let manifest = parse(text).unwrap();
        assert_eq!(manifest.unsupported("plugin.frame"), Some("has none"));
        assert_eq!(manifest.unsupported("path.link"), None);
    }
}
