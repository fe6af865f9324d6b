//! The laboratory that scenarios work in: fresh, isolated targets with the suite's stage beside them.
//! It must never know a verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::driver::pairing;
use crate::driver::rpc::Rpc;
use crate::driver::way::Way;
use crate::stage::model::Model;
use crate::target::instance::{Instance, Plan};
use crate::target::manifest::Manifest;
use crate::target::prepared::Once;

use super::Trouble;
use super::lent::{Idle, Lent};
use super::options::Options;
use super::running::Target;

#[derive(Debug)]
struct Inner {
    manifest: Arc<Manifest>,
    binary: PathBuf,
    knockout: Option<String>,
    prepared: Once,
    idle: Arc<Idle>,
}

/// Makes targets. Cheap to clone; every target ends when its last clone does.
#[derive(Clone, Debug)]
pub struct Lab {
    inner: Arc<Inner>,
}

impl Lab {
    /// A laboratory for one target; `binary` must stand where the target's uid can reach it.
    #[must_use]
    pub fn new(manifest: Arc<Manifest>, binary: PathBuf, knockout: Option<String>) -> Self {
        let (prepared, idle) = (Once::default(), Arc::default());
        Self { inner: Arc::new(Inner { manifest, binary, knockout, prepared, idle }) }
    }

    /// The manifest of the target.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.inner.manifest
    }

    /// The target's program, in a place that its uid can reach.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.inner.binary
    }

    /// The knockout that the target is started with, if any.
    #[must_use]
    pub fn knockout(&self) -> Option<&str> {
        self.inner.knockout.as_deref()
    }

    /// A target for a scenario that leaves it as it was: one that others used before it, or a fresh
    /// one. Scenarios that stop, kill or reconfigure their target, look at its memory or spend its
    /// limits take [`Lab::instance`].
    ///
    /// # Errors
    /// As [`Lab::instance`].
    pub async fn lent(&self, options: Options) -> Result<Lent, Trouble> {
        let idle = &self.inner.idle;
        if let Some(lent) = Lent::waiting(idle, &options).await {
            return Ok(lent);
        }
        Ok(Lent::of(self.instance(options.clone()).await?, options, idle))
    }

    /// Starts a fresh target: its own world, its own model, ready to be called.
    ///
    /// # Errors
    /// `Unsupported` for a patch that the manifest lacks, `Target` where it does not start.
    pub async fn instance(&self, options: Options) -> Result<Target, Trouble> {
        let model = Model::start().await?;
        let plan = Plan {
            manifest: Arc::clone(&self.inner.manifest),
            binary: self.inner.binary.clone(),
            model_url: model.url(),
            knockout: self.inner.knockout.clone(),
            own_rates: options.own_rates,
            patches: options.patches,
            environments: options.environments,
            merges: options.merges,
            env: options.env,
            vars: options.vars,
            files: options.files,
            wrap: options.wrap,
            in_memory: options.in_memory,
            plugins: options.plugins,
            prepared: (!options.prepared_anew).then(|| Arc::clone(&self.inner.prepared)),
        };
        let mut instance = Instance::start(&plan).await?;
        let paired = pairing::token(&instance).await;
        if let Some(token) = paired.map_err(|error| Trouble::Target(error.to_string()))? {
            instance.learn("TOKEN", token);
        }
        let (rpc, way) = (Rpc::new(&instance), Way::of(&instance));
        Ok(Target::new(instance, model, rpc, way))
    }
}
