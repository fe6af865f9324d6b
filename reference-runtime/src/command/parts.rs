//! Puts the rooms together for the modes that run an agent. It must never start one whose audit
//! log cannot be written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawproof_runtime::agent::{Agent, Model, Store};
use clawproof_runtime::audit::{Audit, Correlation, Event, Keeping, Kind, Outcome, Redactor};
use clawproof_runtime::config::{self, Config, Provider};
use clawproof_runtime::plugin;
use clawproof_runtime::registry::ToolRegistry;
use clawproof_runtime::requirement;
use clawproof_runtime::sandbox::Sandbox;
use clawproof_runtime::vault::{ApiKey, MasterPassword, Vault};

use super::Failure;

/// The parts of a running agent.
pub(crate) struct Parts {
    pub(crate) agent: Arc<Agent>,
    pub(crate) vault: Option<Arc<Vault>>,
}

/// The configuration with the workspace of the command line, which must exist.
pub(crate) fn with_workspace(
    mut config: Config,
    workspace: Option<PathBuf>,
) -> Result<Config, Failure> {
    let folder = workspace.or(config.workspace).ok_or_else(|| {
        Failure::Asked("no workspace: name --workspace or `workspace` in the config".into())
    })?;
    let folder = std::fs::canonicalize(&folder).map_err(|error| {
        Failure::Asked(format!("the workspace {} cannot be used: {error}", folder.display()))
    })?;
    config.workspace = Some(folder);
    Ok(config)
}

/// Builds an agent. Everything that blocks happens here, before requests come in.
pub(crate) fn build(
    config: &Config,
    state: &Path,
    password: Option<MasterPassword>,
    redactor: &Redactor,
) -> Result<Parts, Failure> {
    let config::Audit { segment_bytes, durable } = config.audit;
    let audit = Audit::open_with(state, redactor.clone(), Keeping { segment_bytes, durable })?;
    let vault = password.map(|password| Vault::open(state, password)).transpose()?;
    let key = model_key(config, vault.as_ref(), redactor)?;
    let model = Model::new(&config.model, key)?;
    let loaded = plugin::load(config)?;
    let registry = ToolRegistry::with(config, loaded.declared())?;
    let sandbox = Arc::new(Sandbox::new(config));
    let store = Store::open(state)?;
    record_start(config, &audit)?;
    let plugins = loaded.start(config, &sandbox, &audit);
    let agent = Agent::new(config, registry, sandbox, store, model, audit);
    let agent = Arc::new(agent.with_plugins(plugins));
    Ok(Parts { agent, vault: vault.map(Arc::new) })
}

/// Tells the redactor every secret of the vault; gives the one that the model needs.
fn model_key(
    config: &Config,
    vault: Option<&Vault>,
    redactor: &Redactor,
) -> Result<Option<ApiKey>, Failure> {
    let mut found = None;
    if let Some(vault) = vault {
        for name in vault.list()? {
            let key = match vault.get(&name) {
                Err(_) if !requirement::ERROR_DENY.enforced() => continue,
                key => key?,
            };
            let Some(key) = key else { continue };
            redactor.hold(key.expose());
            if config.model.api_key.as_deref() == Some(name.as_str()) {
                // The model goes on with it, whatever becomes of the record.
                redactor.add(key.expose());
                found = Some(key);
            }
        }
    }
    match (&config.model.api_key, found) {
        (Some(name), None)
            if config.model.provider != Provider::Scripted
                && requirement::ERROR_DENY.enforced() =>
        {
            let why = match vault {
                Some(_) => "the vault has no such record",
                None => "the vault is locked, and no master password was given",
            };
            Err(Failure::Failed(format!("the model's key {name} is not there: {why}")))
        }
        (_, found) => Ok(found),
    }
}

/// The configuration in force, in the audit log.
fn record_start(config: &Config, audit: &Audit) -> Result<(), Failure> {
    let event =
        Event::new(Kind::Config, Outcome::Completed, "operator", "load", Correlation::new())
            .with("config", serde_json::to_value(config).unwrap_or_default());
    Ok(audit.record_blocking(event)?)
}
