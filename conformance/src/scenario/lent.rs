//! Targets that scenarios hand on to each other, so that not each of them costs the start of a server.
//! It must never hand on one whose state is in doubt: a scenario that fell, that met trouble or that
//! changes its target for good keeps it to its end.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Finding;
use super::options::Options;
use super::running::Target;

/// So many wait at most; more than lanes times configurations are never of use.
const MOST: usize = 16;

/// The targets that nobody uses at the moment, with how each was started.
#[derive(Debug, Default)]
pub(super) struct Idle {
    targets: Mutex<Vec<(Options, Target)>>,
}

impl Idle {
    fn targets(&self) -> MutexGuard<'_, Vec<(Options, Target)>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, options: &Options) -> Option<Target> {
        let mut targets = self.targets();
        let at = targets.iter().position(|(started, _)| started == options)?;
        Some(targets.swap_remove(at).1)
    }
}

/// A target that other scenarios may have used before, one at a time. It ends where it is dropped;
/// [`Lent::back`] hands it on.
#[derive(Debug)]
pub struct Lent {
    target: Target,
    options: Options,
    idle: Arc<Idle>,
}

impl Deref for Lent {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}

impl Lent {
    /// Lends a target that waits, was started like this and still answers; none where there is none.
    pub(super) async fn waiting(idle: &Arc<Idle>, options: &Options) -> Option<Self> {
        while let Some(target) = idle.take(options) {
            if target.alive().await {
                return Some(Self::of(target, options.clone(), idle));
            }
        }
        None
    }

    /// Lends a target that was started like this just now.
    pub(super) fn of(target: Target, options: Options, idle: &Arc<Idle>) -> Self {
        Self { target, options, idle: Arc::clone(idle) }
    }

    /// Hands the target on, unless something fell: what state it is in is unknown then.
    pub fn back(self, finding: &Finding) {
        let Self { target, options, idle } = self;
        let mut targets = idle.targets();
        if finding.first_fall().is_none() && targets.len() < MOST {
            targets.push((options, target));
        }
    }

    /// Keeps the target: it is handed on no more.
    #[must_use]
    pub fn kept(self) -> Target {
        self.target
    }
}
