//! What a run may see and do, as a value, compared in tests as text. It must never know how it is
//! derived, nor touch the system.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::policy::Level;
use crate::requirement;

/// Which heads of the sandbox are in force: all of them, but for a knocked-out one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the requirement `sandbox.` and its name")]
#[expect(clippy::struct_excessive_bools, reason = "ten independent switches, not a state")]
pub struct Heads {
    pub fs: bool,
    pub net: bool,
    pub proc: bool,
    pub kern: bool,
    pub ipc: bool,
    pub res: bool,
    pub env: bool,
    pub term: bool,
    pub reap: bool,
}

impl Heads {
    /// Every head.
    pub const ALL: Self = Self {
        fs: true,
        net: true,
        proc: true,
        kern: true,
        ipc: true,
        res: true,
        env: true,
        term: true,
        reap: true,
    };

    /// The heads in force in this process.
    #[must_use]
    pub fn current() -> Self {
        Self {
            fs: requirement::SANDBOX_FS.enforced(),
            net: requirement::SANDBOX_NET.enforced(),
            proc: requirement::SANDBOX_PROC.enforced(),
            kern: requirement::SANDBOX_KERN.enforced(),
            ipc: requirement::SANDBOX_IPC.enforced(),
            res: requirement::SANDBOX_RES.enforced(),
            env: requirement::SANDBOX_ENV.enforced(),
            term: requirement::SANDBOX_TERM.enforced(),
            reap: requirement::SANDBOX_REAP.enforced(),
        }
    }
}

/// What was found on the host: facts, gathered before the plan is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The canonical workspace.
    pub workspace: PathBuf,
    /// Folders of the workspace that hold protected names, parents first: they must not be renamed.
    pub pinned: Vec<PathBuf>,
    /// Files and folders of the workspace that must not change.
    pub protected: Vec<PathBuf>,
    /// Links of the host into /usr that the view has as well: (place, target as the link has it).
    pub links: Vec<(PathBuf, PathBuf)>,
    /// System folders of the root folder that are no links.
    pub folders: Vec<PathBuf>,
    /// This program, which runs again inside as the shim.
    pub shim: PathBuf,
    /// The small program that is the shim of programs; none: this program.
    pub small: Option<PathBuf>,
    /// The uid that the tool has.
    pub uid: u32,
    /// The folder of a plugin: its copy and its socket. Without one the run is a tool's.
    pub plugin: Option<PathBuf>,
}

/// What the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A file tool: the shim's own code, which starts nothing.
    Worker,
    /// A program of the caller's choice.
    Program,
    /// A plugin's program, which stays and is spoken to through a socket; it sees no workspace.
    Plugin,
}

/// One step of building the view of the file system, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// The same place, read-only; it must exist.
    ReadOnly(PathBuf),
    /// The same place, read-only, where it exists.
    ReadOnlyIfThere(PathBuf),
    /// The same place, writable.
    Writable(PathBuf),
    /// The shim, read-only, at [`SHIM`].
    Shim(PathBuf),
    /// A plugin's folder, read-only, at [`PLUGIN`].
    Plugin(PathBuf),
    /// A link at a place.
    Link(PathBuf, PathBuf),
    /// A new process file system.
    Proc,
    /// A minimal device folder.
    Devices,
    /// An empty folder in memory of at most so many bytes (zero: no limit of its own).
    Memory(&'static str, u64),
    /// An empty folder.
    Folder(&'static str),
    /// A small file, read-only.
    Text(&'static str, String),
    /// Nothing can be created in this folder any more.
    Seal(&'static str),
}

/// Namespaces that the run has to itself, and what else bubblewrap is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the kernel's word for it")]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, not a state")]
pub struct Isolation {
    pub net: bool,
    pub pid: bool,
    pub ipc: bool,
    /// No user namespace can be made inside.
    pub no_nested_users: bool,
    pub drop_capabilities: bool,
    pub new_session: bool,
}

/// A rule group of the system call filter; the rules stand in `linux/seccomp.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Calls that exist to reach the kernel's inside, and calls that hide arguments from a filter.
    Kernel,
    /// Mounts, roots, namespaces.
    Namespaces,
    /// Key rings.
    Keys,
    /// Other processes' memory and descriptors.
    Processes,
    /// File handles, device nodes, set-uid bits.
    Files,
    /// File watches, of which a user has few.
    Watches,
    /// `openat2`, whose mode a filter cannot see; the file tools need it to stay in the workspace.
    OpenAt2,
    /// Terminal injection.
    Terminal,
    /// Address families beside the internet's and routing, Unix sockets too: of those, pairs of
    /// streams are all that is left.
    Families,
    /// The same but for Unix streams: a plugin's view shows one socket, its own.
    PluginFamilies,
    /// Every socket.
    AllSockets,
    /// Starting programs.
    Programs,
}

/// What the kernel's Landlock holds, inside the view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Landlock {
    /// Everything below may be read and executed.
    pub read: Vec<PathBuf>,
    /// Everything below may be changed too.
    pub write: Vec<PathBuf>,
    /// No TCP at all.
    pub no_tcp: bool,
    /// No abstract Unix socket and no signal leaves the sandbox.
    pub scoped: bool,
}

/// Resource limits of each process, as (soft = hard) values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimits {
    /// Processes and threads of the whole sandbox.
    pub processes: u64,
    /// Address space of one process, bytes.
    pub address_space: u64,
    /// The largest file, bytes.
    pub file_size: u64,
    /// Open descriptors of one process.
    pub descriptors: u64,
    /// CPU time of one process, seconds.
    pub cpu_seconds: u64,
    /// Memory of one process that it can write to, bytes, for programs that reserve far more
    /// addresses than they use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<u64>,
}

/// What `contain` applies to itself before it runs anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inner {
    /// No descriptor but the three standard ones crosses into the tool.
    pub close_descriptors: bool,
    /// The run ends with whoever started it, and does not begin where that one is gone already.
    pub ends_with_starter: bool,
    /// None: no limit.
    pub rlimits: Option<Rlimits>,
    /// None: not applied.
    pub landlock: Option<Landlock>,
    /// Empty: not applied.
    pub seccomp: Vec<Group>,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The level that this plan enforces.
    pub level: Level,
    /// None: the program is started bare, by the shim alone.
    pub outer: Option<Outer>,
    /// What the shim applies.
    pub inner: Inner,
    /// The environment; none: the host's.
    pub environment: Option<Vec<(&'static str, &'static str)>>,
    /// The working folder.
    pub directory: PathBuf,
    /// Bytes of standard output, and of standard error, that are kept; the rest is counted.
    pub output_bytes: usize,
    /// What is passed on to a terminal is made harmless first.
    pub plain_terminal: bool,
    /// What was started ends with the run, with its time limit and with the runtime.
    pub reap: bool,
    /// Limits of everything in a run together, where the system has groups for that; none: no limit.
    pub whole: Option<Whole>,
}

/// Limits of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Memory of all processes, and of files in memory, bytes.
    pub memory: u64,
    /// Processes and threads, the sandbox's own among them.
    pub processes: u64,
}

/// What stands around the shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Namespaces and the like.
    pub isolation: Isolation,
    /// The view of the file system.
    pub mounts: Vec<Mount>,
    /// Where the shim stands inside.
    pub shim: PathBuf,
}

/// Where the shim stands inside the sandbox.
pub const SHIM: &str = "/run/shim";
/// Where a plugin's folder stands inside the sandbox.
pub const PLUGIN: &str = "/run/plugin";
/// Shown as what it is, a link or a file.
pub(super) const LOCALTIME: &str = "/etc/localtime";

/// Folders in which no workspace may lie and which none may hold: the view has its own there.
#[must_use]
pub fn is_system(workspace: &Path) -> bool {
    const SYSTEM: &[&str] = &[
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/proc",
        "/run/shim",
        "/sbin",
        "/sys",
        "/usr",
    ];
    workspace == Path::new("/")
        || SYSTEM.iter().any(|system| {
            let system = Path::new(system);
            workspace.starts_with(system) || system.starts_with(workspace)
        })
}
