//! Linux: bubblewrap builds the view, the shim closes it from inside. It must never let a tool start
//! before both have said that all is in place.

mod alias;
mod assemble;
mod bubblewrap;
mod cgroup;
mod descriptors;
mod detect;
mod first;
mod landlock;
mod links;
mod protect;
mod running;
mod seccomp;
pub(super) mod shim;
mod start;

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use super::{
    derive::{WHOLE, limits},
    follow::{Ended, Followed, follow},
    plan::{Facts, Heads, LOCALTIME, PLUGIN, Plan, Purpose, Rlimits, is_system},
    policy::Level,
    run::{Job, NOT_BUILT, Ran, Refusal, Setting, Stop, Work},
};
use crate::{audit::Rejection, registry::Capability, requirement};
use cgroup::Tree;
use close_fds::CloseFdsBuilder;
use running::{Records, Running, code, contents};
use start::{Call, Place, Waiting};

/// The helper, and what stands on this host.
#[derive(Debug)]
pub(super) struct Backend {
    /// An error where there is none: no level but `none` can be held then.
    bubblewrap: Result<PathBuf, Refusal>,
    facts: Facts,
    /// The uid to change to; none: this process's own is kept.
    become_uid: Option<u32>,
    extra: protect::Extra,
    /// Whether sandboxes are built ahead of the calls that they are for.
    waits: bool,
    ready: Arc<Waiting>,
    /// An error where runs get no groups of their own.
    groups: Result<Tree, String>,
}

impl Backend {
    /// Looks at the host. Descriptors that this process was started with do not cross into tools
    /// from here on.
    pub(super) fn new(setting: &Setting) -> Result<Self, Refusal> {
        if Heads::current().fs {
            CloseFdsBuilder::new().cloexecfrom(3);
        }
        let own = rustix::process::geteuid().as_raw();
        let uid = detect::uid(setting.uid, own)?;
        let workspace = workspace(&setting.workspace)?;
        let shim = setting
            .shim
            .clone()
            .map_or_else(env::current_exe, Ok)
            .and_then(|path| path.canonicalize())
            .map_err(|error| Refusal::new(NOT_BUILT, format!("this program: {error}")))?;
        let small = detect::small(&shim);
        let (links, folders) = root_folders();
        let home = env::var_os("HOME").and_then(|home| PathBuf::from(home).canonicalize().ok());
        let bubblewrap = detect::bubblewrap();
        let mut own_paths = setting.protected.clone();
        own_paths.push(shim.clone());
        own_paths.extend(small.clone());
        own_paths.extend(bubblewrap.iter().cloned());
        Ok(Self {
            bubblewrap,
            facts: Facts { workspace, links, folders, shim, small, uid, ..Facts::default() },
            become_uid: (own == 0).then_some(uid),
            extra: protect::Extra { home, own: own_paths },
            waits: setting.ahead,
            groups: Tree::find(&WHOLE, setting.ahead),
            ready: Arc::default(),
        })
    }

    /// The uid that tools have, where it is another than this process's.
    pub(super) fn owner(&self) -> Option<u32> {
        self.become_uid
    }

    /// What a level that holds still lacks on this host.
    pub(super) fn lacks(&self) -> Vec<String> {
        let why = self.groups.as_ref().err();
        let sentence = |why| {
            format!("memory is limited for each process, not for all of a run together: {why}")
        };
        why.map(sentence).into_iter().collect()
    }

    /// The mechanism and its version.
    pub(super) fn name(&self) -> Result<String, Refusal> {
        let path = self.bubblewrap.as_ref().map_err(Clone::clone)?;
        Ok(format!("bubblewrap {}", detect::version(path)?))
    }

    /// Runs a job, until it ends or `stop` resolves.
    ///
    /// # Errors
    /// `sandbox.fail-closed`: the tool did not start. `sandbox.reap`: it could not be ended.
    pub(super) async fn run(&self, job: Job, stop: Stop) -> Result<Ran, Rejection> {
        let refuse = |cause: String| Refusal::new(NOT_BUILT, cause).reject();
        let heads = Heads::current();
        let contained = match (&self.bubblewrap, job.level) {
            (_, Level::None) => None,
            (Ok(found), _) => Some(found.as_path()),
            (Err(_), _) if !requirement::SANDBOX_FAIL_CLOSED.enforced() => None,
            (Err(refusal), _) => return Err(refusal.reject()),
        };
        let level = if contained.is_some() { job.level } else { Level::None };
        let mut facts = self.facts.clone();
        let writes = job.capabilities.has(Capability::Write);
        // Held to the end of the run: dropping it takes the placeholders away.
        let guard = if contained.is_some() && writes && heads.fs {
            let (root, extra, owner) =
                (facts.workspace.clone(), self.extra.clone(), self.become_uid);
            let guard = blocking(move || protect::protect(&root, &extra, owner))
                .await
                .and_then(|guard| guard)
                .map_err(refuse)?;
            facts.pinned.clone_from(&guard.pinned);
            facts.protected.clone_from(&guard.protected);
            Some(guard)
        } else {
            None
        };
        if let Some(stays) = &job.stays {
            facts.plugin = Some(stays.folder.clone());
        }
        let identities = match &guard {
            _ if job.stays.is_some() && contained.is_none() => Ok(Vec::new()),
            _ if let Some(folder) = &facts.plugin => protect::identity(folder).map(|one| {
                let inside = if heads.fs { PLUGIN.into() } else { folder.clone() };
                vec![shim::Identity { path: inside, ..one }]
            }),
            Some(guard) => guard.identities(),
            None if contained.is_some() => protect::identity(&facts.workspace).map(|one| vec![one]),
            None => Ok(Vec::new()),
        }
        .map_err(refuse)?;
        let purpose = match &job.work {
            Work::Worker(_) => Purpose::Worker,
            _ if job.stays.is_some() => Purpose::Plugin,
            _ => Purpose::Program,
        };
        let mut plan = Plan::new(level, job.capabilities, purpose, &facts, heads);
        if job.stays.as_ref().is_some_and(|stays| stays.bare) {
            // What is prevented: a plugin that inherits what its host has.
            plan.environment = None;
            plan.inner.close_descriptors = false;
            // Without a user namespace of its own all processes of the user are counted.
            plan.inner.rlimits = Some(Rlimits { processes: u64::MAX, ..limits(purpose) });
        }
        let waits = self.waits && plan.reap && contained.is_some() && job.stays.is_none();
        let ready = if waits { self.ready.take(&plan, &identities) } else { None };
        let call = Call::new(&job.work);
        let place = Place {
            bubblewrap: contained.map(Path::to_owned),
            shim: facts.small.as_ref().unwrap_or(&facts.shim).clone(),
            become_uid: self.become_uid,
            groups: self.groups.as_ref().ok().cloned(),
        };
        let mut sandbox = match ready.and_then(|ready| ready.release(&call).ok()) {
            Some(sandbox) => sandbox,
            None => place.start(&plan, &identities, &call).map_err(refuse)?,
        };
        if let Some(stays) = &job.stays {
            stays.helper.store(sandbox.helper().unwrap_or(0), Ordering::Release);
        }
        let mut ran = watch(&mut sandbox, &plan, &job, stop).await?;
        // A view that shows placeholders shows files that go with this run.
        let again = waits
            && !ran.stopped
            && !matches!(job.work, Work::Trial)
            && guard.as_ref().is_none_or(|guard| !guard.placed);
        if let Some(mut guard) = guard {
            ran.shared = std::mem::take(&mut guard.shared);
            let program = purpose == Purpose::Program;
            let clean = move || if program { guard.remove_new_baits() } else { Vec::new() };
            ran.removed = blocking(clean).await.map_err(refuse)?;
        }
        let records = sandbox.records().ok_or_else(|| refuse("no records are left".to_owned()))?;
        let ran = records.judge(ran)?;
        if again {
            self.ready.prepare(place, plan, identities);
        }
        Ok(ran)
    }
}

/// Looks at a whole workspace without holding up other work; where one run is all that this thread
/// has to do, there is none.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let flavor = tokio::runtime::Handle::current().runtime_flavor();
    if flavor == tokio::runtime::RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

/// Resolves the workspace and refuses one that the view has no place for.
fn workspace(asked: &Path) -> Result<PathBuf, Refusal> {
    const PUBLIC: &str = "the workspace cannot be used, so no tool runs";
    let found = asked
        .canonicalize()
        .map_err(|error| Refusal::new(PUBLIC, format!("{}: {error}", asked.display())))?;
    if !found.is_dir() {
        return Err(Refusal::new(PUBLIC, format!("{} is no folder", found.display())));
    }
    if is_system(&found) {
        return Err(Refusal::new(
            "the workspace is a system folder, so no tool runs",
            found.display().to_string(),
        ));
    }
    Ok(found)
}

/// How /bin, /lib and the like stand on this host: links into /usr or folders. The local time is one
/// link more, where it is one: a link costs less than a mount.
fn root_folders() -> (Vec<(PathBuf, PathBuf)>, Vec<PathBuf>) {
    let (mut links, mut folders) = (Vec::new(), Vec::new());
    for name in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
        let path = PathBuf::from(name);
        if let Ok(target) = path.read_link() {
            links.push((path, target));
        } else if path.is_dir() {
            folders.push(path);
        }
    }
    let time = PathBuf::from(LOCALTIME);
    if let Ok(target) = time.read_link()
        && target.starts_with("/usr")
    {
        links.push((time, target));
    }
    (links, folders)
}

/// Reads the output and waits for the end, at most for the job's time or until it is told to stop.
async fn watch(
    sandbox: &mut Running,
    plan: &Plan,
    job: &Job,
    stop: Stop,
) -> Result<Ran, Rejection> {
    let streams = sandbox.streams();
    let followed = follow(streams, sandbox.wait(), plan, job, stop).await?;
    let code = match followed.ended {
        Ended::By(status) => Some(code(status)),
        Ended::Not { .. } => {
            sandbox.end().await.map_err(|_| {
                requirement::SANDBOX_REAP
                    .refuse("a tool could not be ended in time", "the sandbox outlived its kill")
            })?;
            None
        }
    };
    let stopped = matches!(followed.ended, Ended::Not { told: true });
    let Followed { stdout, stderr, .. } = followed;
    Ok(Ran { code, stdout, stderr, stopped, ..Ran::default() })
}

impl Records {
    /// Tells a tool that ran from a sandbox that could not be built.
    fn judge(&self, mut ran: Ran) -> Result<Ran, Rejection> {
        let report = contents(&self.report);
        let mut ready = None;
        for line in report.lines() {
            match line.split_once(' ') {
                Some(("ready", rest)) => ready = rest.strip_prefix("landlock="),
                Some(("missing", rest)) => ran.missing = Some(rest.to_owned()),
                _ => {}
            }
        }
        let Some(landlock) = ready else {
            let said: String =
                String::from_utf8_lossy(&ran.stderr.bytes).chars().take(400).collect();
            let cause = format!("exit {:?}; shim: {:?}; helper: {said:?}", ran.code, report.trim());
            return Err(Refusal::new(NOT_BUILT, cause).reject());
        };
        landlock.clone_into(&mut ran.landlock);
        Ok(ran)
    }
}
