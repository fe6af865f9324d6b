//! How a target is to be started for a scenario. It must never know how that is done.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::target::plugins::Install;

/// How a target is to be started; the default is the manifest's own configuration with raised
/// rate limits, so that attacks on other things are not slowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub(super) own_rates: bool,
    pub(super) patches: Vec<String>,
    pub(super) environments: Vec<String>,
    pub(super) merges: Vec<Value>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) vars: BTreeMap<String, Vec<u8>>,
    pub(super) files: Vec<(String, String, Vec<u8>)>,
    pub(super) wrap: Vec<String>,
    pub(super) in_memory: bool,
    pub(super) prepared_anew: bool,
    pub(super) plugins: Vec<Install>,
}

impl Options {
    /// Keeps the target's own rate limits.
    #[must_use]
    pub fn own_rates(mut self) -> Self {
        self.own_rates = true;
        self
    }

    /// Puts the world on a file system in memory, for cases that save thousands of files and run
    /// no tool ([`in_memory`](crate::target::world::World::in_memory)).
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Has the target's own commands prepare this one, also where the run has a preparation to copy:
    /// for cases that look at what they write.
    #[must_use]
    pub fn prepared_anew(mut self) -> Self {
        self.prepared_anew = true;
        self
    }

    /// Applies a config patch that the manifest names, such as `sandbox-relaxed`; a target whose
    /// manifest has none is `unsupported`.
    #[must_use]
    pub fn patch(mut self, name: &str) -> Self {
        self.patches.push(name.to_owned());
        self
    }

    /// Starts the server with variables that the manifest names, such as
    /// `without-sandbox-helper`; a target whose manifest has none is `unsupported`.
    #[must_use]
    pub fn environment(mut self, name: &str) -> Self {
        self.environments.push(name.to_owned());
        self
    }

    /// Applies a JSON merge patch in the target's own config naming, after the named ones. Named
    /// patches are to be preferred: they work on other targets too.
    #[must_use]
    pub fn merge(mut self, patch: Value) -> Self {
        self.merges.push(patch);
        self
    }

    /// Sets an environment variable of the server.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a variable of the manifest for the config and the start of the server, such as
    /// another `MASTER`; what was prepared before had the manifest's own.
    #[must_use]
    pub fn var(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.vars.insert(name.to_owned(), value.into());
        self
    }

    /// Puts a file of the target's own (mode 0600) into its home folder; the variable is its path.
    #[must_use]
    pub fn file(mut self, variable: &str, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((variable.to_owned(), name.to_owned(), bytes.into()));
        self
    }

    /// Starts with a plugin of the suite's; a target whose manifest has no `[plugins]` is
    /// `unsupported`.
    #[must_use]
    pub fn plugin(mut self, install: Install) -> Self {
        self.plugins.push(install);
        self
    }

    /// Starts the server behind another program, which must in the end become it: a shell that
    /// sets a limit and then `exec`s its arguments.
    #[must_use]
    pub fn wrap<S: Into<String>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.wrap = argv.into_iter().map(Into::into).collect();
        self
    }
}
