//! Each line of a plan as a defence of its own, so that the suite can be seen to notice when one is
//! missing, or be told that another line holds the same. It must never add anything to a plan.

use std::path::Path;

use super::plan::{Group, Inner, Isolation, Landlock, Mount, Outer, Plan, Rlimits};
use crate::requirement::{self as is, Requirement};

/// Takes one line out of a plan.
type Without = fn(&mut Plan);

/// A line whose absence no probe notices: the other line that holds the same, where it is one of
/// this plan, and why both stay.
type Stays = (Requirement, Option<Requirement>, &'static str);

/// Those lines. The sweep of the self-test shows each by taking the other away as well.
const STAYS: &[Stays] = &[
    (
        is::SANDBOX_PLAN_DISABLE_USERNS,
        Some(is::SANDBOX_PLAN_SECCOMP_NAMESPACES),
        "the filter refuses the calls that make a user namespace; this holds for calls that a later \
         kernel adds",
    ),
    (
        is::SANDBOX_PLAN_SECCOMP_NAMESPACES,
        Some(is::SANDBOX_PLAN_DISABLE_USERNS),
        "without privileges a namespace needs a user namespace first, and there is none to be had; \
         this holds where that limit cannot be set",
    ),
    (
        is::SANDBOX_PLAN_CAP_DROP,
        None,
        "bubblewrap keeps no capability for a user who is not root; said so that neither another \
         version nor a set-uid one decides it",
    ),
    (
        is::SANDBOX_PLAN_NEW_SESSION,
        Some(is::SANDBOX_PLAN_SECCOMP_TERMINAL),
        "the filter refuses to type into a terminal; this takes the terminal away as a whole",
    ),
    (
        is::SANDBOX_PLAN_SECCOMP_TERMINAL,
        Some(is::SANDBOX_PLAN_NEW_SESSION),
        "a session of its own has no terminal to type into; this holds for one that is handed in",
    ),
    (
        is::SANDBOX_PLAN_PROC_SYS,
        None,
        "the kernel's settings belong to the host's root, who no tool is; those of the namespace's own \
         (kernel.msgmax) were seen to be written without this and Landlock, which no probe tries",
    ),
    (
        is::SANDBOX_PLAN_SEAL_ROOT,
        Some(is::SANDBOX_PLAN_LANDLOCK_FILES),
        "Landlock lets nothing be written at the root; this holds where the kernel has no Landlock",
    ),
    (
        is::SANDBOX_PLAN_LANDLOCK_FILES,
        Some(is::SANDBOX_PLAN_SEAL_ROOT),
        "the view shows nothing else that can be written; this holds where the view has a hole",
    ),
    (
        is::SANDBOX_PLAN_LANDLOCK_TCP,
        Some(is::SANDBOX_PLAN_UNSHARE_NET),
        "an empty network reaches nobody; this holds where a network is shared by mistake",
    ),
    (
        is::SANDBOX_PLAN_LANDLOCK_SCOPES,
        Some(is::SANDBOX_PLAN_UNSHARE_PID),
        "no process and no abstract socket of the host is in these namespaces; this holds where one \
         is shared",
    ),
    (
        is::SANDBOX_PLAN_DESCRIPTORS,
        None,
        "the starter marks all descriptors that it was started with, so none crosses; without this \
         two files in memory and a pipe of the sandbox's own were seen to",
    ),
    (
        is::SANDBOX_PLAN_SECCOMP_PROCESSES,
        None,
        "a process of the host belongs to another user namespace, and Landlock keeps a tool from \
         tracing out of its own domain; without this a tool was seen to trace its own children alone",
    ),
];

/// Why a line stays although no probe notices that it is missing, and the line that holds the same.
#[must_use]
pub fn stays(requirement: Requirement) -> Option<(Option<Requirement>, &'static str)> {
    let row = STAYS.iter().find(|(line, _, _)| *line == requirement);
    row.map(|(_, beside, why)| (*beside, *why))
}

/// Every line that can be missing, by the requirement that names it.
const LINES: &[(Requirement, Without)] = &[
    (is::SANDBOX_PLAN_UNSHARE_NET, |plan| isolation(plan, |it| it.net = false)),
    (is::SANDBOX_PLAN_UNSHARE_PID, |plan| isolation(plan, |it| it.pid = false)),
    (is::SANDBOX_PLAN_UNSHARE_IPC, |plan| isolation(plan, |it| it.ipc = false)),
    (is::SANDBOX_PLAN_DISABLE_USERNS, |plan| isolation(plan, |it| it.no_nested_users = false)),
    (is::SANDBOX_PLAN_CAP_DROP, |plan| isolation(plan, |it| it.drop_capabilities = false)),
    (is::SANDBOX_PLAN_NEW_SESSION, |plan| isolation(plan, |it| it.new_session = false)),
    (is::SANDBOX_PLAN_DIE_WITH_PARENT, |plan| plan.inner.ends_with_starter = false),
    (is::SANDBOX_PLAN_PROC_SYS, |plan| {
        mounts(plan, |mount| *mount != Mount::ReadOnly("/proc/sys".into()));
    }),
    (is::SANDBOX_PLAN_SEAL_DEV, |plan| mounts(plan, |mount| *mount != Mount::Seal("/dev"))),
    (is::SANDBOX_PLAN_SEAL_ROOT, |plan| mounts(plan, |mount| *mount != Mount::Seal("/"))),
    (is::SANDBOX_PLAN_SIZE_SHM, |plan| unsized_memory(plan, "/dev/shm")),
    (is::SANDBOX_PLAN_SIZE_TMP, |plan| unsized_memory(plan, "/tmp")),
    (is::SANDBOX_PLAN_PROTECTED, |plan| {
        let top = plan.directory.clone();
        let inside = move |path: &Path| path.starts_with(&top) && path != top;
        mounts(plan, |mount| !matches!(mount, Mount::ReadOnly(path) if inside(path)));
    }),
    (is::SANDBOX_PLAN_PINNED, |plan| {
        let top = plan.directory.clone();
        let inside = move |path: &Path| path.starts_with(&top) && path != top;
        mounts(plan, |mount| !matches!(mount, Mount::Writable(path) if inside(path)));
    }),
    (is::SANDBOX_PLAN_DESCRIPTORS, |plan| plan.inner.close_descriptors = false),
    (is::SANDBOX_PLAN_RLIMIT_NPROC, |plan| limits(plan, |it| it.processes = u64::MAX)),
    (is::SANDBOX_PLAN_RLIMIT_AS, |plan| limits(plan, |it| it.address_space = u64::MAX)),
    (is::SANDBOX_PLAN_RLIMIT_FSIZE, |plan| limits(plan, |it| it.file_size = u64::MAX)),
    (is::SANDBOX_PLAN_RLIMIT_NOFILE, |plan| limits(plan, |it| it.descriptors = u64::MAX)),
    (is::SANDBOX_PLAN_RLIMIT_CPU, |plan| limits(plan, |it| it.cpu_seconds = u64::MAX)),
    (is::SANDBOX_PLAN_LANDLOCK_FILES, |plan| landlock(plan, |it| it.write = vec!["/".into()])),
    (is::SANDBOX_PLAN_LANDLOCK_TCP, |plan| landlock(plan, |it| it.no_tcp = false)),
    (is::SANDBOX_PLAN_LANDLOCK_SCOPES, |plan| landlock(plan, |it| it.scoped = false)),
    (is::SANDBOX_PLAN_SECCOMP_KERNEL, |plan| unfiltered(plan, Group::Kernel)),
    (is::SANDBOX_PLAN_SECCOMP_NAMESPACES, |plan| unfiltered(plan, Group::Namespaces)),
    (is::SANDBOX_PLAN_SECCOMP_KEYS, |plan| unfiltered(plan, Group::Keys)),
    (is::SANDBOX_PLAN_SECCOMP_PROCESSES, |plan| unfiltered(plan, Group::Processes)),
    (is::SANDBOX_PLAN_SECCOMP_FILES, |plan| unfiltered(plan, Group::Files)),
    (is::SANDBOX_PLAN_SECCOMP_WATCHES, |plan| unfiltered(plan, Group::Watches)),
    (is::SANDBOX_PLAN_SECCOMP_OPENAT2, |plan| unfiltered(plan, Group::OpenAt2)),
    (is::SANDBOX_PLAN_SECCOMP_TERMINAL, |plan| unfiltered(plan, Group::Terminal)),
    (is::SANDBOX_PLAN_SECCOMP_FAMILIES, |plan| unfiltered(plan, Group::Families)),
    (is::SANDBOX_PLAN_ENVIRONMENT, |plan| plan.environment = None),
    (is::SANDBOX_PLAN_OUTPUT, |plan| plan.output_bytes = usize::MAX),
    (is::SANDBOX_PLAN_PLAIN_TERMINAL, |plan| plan.plain_terminal = false),
];

/// Takes out what is missing in this process; nothing but in a knockout build.
pub(super) fn strike(plan: &mut Plan) {
    for (requirement, without) in LINES {
        if !requirement.enforced() {
            without(plan);
        }
    }
}

fn outer(plan: &mut Plan, change: impl FnOnce(&mut Outer)) {
    if let Some(outer) = &mut plan.outer {
        change(outer);
    }
}

fn isolation(plan: &mut Plan, change: fn(&mut Isolation)) {
    outer(plan, |outer| change(&mut outer.isolation));
}

fn mounts(plan: &mut Plan, keep: impl Fn(&Mount) -> bool) {
    outer(plan, |outer| outer.mounts.retain(keep));
}

fn unsized_memory(plan: &mut Plan, place: &str) {
    outer(plan, |outer| {
        for mount in &mut outer.mounts {
            if let Mount::Memory(at, bytes) = mount
                && *at == place
            {
                *bytes = 0;
            }
        }
    });
}

fn limits(plan: &mut Plan, change: fn(&mut Rlimits)) {
    if let Inner { rlimits: Some(limits), .. } = &mut plan.inner {
        change(limits);
    }
}

fn landlock(plan: &mut Plan, change: fn(&mut Landlock)) {
    if let Inner { landlock: Some(rules), .. } = &mut plan.inner {
        change(rules);
    }
}

fn unfiltered(plan: &mut Plan, group: Group) {
    plan.inner.seccomp.retain(|other| *other != group);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        registry::Capabilities,
        sandbox::{
            plan::{Facts, Heads, Purpose},
            policy::Level,
        },
    };

    fn plan() -> Plan {
        let facts = Facts {
            workspace: "/home/u/ws".into(),
            pinned: vec!["/home/u/ws/.git".into()],
            protected: vec!["/home/u/ws/.git/config".into()],
            ..Facts::default()
        };
        Plan::new(Level::Strict, Capabilities::ALL, Purpose::Program, &facts, Heads::ALL)
    }

    #[test]
    fn each_line_is_in_the_strict_plan_and_no_two_are_the_same() {
        let mut seen = Vec::new();
        for (requirement, without) in LINES {
            let mut changed = plan();
            without(&mut changed);
            assert_ne!(changed, plan(), "{requirement} takes nothing out");
            assert!(!seen.contains(&changed), "{requirement} takes out what another does");
            seen.push(changed);
        }
    }

    #[test]
    fn every_requirement_of_the_plan_has_its_line_and_the_reverse() {
        let lines: BTreeSet<_> = LINES.iter().map(|(requirement, _)| requirement.id()).collect();
        let ids = is::ALL.iter().map(|requirement| requirement.id());
        let named: BTreeSet<_> = ids.filter(|id| id.starts_with("sandbox.plan.")).collect();
        assert_eq!(lines, named);
        assert_eq!(lines.len(), LINES.len());
    }

    /// The suite's answer is what `cargo xtask knockouts --lines` saw.
    #[test]
    fn each_line_is_noticed_by_a_probe_or_says_why_it_stays() {
        let seen = include_str!("../../../conformance/spec/plan-lines.json");
        let seen: serde_json::Value = serde_json::from_str(seen).unwrap();
        for (requirement, _) in LINES {
            let noticed = seen["lines"][requirement.id()]["noticed_by"].as_array();
            let noticed = noticed.is_some_and(|cases| !cases.is_empty());
            assert_ne!(noticed, stays(*requirement).is_some(), "{requirement}: one of both");
        }
        assert!(STAYS.iter().all(|(_, _, why)| !why.contains(['\t', '\n']) && why.len() > 20));
    }

    #[test]
    fn without_a_knockout_nothing_is_struck() {
        let mut struck = plan();
        strike(&mut struck);
        assert_eq!(struck, plan());
    }
}
