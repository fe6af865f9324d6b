//! How a plan is derived: from level, capabilities and what was found on the host alone. It must never
//! touch the system.

use std::path::{Path, PathBuf};

use super::{
    lines,
    plan::{
        Facts, Group, Heads, Inner, Isolation, LOCALTIME, Landlock, Mount, Outer, PLUGIN, Plan,
        Purpose, Rlimits, SHIM, Whole,
    },
    policy::Level,
};
use crate::{
    registry::{Capabilities, Capability},
    requirement::{self, variant},
};

/// Bytes of each output stream that are kept of a program.
const OUTPUT_BYTES: usize = 1 << 20;
/// Bytes of each output stream that are kept of a plugin, for the log.
const PLUGIN_OUTPUT_BYTES: usize = 2_000;
/// Bytes of a file tool's answer: a file at its limit, every byte escaped, and room for the rest.
pub(super) const ANSWER_BYTES: usize = 8_000_000;

const RLIMITS: Rlimits = Rlimits {
    processes: 64,
    address_space: 512 << 20,
    file_size: 100_000_000,
    descriptors: 256,
    cpu_seconds: 20,
    data: None,
};

/// A JavaScript engine reserves gigabytes of addresses: what it may write to is what counts.
const PLUGIN_RLIMITS: Rlimits =
    Rlimits { address_space: 8 << 30, file_size: 16_000_000, data: Some(256 << 20), ..RLIMITS };

/// What eight processes at their own limit hold is enough for a build.
pub(super) const WHOLE: Whole = Whole { memory: 2 << 30, processes: 80 };

const ENVIRONMENT: &[(&str, &str)] = &[
    ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"),
    ("HOME", "/tmp/home"),
    ("TMPDIR", "/tmp"),
    ("LANG", "C.UTF-8"),
];

/// Where the libraries stand that a program is linked to.
const LINKS: &str = "/etc/ld.so.cache";
/// What ordinary programs need of /etc too; each is a mount, which costs 2% of a launch.
const ALTERNATIVES: &str = "/etc/alternatives";
/// What programs with a network need of it too.
const ETC_NETWORK: &[&str] = &[
    "/etc/ca-certificates",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
];

impl Plan {
    /// The plan of a run.
    #[must_use]
    pub fn new(
        level: Level,
        capabilities: Capabilities,
        purpose: Purpose,
        facts: &Facts,
        heads: Heads,
    ) -> Self {
        let mut plan = Self::whole(level, capabilities, purpose, facts, heads);
        lines::strike(&mut plan);
        plan
    }

    fn whole(
        level: Level,
        capabilities: Capabilities,
        purpose: Purpose,
        facts: &Facts,
        heads: Heads,
    ) -> Self {
        let output_bytes = match (purpose, heads.res) {
            (Purpose::Program, true) => OUTPUT_BYTES,
            (Purpose::Program, false) => usize::MAX,
            (Purpose::Worker, _) => ANSWER_BYTES,
            (Purpose::Plugin, _) if requirement::PLUGIN_PROCESS.enforced() => PLUGIN_OUTPUT_BYTES,
            (Purpose::Plugin, _) => usize::MAX,
        };
        let environment = heads.env.then(|| {
            let one_more = variant::ENVIRONMENT.on().then_some(("LC_COLLATE", "C"));
            ENVIRONMENT.iter().copied().chain(one_more).collect()
        });
        let directory = match &facts.plugin {
            None => facts.workspace.clone(),
            Some(_) if level != Level::None && heads.fs => PLUGIN.into(),
            Some(folder) => folder.clone(),
        };
        if level == Level::None {
            let inner = Inner {
                close_descriptors: true,
                ends_with_starter: heads.reap,
                rlimits: None,
                landlock: None,
                seccomp: Vec::new(),
            };
            let reap = heads.reap;
            return Self {
                level,
                outer: None,
                inner,
                environment,
                directory,
                output_bytes,
                plain_terminal: heads.term,
                reap,
                whole: None,
            };
        }
        let network = level == Level::Relaxed && capabilities.has(Capability::Network);
        let write = capabilities.has(Capability::Write);
        Self {
            level,
            outer: Some(Outer {
                isolation: isolation(network, heads),
                mounts: mounts(purpose, network, write, facts, heads),
                shim: if heads.fs { SHIM.into() } else { shim(purpose, facts).to_owned() },
            }),
            inner: Inner {
                close_descriptors: heads.fs,
                ends_with_starter: heads.reap,
                rlimits: heads.res.then_some(limits(purpose)),
                landlock: landlock(purpose, network, write, facts, heads),
                seccomp: groups(purpose, network, heads),
            },
            environment,
            directory,
            output_bytes,
            plain_terminal: heads.term,
            reap: heads.reap,
            whole: heads.res.then_some(WHOLE),
        }
    }
}

fn isolation(network: bool, heads: Heads) -> Isolation {
    Isolation {
        net: heads.net && !network,
        pid: heads.proc,
        ipc: heads.ipc,
        no_nested_users: heads.kern,
        drop_capabilities: heads.kern,
        new_session: heads.term,
    }
}

/// The file tools' own code stands in the whole program only.
fn shim(purpose: Purpose, facts: &Facts) -> &Path {
    let small = facts.small.as_deref().filter(|_| purpose == Purpose::Program);
    small.unwrap_or(&facts.shim)
}

/// The file system that a run sees. A file tool starts nothing and has no device, no other user and
/// no place but the workspace: it sees what its own code is linked to, and nothing else.
fn mounts(purpose: Purpose, network: bool, write: bool, facts: &Facts, heads: Heads) -> Vec<Mount> {
    if !heads.fs {
        let proc = if heads.proc { Mount::Proc } else { Mount::Writable("/proc".into()) };
        let mut view = vec![Mount::Writable("/".into()), Mount::Devices, proc];
        if heads.kern {
            view.push(Mount::ReadOnly("/proc/sys".into()));
        }
        return view;
    }
    let programs = purpose != Purpose::Worker;
    let mut view = vec![Mount::ReadOnly("/usr".into())];
    view.extend(facts.links.iter().map(|(at, target)| Mount::Link(target.clone(), at.clone())));
    view.extend(facts.folders.iter().cloned().map(Mount::ReadOnly));
    view.push(Mount::ReadOnlyIfThere(LINKS.into()));
    if programs {
        view.push(Mount::ReadOnlyIfThere(ALTERNATIVES.into()));
        if !facts.links.iter().any(|(at, _)| at == Path::new(LOCALTIME)) {
            view.push(Mount::ReadOnlyIfThere(LOCALTIME.into()));
        }
        view.push(Mount::Text("/etc/passwd", passwd(facts.uid)));
        view.push(Mount::Text("/etc/group", format!("user:x:{}:\nnogroup:x:65534:\n", facts.uid)));
    }
    if network {
        view.extend(ETC_NETWORK.iter().map(|path| Mount::ReadOnlyIfThere(path.into())));
    }
    view.push(if heads.proc { Mount::Proc } else { Mount::Writable("/proc".into()) });
    if heads.kern {
        view.push(Mount::ReadOnly("/proc/sys".into()));
    }
    if programs {
        view.push(Mount::Devices);
        view.push(Mount::Memory("/dev/shm", if heads.res { 16 << 20 } else { 0 }));
        view.push(Mount::Memory("/tmp", if heads.res { 64 << 20 } else { 0 }));
        view.push(Mount::Folder("/tmp/home"));
    }
    if let Some(folder) = &facts.plugin {
        view.push(Mount::Plugin(folder.clone()));
    } else if write {
        view.push(Mount::Writable(facts.workspace.clone()));
        // A mount point cannot be renamed: pinning a folder keeps the path to what it protects.
        view.extend(facts.pinned.iter().cloned().map(Mount::Writable));
        view.extend(facts.protected.iter().cloned().map(Mount::ReadOnly));
    } else {
        view.push(Mount::ReadOnly(facts.workspace.clone()));
    }
    view.push(Mount::Shim(shim(purpose, facts).to_owned()));
    if programs {
        view.push(Mount::Seal("/dev"));
    }
    view.push(Mount::Seal("/"));
    view
}

/// The limits of what a process takes.
pub(super) fn limits(purpose: Purpose) -> Rlimits {
    if purpose == Purpose::Plugin && requirement::PLUGIN_PROCESS.enforced() {
        PLUGIN_RLIMITS
    } else if purpose == Purpose::Plugin {
        // What is prevented: a plugin that takes all that the machine has.
        Rlimits { address_space: u64::MAX, data: None, cpu_seconds: u64::MAX, ..RLIMITS }
    } else {
        RLIMITS
    }
}

fn passwd(uid: u32) -> String {
    format!(
        "user:x:{uid}:{uid}:user:/tmp/home:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    )
}

/// Landlock also keeps a process from tracing any other outside its domain, and so from reading
/// process 1's environment: it is a part of the head `proc`.
fn landlock(
    purpose: Purpose,
    network: bool,
    write: bool,
    facts: &Facts,
    heads: Heads,
) -> Option<Landlock> {
    if !heads.proc {
        return None;
    }
    let mut writable = Vec::new();
    if purpose != Purpose::Worker {
        writable.extend([PathBuf::from("/dev"), "/tmp".into()]);
    }
    if write {
        writable.push(facts.workspace.clone());
    }
    if !heads.fs {
        writable = vec!["/".into()];
    }
    Some(Landlock {
        read: vec!["/".into()],
        write: writable,
        no_tcp: heads.net && !network,
        scoped: heads.net,
    })
}

fn groups(purpose: Purpose, network: bool, heads: Heads) -> Vec<Group> {
    let mut groups = Vec::new();
    if heads.kern {
        groups.extend([Group::Kernel, Group::Namespaces, Group::Keys]);
    }
    if heads.proc {
        groups.push(Group::Processes);
    }
    if heads.fs {
        groups.push(Group::Files);
        if purpose != Purpose::Worker {
            groups.push(Group::OpenAt2);
        }
    }
    if heads.res {
        groups.push(Group::Watches);
    }
    if heads.term {
        groups.push(Group::Terminal);
    }
    if heads.net {
        groups.push(match (purpose, network) {
            (Purpose::Worker, false) => Group::AllSockets,
            (Purpose::Worker, true) | (Purpose::Program, _) => Group::Families,
            (Purpose::Plugin, _) => Group::PluginFamilies,
        });
    }
    if purpose == Purpose::Worker && heads.proc {
        groups.push(Group::Programs);
    }
    groups
}
