//! A plan as the arguments of bubblewrap. It must never start anything or look at the system.

use std::{ffi::OsString, path::Path};

use crate::sandbox::plan::{Mount, Outer, PLUGIN, Plan, SHIM};

/// The arguments of a launch and the texts that they refer to by descriptor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Everything before the command, to be passed by `--args`.
    pub(super) arguments: Vec<OsString>,
    /// The content of the descriptors from [`Line::first`] on.
    pub(super) texts: Vec<String>,
}

/// Translates a plan. `first` is the number of the first descriptor that is free for texts.
pub(super) fn line(plan: &Plan, outer: &Outer, first: i32) -> Line {
    let mut line = Line { arguments: Vec::with_capacity(128), texts: Vec::new() };
    let is = outer.isolation;
    line.flags(&[
        (true, &["--unshare-user", "--unshare-uts", "--unshare-cgroup-try"]),
        (is.ipc, &["--unshare-ipc"]),
        // The shim is process 1: it ends the sandbox, and nothing inside can end or stop it.
        (is.pid, &["--unshare-pid", "--as-pid-1"]),
        (is.net, &["--unshare-net"]),
        (is.no_nested_users, &["--disable-userns", "--assert-userns-disabled"]),
        (is.new_session, &["--new-session"]),
        (is.drop_capabilities, &["--cap-drop", "ALL"]),
        (true, &["--hostname", "sandbox"]),
    ]);
    for mount in &outer.mounts {
        line.mount(mount, first);
    }
    line.pair("--chdir", &plan.directory);
    line
}

impl Line {
    fn flags(&mut self, list: &[(bool, &[&str])]) {
        for (_, words) in list.iter().filter(|(wanted, _)| *wanted) {
            self.arguments.extend(words.iter().map(OsString::from));
        }
    }

    fn pair(&mut self, word: &str, path: impl AsRef<Path>) {
        self.arguments.push(word.into());
        self.arguments.push(path.as_ref().into());
    }

    fn bind(&mut self, word: &str, from: &Path, to: &Path) {
        self.pair(word, from);
        self.arguments.push(to.into());
    }

    fn mount(&mut self, mount: &Mount, first: i32) {
        match mount {
            Mount::ReadOnly(path) => self.bind("--ro-bind", path, path),
            Mount::ReadOnlyIfThere(path) => self.bind("--ro-bind-try", path, path),
            Mount::Writable(path) => self.bind("--bind", path, path),
            Mount::Shim(path) => self.bind("--ro-bind", path, Path::new(SHIM)),
            Mount::Plugin(path) => self.bind("--ro-bind", path, Path::new(PLUGIN)),
            Mount::Link(target, at) => self.bind("--symlink", target, at),
            Mount::Proc => self.pair("--proc", "/proc"),
            Mount::Devices => self.pair("--dev", "/dev"),
            Mount::Memory(at, bytes) => {
                if *bytes > 0 {
                    self.pair("--size", bytes.to_string());
                }
                self.pair("--tmpfs", at);
            }
            Mount::Folder(at) => self.pair("--dir", at),
            Mount::Text(at, text) => {
                let number = first.saturating_add(i32::try_from(self.texts.len()).unwrap_or(0));
                self.texts.push(text.clone());
                self.pair("--perms", "0444");
                self.pair("--file", number.to_string());
                self.arguments.push(at.into());
            }
            Mount::Seal(at) => self.pair("--remount-ro", at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        registry::{Capabilities, Capability},
        sandbox::{
            plan::{Facts, Heads, Purpose},
            policy::Level,
        },
    };

    fn facts() -> Facts {
        Facts {
            workspace: "/home/u/ws".into(),
            pinned: vec!["/home/u/ws/.git".into()],
            protected: vec!["/home/u/ws/.git/config".into(), "/home/u/ws/.git/hooks".into()],
            links: vec![("/bin".into(), "usr/bin".into())],
            folders: vec!["/lib64".into()],
            shim: "/opt/runtime".into(),
            small: Some("/opt/contain".into()),
            uid: 1000,
            plugin: None,
        }
    }

    fn text(level: Level, capabilities: Capabilities, purpose: Purpose, heads: Heads) -> String {
        let plan = Plan::new(level, capabilities, purpose, &facts(), heads);
        let outer = plan.outer.as_ref().unwrap();
        let words = line(&plan, outer, 7).arguments;
        let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ").replace(" --", "\n--")
    }

    /// The line of a program at the strictest level, as in the snapshot.
    fn strict() -> String {
        text(Level::Strict, Capabilities::ALL, Purpose::Program, Heads::ALL)
    }

    /// Everything of a plan: what bubblewrap is told, what the files hold, what the shim does inside.
    #[test]
    fn the_plans_are_exactly_these() {
        for (name, level, capabilities, purpose) in [
            ("strict_program", Level::Strict, Capabilities::ALL, Purpose::Program),
            ("relaxed_program", Level::Relaxed, Capabilities::ALL, Purpose::Program),
            (
                "strict_reader",
                Level::Strict,
                Capabilities::of(&[Capability::Read]),
                Purpose::Worker,
            ),
            ("none_program", Level::None, Capabilities::ALL, Purpose::Program),
        ] {
            let plan = Plan::new(level, capabilities, purpose, &facts(), Heads::ALL);
            let outer = plan.outer.as_ref().map(|outer| {
                let texts = line(&plan, outer, 7).texts.join("\n---\n");
                format!("{}\n\n{texts}", text(level, capabilities, purpose, Heads::ALL))
            });
            let inner = serde_json::to_string_pretty(&plan.inner).unwrap();
            let outer = outer.unwrap_or_else(|| "no view of its own".to_owned());
            insta::assert_snapshot!(name, format!("{outer}\n\ninside: {inner}"));
        }
    }

    /// A plugin sees its own folder and no workspace; its memory is what it may write to.
    #[test]
    fn the_plan_of_a_plugin_is_exactly_this() {
        let facts = Facts { plugin: Some("/tmp/clawproof-1".into()), ..facts() };
        let (level, nothing) = (Level::Strict, Capabilities::NONE);
        let plan = Plan::new(level, nothing, Purpose::Plugin, &facts, Heads::ALL);
        let words = line(&plan, plan.outer.as_ref().unwrap(), 7).arguments;
        let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
        let outer = words.join(" ").replace(" --", "\n--");
        assert!(!outer.contains("/home/u/ws"), "{outer}");
        let inner = serde_json::to_string_pretty(&plan.inner).unwrap();
        insta::assert_snapshot!("strict_plugin", format!("{outer}\n\ninside: {inner}"));
    }

    #[test]
    fn relaxed_differs_by_the_network_and_its_files_alone() {
        let strict = strict();
        let relaxed = text(Level::Relaxed, Capabilities::ALL, Purpose::Program, Heads::ALL);
        let extra: Vec<&str> =
            relaxed.lines().filter(|line| !strict.lines().any(|other| other == *line)).collect();
        let gone: Vec<&str> =
            strict.lines().filter(|line| !relaxed.lines().any(|other| other == *line)).collect();
        assert_eq!(gone, ["--unshare-net"]);
        assert!(extra.iter().all(|line| line.starts_with("--ro-bind-try /etc/")), "{extra:?}");
        assert_eq!(extra.len(), 8);
    }

    #[test]
    fn a_tool_that_did_not_declare_the_network_has_none_at_relaxed() {
        let quiet = Capabilities::of(&[Capability::Read, Capability::Write, Capability::Process]);
        assert_eq!(text(Level::Relaxed, quiet, Purpose::Program, Heads::ALL), strict());
    }

    #[test]
    fn a_tool_that_only_reads_has_a_read_only_workspace() {
        let reads = Capabilities::of(&[Capability::Read]);
        let line = text(Level::Strict, reads, Purpose::Worker, Heads::ALL);
        assert!(line.contains("--ro-bind /home/u/ws /home/u/ws\n"), "{line}");
        assert!(!line.contains("--bind "), "{line}");
    }

    #[test]
    fn each_head_takes_its_own_lines_away_and_no_others() {
        let strict = strict();
        let without = |change: fn(&mut Heads)| {
            let mut heads = Heads::ALL;
            change(&mut heads);
            let line = text(Level::Strict, Capabilities::ALL, Purpose::Program, heads);
            strict
                .lines()
                .filter(|old| !line.lines().any(|new| new == *old))
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(without(|heads| heads.net = false), ["--unshare-net"]);
        assert_eq!(without(|heads| heads.ipc = false), ["--unshare-ipc"]);
        assert_eq!(without(|heads| heads.term = false), ["--new-session"]);
        assert_eq!(
            without(|heads| heads.proc = false),
            ["--unshare-pid", "--as-pid-1", "--proc /proc"]
        );
        assert_eq!(without(|heads| heads.reap = false), [] as [&str; 0]);
        assert_eq!(
            without(|heads| heads.kern = false),
            [
                "--disable-userns",
                "--assert-userns-disabled",
                "--cap-drop ALL",
                "--ro-bind /proc/sys /proc/sys"
            ]
        );
        assert_eq!(without(|heads| heads.res = false), ["--size 16777216", "--size 67108864"]);
        assert!(without(|heads| heads.fs = false).len() > 20);
        assert_eq!(without(|heads| heads.env = false), [] as [&str; 0]);
    }
}
