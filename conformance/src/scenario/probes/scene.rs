//! What a probe's stage is made of: parameters, a careless launch, observers, things kept alive.
//! It must never know a target or an expectation.

use std::any::Any;
use std::path::{Path, PathBuf};

use clawproof_probe::{Params, step};

use crate::driver::Ran;
use crate::driver::launcher::{Ask, Interrupt};
use crate::target::process::contains;
use crate::target::world::{World, random_hex};

use super::Trouble;
use super::outside::{self, Marked};
use super::racer::Racer;
pub(super) use crate::scenario::sight::Sight;

/// One run's place: with or without the sandbox, its own folder tree and its own random values.
pub(crate) struct Site<'a> {
    /// The folder tree outside.
    pub(crate) world: &'a World,
    /// The workspace as the host sees it.
    pub(crate) workspace: PathBuf,
    /// The mark of this run, in the arguments of everything that the probe starts.
    pub(crate) token: String,
    /// The probe binary where the target's uid can reach it, outside the workspace.
    pub(crate) helper: PathBuf,
    /// What stands before the probe's command line; none through a running agent.
    pub(crate) prefix: Option<Vec<String>>,
    /// Whether this is the run without a sandbox.
    pub(crate) control: bool,
    /// The process of the running agent, if it is one that runs the probe.
    pub(crate) runtime: Option<u32>,
}

impl Site<'_> {
    /// A fresh random secret that the probe is never told.
    pub(crate) fn secret(&self) -> String {
        format!("canary-{}", random_hex(16))
    }

    /// Puts a private file of the target's user somewhere on the host.
    pub(crate) fn place(&self, path: &Path, text: &str) -> Result<(), Trouble> {
        Ok(self.world.write(path, text.as_bytes(), 0o600)?)
    }
}

/// What is seen while the probe stands in position.
pub(crate) struct Held {
    /// The run's processes as the host sees them; the probe itself first.
    pub(crate) marked: Vec<Marked>,
    pub(crate) token: String,
}

impl Held {
    /// The probe's own process.
    pub(crate) fn probe(&self) -> Option<u32> {
        self.marked.iter().find(|process| process.is_probe()).map(|process| process.pid)
    }

    /// What `look` sees of the probe's process; blind if it is not there.
    pub(crate) fn of_probe(&self, look: impl FnOnce(u32) -> Option<Sight>) -> Sight {
        match self.probe() {
            None => Sight::Blind("the probe's process was not found from outside".into()),
            Some(pid) => {
                look(pid).unwrap_or_else(|| Sight::Blind(format!("/proc/{pid} could not be read")))
            }
        }
    }
}

/// What is seen after the run.
pub(crate) struct After<'a> {
    pub(crate) ran: &'a Ran,
    /// What the probe wrote into the workspace beside what it printed.
    pub(crate) told: &'a [u8],
    /// Whether its output was still open two seconds after its end.
    pub(crate) pipe_held: bool,
}

impl After<'_> {
    /// Whether this text came out of the sandbox.
    pub(crate) fn says(&self, text: &str) -> bool {
        let streams = [&*self.ran.stdout, &*self.ran.stderr, self.told];
        streams.iter().any(|stream| contains(stream, text.as_bytes()))
    }
}

type During = Box<dyn FnOnce(&Held) -> Sight + Send>;
type Afterwards = Box<dyn FnOnce(&After<'_>) -> Sight + Send>;

/// The stage of one run.
pub(crate) struct Scene {
    pub(crate) params: Params,
    pub(crate) ask: Ask,
    pub(crate) during: Option<During>,
    pub(crate) after: Option<Afterwards>,
    pub(crate) interrupt: Option<Interrupt>,
    /// Whether a process left behind is looked for by its heartbeat.
    pub(crate) heartbeat: bool,
    /// Whether never standing in position says nothing (else it means: it was stopped before).
    pub(crate) must_stand: bool,
    /// What exchanges names under the launcher; while it stands, a launch that was refused is tried
    /// again.
    pub(crate) racer: Option<Racer>,
    /// How often it was tried again.
    pub(crate) tries: u8,
    /// What must live as long as the run.
    pub(crate) kept: Vec<Box<dyn Any + Send>>,
}

impl Scene {
    pub(crate) fn new(site: &Site<'_>) -> Self {
        let params = Params {
            token: site.token.clone(),
            workspace: site.workspace.clone(),
            ..Params::default()
        };
        Self {
            params,
            ask: Ask::default(),
            during: None,
            after: None,
            interrupt: None,
            heartbeat: false,
            must_stand: false,
            racer: None,
            tries: 0,
            kept: Vec::new(),
        }
    }

    pub(crate) fn params(mut self, set: impl FnOnce(&mut Params)) -> Self {
        set(&mut self.params);
        self
    }

    pub(crate) fn ask(mut self, set: impl FnOnce(&mut Ask)) -> Self {
        set(&mut self.ask);
        self
    }

    pub(crate) fn keep(mut self, thing: impl Any + Send) -> Self {
        self.kept.push(Box::new(thing));
        self
    }

    pub(crate) fn during(mut self, look: impl FnOnce(&Held) -> Sight + Send + 'static) -> Self {
        self.during = Some(Box::new(look));
        self
    }

    pub(crate) fn after(mut self, look: impl FnOnce(&After<'_>) -> Sight + Send + 'static) -> Self {
        self.after = Some(Box::new(look));
        self
    }

    /// Looks for another effect first; what is seen of it counts before the one already set.
    pub(crate) fn or_after(
        mut self,
        look: impl FnOnce(&After<'_>) -> Option<Sight> + Send + 'static,
    ) -> Self {
        let other = self.after.take();
        self.after(move |after| {
            look(after)
                .or_else(|| other.map(|other| other(after)))
                .unwrap_or_else(|| Sight::Blind("nothing is looked at".into()))
        })
    }

    /// As [`Scene::during`], of the probe's own process, which must stand to be looked at.
    pub(crate) fn looked_at(
        self,
        look: impl FnOnce(u32) -> Option<Sight> + Send + 'static,
    ) -> Self {
        Self { must_stand: true, ..self.during(move |held| held.of_probe(look)) }
    }

    /// The effect is that this secret comes out of the sandbox.
    pub(crate) fn leak(self, secret: String, what: &'static str) -> Self {
        self.after(move |after| {
            Sight::of(
                after.says(&secret),
                format!("{what} came out of the sandbox"),
                format!("{what} did not come out"),
            )
        })
    }
}

/// A file of the host that goes when the run is over.
pub(crate) struct Removed(pub(crate) PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Ends what carries the run's mark, however it got away.
pub(crate) struct Sweeper(pub(crate) String);

impl Drop for Sweeper {
    fn drop(&mut self) {
        for process in outside::marked(&self.0) {
            outside::kill(process.pid);
        }
    }
}

/// The step files of a run.
pub(crate) fn hold_file(site: &Site<'_>) -> PathBuf {
    step::hold(&site.workspace, &site.token)
}

/// The trouble with a probe that has no stage.
pub(crate) fn unstaged(id: &str) -> Trouble {
    Trouble::Harness(format!("no stage is written for probe {id}"))
}
