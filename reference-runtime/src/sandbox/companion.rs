//! A process that stays: contained like any run, watched until it ends, and spoken to by whoever
//! asked for it. It must never know what is said.

use std::{
    ffi::OsString,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Contained, Level, Refusal, Sandbox,
    run::{Job, NOT_BUILT, Ran, Stays, Work},
};
use crate::{audit::Rejection, registry::Capabilities, requirement};

/// Longer than any runtime lives.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What is to be started and to stay.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The one folder that it sees, read-only, and in which it starts.
    pub folder: PathBuf,
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// How tightly it is held: relaxed or strict.
    pub level: Level,
    /// What it may do: of these the network alone concerns its sandbox.
    pub capabilities: Capabilities,
}

/// A process that stays. Dropping it ends it, and everything that it started.
#[derive(Debug)]
pub struct Companion {
    helper: Arc<AtomicU32>,
    ended: oneshot::Receiver<Result<Ran, Rejection>>,
    over: Option<Gone>,
    alive: Option<oneshot::Sender<()>>,
}

/// The number of the process that was started for a companion, once there is one: what speaks as
/// the companion is this process or descends from it.
#[derive(Clone, Debug)]
pub struct Helper(Arc<AtomicU32>);

impl Helper {
    /// The number; none as long as nothing is started.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }
}

/// How one that stayed came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The exit code; 128 + signal where a signal ended it; none where it was ended for what it
    /// printed.
    pub code: Option<i32>,
    /// The start of what it wrote to its error stream.
    pub words: String,
}

impl Companion {
    /// The process that was started for it.
    #[must_use]
    pub fn helper(&self) -> Helper {
        Helper(Arc::clone(&self.helper))
    }

    /// Asks it to end; [`Companion::gone`] tells when it has.
    pub fn end(&mut self) {
        self.alive = None;
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// `sandbox.fail-closed` where it did not start.
    pub async fn gone(&mut self) -> Result<Gone, Rejection> {
        if let Some(gone) = &self.over {
            return Ok(gone.clone());
        }
        let ran = (&mut self.ended).await.unwrap_or_else(|_| {
            Err(Refusal::new(NOT_BUILT, "the run ended early".to_owned()).reject())
        });
        let gone = ran.map(|ran| match ran.missing {
            Some(missing) => Gone { code: Some(127), words: missing },
            None => Gone { code: ran.code, words: ran.stderr.text() },
        });
        let never = || Gone { code: None, words: String::new() };
        self.over = Some(gone.as_ref().map_or_else(|_| never(), Gone::clone));
        gone
    }
}

impl Sandbox {
    /// The uid that tools and plugins have, where it is another than this process's: the folder of
    /// a plugin must be that one's.
    #[must_use]
    pub fn owner(&self) -> Option<u32> {
        #[cfg(target_os = "linux")]
        return self.backend.as_ref().ok()?.owner();
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Starts a process that stays, in a sandbox of its own. To be called where a runtime is at work.
    ///
    /// # Errors
    /// `sandbox.fail-closed` where it cannot be contained here.
    pub fn accompany(&self, wanted: Wanted) -> Result<Contained<Companion>, Rejection> {
        let backend = self.backend.as_ref().map_err(Refusal::reject)?;
        if cfg!(not(target_os = "linux")) {
            let public = "a plugin can be contained on Linux alone so far, so it does not run";
            return Err(Refusal::new(public, std::env::consts::OS).reject());
        }
        // What is prevented: a plugin that runs as its host does.
        let bare = !requirement::PLUGIN_LEAST.enforced();
        let level = if bare { Level::None } else { wanted.level };
        if level == Level::None && !bare {
            let public = "a plugin never runs without a sandbox";
            return Err(Refusal::new(public, "the level asked for is none").reject());
        }
        let helper = Arc::new(AtomicU32::new(0));
        let job = Job {
            level,
            capabilities: wanted.capabilities,
            work: Work::Program(wanted.argv),
            timeout: FOR_EVER,
            pass_on: false,
            stays: Some(Stays { folder: wanted.folder, helper: Arc::clone(&helper), bare }),
        };
        let (alive, stop) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        let backend = Arc::clone(backend);
        tokio::spawn(async move {
            let _ = tell.send(backend.run(job, stop).await);
        });
        Ok(Contained { value: Companion { helper, ended, over: None, alive: Some(alive) }, level })
    }
}
