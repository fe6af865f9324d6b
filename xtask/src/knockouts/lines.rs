//! The single lines of the sandbox's plan: with each missing alone, which probe notices? A line that
//! none notices stays where the runtime says why. It must never judge a probe itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use clawproof::oracle::matrix::Kills;
use clawproof::report::html::Table;
use clawproof::verdict::Verdict;
use serde::{Deserialize, Serialize};

use super::verdicts::Report;
use super::{Bench, FACES, PROBES, each, known, page, reasons, with_head};
use crate::failure::{Failure, io};
use crate::workspace::Workspace;

/// How the ids of the lines begin.
pub(super) const HEAD: &str = "sandbox.plan.";

/// The committed answer.
const FILE: &str = "conformance/spec/plan-lines.json";

/// What may notice besides the probes: what else is played on the sandbox of the whole runtime.
const BESIDE: &str = "scenario:sandbox.reap";

/// The probes that are about the same thing as a line. All are asked where none of these notices and
/// the runtime does not say why the line stays.
const LIKELY: &[(&str, &[&str])] = &[
    ("unshare-net", &["probe:net.udp4", "probe:net.netlink", "probe:net.dns"]),
    ("unshare-pid", &["probe:proc.list-host"]),
    ("unshare-ipc", &["probe:ipc.sysv-shm"]),
    (
        "disable-userns",
        &["probe:kern.userns", "probe:kern.clone3-userns", "probe:kern.mount-in-userns"],
    ),
    ("cap-drop", &["probe:kern.caps", "probe:kern.setuid-exec"]),
    ("new-session", &["probe:term.read-tty", "probe:term.tiocsti", "probe:proc.kill-pgrp0"]),
    ("die-with-parent", &["probe:proc.orphan-launcher"]),
    ("proc-sys", &["probe:kern.sysctl-write"]),
    ("seal-dev", &["probe:res.tmpfs"]),
    ("seal-root", &["probe:fs.write-synthetic-root"]),
    ("size-shm", &["probe:res.tmpfs"]),
    ("size-tmp", &["probe:res.tmpfs"]),
    (
        "protected",
        &[
            "probe:fs.git-config",
            "probe:fs.protected-missing",
            "probe:fs.protected-nested",
            "probe:fs.shell-rc",
        ],
    ),
    ("pinned", &["probe:fs.protected-rename"]),
    ("descriptors", &["probe:fs.fd-dir", "probe:fs.fd-file"]),
    ("rlimit-nproc", &["probe:res.fork"]),
    ("rlimit-as", &["probe:res.mem"]),
    ("rlimit-fsize", &["probe:res.disk-ws"]),
    ("rlimit-nofile", &["probe:res.fds"]),
    ("rlimit-cpu", &["probe:res.cpu"]),
    (
        "landlock-files",
        &["probe:fs.write-synthetic-root", "probe:kern.dev-nodes", "probe:proc.pid1-environ"],
    ),
    ("landlock-tcp", &["probe:net.tcp4", "probe:net.tcp6", "probe:net.bind-host"]),
    ("landlock-scopes", &["probe:net.unix-abstract", "probe:proc.kill-pid"]),
    (
        "seccomp-kernel",
        &["probe:kern.bpf", "probe:kern.io-uring", "probe:kern.perf", "probe:kern.userfaultfd"],
    ),
    (
        "seccomp-namespaces",
        &[
            "probe:kern.userns",
            "probe:kern.clone3-userns",
            "probe:proc.setns",
            "probe:fs.remount-rw",
        ],
    ),
    ("seccomp-keys", &["probe:kern.keyring-read", "probe:kern.keyring-leave"]),
    ("seccomp-processes", &["probe:proc.ptrace", "probe:proc.vm-readv"]),
    (
        "seccomp-files",
        &[
            "probe:fs.setuid-ws",
            "probe:fs.mknod-ws",
            "probe:fs.open-by-handle",
            "probe:fs.lease-ro",
        ],
    ),
    ("seccomp-watches", &["probe:res.inotify"]),
    ("seccomp-openat2", &["probe:fs.setuid-ws"]),
    (
        "seccomp-terminal",
        &["probe:term.tiocsti", "probe:term.tiocsti-hi32", "probe:term.tioclinux"],
    ),
    (
        "seccomp-families",
        &["probe:net.unix-in-ws", "probe:net.vsock", "probe:net.packet", "probe:net.scm-rights"],
    ),
    ("environment", &["probe:env.canary"]),
    ("output", &["probe:res.stdout-flood"]),
    ("plain-terminal", &["probe:term.escape"]),
];

/// Every line and what was seen without it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lines {
    version: u32,
    lines: BTreeMap<String, Line>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The first cases that fail without it, twice; others may too.
    noticed_by: BTreeSet<String>,
    /// Why it stays although none does, in the runtime's own table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stays: Option<Stays>,
}

/// Another line that holds the same.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stays {
    /// Which; `-` where it is no line of the plan.
    pub(super) beside: String,
    /// What it holds, and why both stay.
    pub(super) why: String,
    /// The cases that fail where both are missing, twice.
    #[serde(default)]
    pub(super) without_both: BTreeSet<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
        match &self.stays {
            Some(stays) if self.noticed_by.is_empty() => {
                write!(f, "without {} too: {}", stays.beside, listed(&stays.without_both))
            }
            _ => f.write_str(&listed(&self.noticed_by)),
        }
    }
}

impl Lines {
    /// The committed answer.
    ///
    /// # Errors
    /// The file is missing or is not ours.
    pub(super) fn committed(workspace: &Workspace) -> Result<Self, Failure> {
        let text =
            std::fs::read_to_string(workspace.at(FILE)).map_err(io("read plan-lines.json"))?;
        serde_json::from_str(&text).map_err(|error| Failure::usage(format!("{FILE}: {error}")))
    }

    fn json(&self) -> String {
        format!("{}\n", serde_json::to_string_pretty(self).unwrap_or_default())
    }

    /// The lines that are noticed, in the form of the kill matrix.
    pub(super) fn kills(&self) -> impl Iterator<Item = (String, Kills)> {
        self.lines.iter().filter(|(_, line)| !line.noticed_by.is_empty()).map(|(id, line)| {
            let cases: Vec<String> = line.noticed_by.iter().cloned().collect();
            let requirements: BTreeSet<String> = cases.iter().map(|it| requirement(it)).collect();
            (id.clone(), Kills { requirements: requirements.into_iter().collect(), cases })
        })
    }

    /// One row a line.
    pub(super) fn table(&self) -> Table {
        let row = |(id, line): (&String, &Line)| {
            let cases = line.noticed_by.iter().cloned().collect::<Vec<_>>().join(" ");
            let stays = line.stays.as_ref().map_or_else(String::new, |it| {
                let both = it.without_both.iter().cloned().collect::<Vec<_>>().join(" ");
                let seen = if both.is_empty() { "not seen here".to_owned() } else { both };
                format!("{} (without both: {seen})", it.why)
            });
            vec![format!("`{id}`"), cases, stays]
        };
        Table {
            heading: "Lines of the sandbox's plan".to_owned(),
            words: "Each row: the plan without that one line. Where no probe that is \
                    about the same thing notices, the last column says what holds besides, and \
                    which probes notice that both are missing."
                .to_owned(),
            columns: ["missing", "noticed first by", "stays because"].map(str::to_owned).into(),
            rows: self.lines.iter().map(row).collect(),
        }
    }

    /// # Errors
    /// A line that nothing notices and that nobody explains.
    pub(super) fn judge(&self) -> Result<(), Failure> {
        let unexplained = |line: &&Line| line.noticed_by.is_empty() && line.stays.is_none();
        let bad = self.lines.iter().filter(|(_, line)| unexplained(line));
        let bad: Vec<_> = bad.map(|(id, _)| id.as_str()).collect();
        if bad.is_empty() && !self.lines.is_empty() {
            return Ok(());
        }
        Err(Failure::check(format!("no probe notices, and no reason stands: {}", bad.join(", "))))
    }
}

/// What a probe is about: `probe:fs.read@relaxed` is `sandbox.fs.read`.
fn requirement(case: &str) -> String {
    let name = case.split('@').next().unwrap_or(case);
    match name.strip_prefix("probe:") {
        Some(name) => format!("sandbox.{name}"),
        None => name.trim_start_matches("scenario:").to_owned(),
    }
}

/// Plays the probes without each line in turn and writes down what falls.
pub(super) fn run(bench: &Bench<'_>, ids: Vec<String>) -> Result<(), Failure> {
    let mut faces = Vec::new();
    for (target, _) in FACES.into_iter().rev() {
        // A launcher has no scenarios.
        let beside = (target == FACES[0].0).then_some(BESIDE);
        let cases: Vec<String> = PROBES.into_iter().chain(beside).map(str::to_owned).collect();
        faces.push((target, bench.baseline(target, &format!("lines.{target}"), &cases)?));
    }
    let stays = reasons(bench.workspace, bench.profiles.1)?;
    let found = each(&ids, bench.jobs, |id| {
        let found = line(bench, id, &faces, stays.get(id).cloned());
        if let Ok(line) = &found {
            eprintln!("{id:<34} {line}");
        }
        found
    });
    let known = with_head(&known(bench.workspace, bench.profiles.1)?, HEAD);
    let mut lines = if ids.len() < known.len() {
        Lines::committed(bench.workspace)?
    } else {
        Lines { version: 1, lines: BTreeMap::new() }
    };
    for (id, line) in ids.into_iter().zip(found) {
        lines.lines.insert(id, line?);
    }
    let tables = [lines.table()];
    let write = |path: PathBuf, text: String| {
        std::fs::write(&path, text).map_err(io(format!("write {}", path.display())))
    };
    let words = "Which probe notices that a single line of the reference's sandbox is missing.";
    write(bench.folder.join("lines.md"), page::markdown(&tables))?;
    write(bench.folder.join("lines.html"), page::page("Lines of the plan", words, &tables)?)?;
    write(bench.folder.join("lines.json"), lines.json())?;
    write(bench.workspace.at(FILE), lines.json())?;
    lines.judge()
}

/// What of these has a meaning on a face, as its baseline shows.
fn served(baseline: &Report, heads: &[&str]) -> Vec<String> {
    let under = |case: &str, head: &str| {
        case.strip_prefix(head).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
    };
    let meant = |head: &&&str| {
        let mut cases = baseline.cases().iter().filter(|case| under(&case.case, head));
        cases.any(|case| case.verdict != Verdict::NotApplicable)
    };
    heads.iter().filter(meant).map(|head| (*head).to_owned()).collect()
}

/// What is seen without one line and, where nobody notices, without the other that holds the same.
fn line(
    bench: &Bench<'_>,
    id: &str,
    faces: &[(&str, Report)],
    stays: Option<Stays>,
) -> Result<Line, Failure> {
    let all = stays.is_none();
    let mut line = Line { noticed_by: noticed(bench, id, faces, all)?, stays };
    let other = |it: &&mut Stays| it.beside != "-" && line.noticed_by.is_empty();
    if let Some(stays) = line.stays.as_mut().filter(other) {
        let probes = likely(&[id, &stays.beside]);
        let both = asked(bench, &format!("{id},{}", stays.beside), &probes, faces)?;
        // What falls without the other alone says nothing about this one.
        let alone = asked(bench, &stays.beside, &probes, faces)?;
        stays.without_both = both.difference(&alone).cloned().collect();
    }
    Ok(line)
}

/// The probes that are about the same thing as these lines.
fn likely(ids: &[&str]) -> Vec<&'static str> {
    let names: Vec<&str> = ids.iter().map(|id| id.trim_start_matches(HEAD)).collect();
    let rows = LIKELY.iter().filter(|(line, _)| names.contains(line));
    rows.flat_map(|(_, probes)| probes.iter().copied()).collect()
}

/// The first probes that notice that a line is missing: the likely ones at each face, then all where
/// that is asked for.
fn noticed(
    bench: &Bench<'_>,
    id: &str,
    faces: &[(&str, Report)],
    all: bool,
) -> Result<BTreeSet<String>, Failure> {
    let fallen_here = asked(bench, id, &likely(&[id]), faces)?;
    if !fallen_here.is_empty() {
        return Ok(fallen_here);
    }
    // The launcher shows more of a sandbox; the runtime's own tool goes the same way in.
    match faces.first().filter(|_| all) {
        Some((target, baseline)) => fallen(bench, id, target, &served(baseline, &PROBES), baseline),
        None => Ok(BTreeSet::new()),
    }
}

/// Which of these probes notice at the first face where any does.
fn asked(
    bench: &Bench<'_>,
    ids: &str,
    probes: &[&str],
    faces: &[(&str, Report)],
) -> Result<BTreeSet<String>, Failure> {
    for (target, baseline) in faces {
        let fallen = fallen(bench, ids, target, &served(baseline, probes), baseline)?;
        if !fallen.is_empty() {
            return Ok(fallen);
        }
    }
    Ok(BTreeSet::new())
}

/// What falls without a line, and falls again when it is played by itself.
fn fallen(
    bench: &Bench<'_>,
    id: &str,
    target: &str,
    cases: &[String],
    baseline: &Report,
) -> Result<BTreeSet<String>, Failure> {
    if cases.is_empty() {
        return Ok(BTreeSet::new());
    }
    let report = bench.suite(target, Some(id), &format!("{id}.{target}"), cases)?;
    let mut fallen = report.newly_failing(baseline);
    if !fallen.is_empty() {
        let again: Vec<_> = fallen.iter().cloned().collect();
        let again = bench.suite(target, Some(id), &format!("{id}.{target}.again"), &again)?;
        fallen.retain(|case| again.verdict(case) == Some(Verdict::Fail));
    }
    Ok(fallen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_none_notices_and_nobody_explains_is_judged_bad() {
        let lines = |noticed: &[&str], stays: Option<&str>| {
            let noticed_by = noticed.iter().map(|it| (*it).to_owned()).collect();
            let stays = stays.map(|why| Stays {
                beside: "sandbox.plan.y".into(),
                why: why.to_owned(),
                without_both: BTreeSet::new(),
            });
            let line = Line { noticed_by, stays };
            Lines { version: 1, lines: BTreeMap::from([("sandbox.plan.x".to_owned(), line)]) }
        };
        assert!(lines(&["probe:fs.a"], None).judge().is_ok());
        assert!(lines(&[], Some("another holds it")).judge().is_ok());
        assert_eq!(lines(&[], None).judge().unwrap_err().code(), 1);
        assert!(Lines { version: 1, lines: BTreeMap::new() }.judge().is_err());
    }

    #[test]
    fn every_line_has_its_likely_probes_and_no_other_has() {
        let lines = Lines::committed(&Workspace::find().unwrap()).unwrap();
        let known: Vec<&str> = lines.lines.keys().map(|id| id.trim_start_matches(HEAD)).collect();
        let mut likely: Vec<&str> = LIKELY.iter().map(|(line, _)| *line).collect();
        likely.sort_unstable();
        assert_eq!(likely, known);
    }

    #[test]
    fn a_probe_speaks_about_its_requirement_at_either_level() {
        assert_eq!(requirement("probe:fs.read@relaxed"), "sandbox.fs.read");
        assert_eq!(requirement("scenario:sandbox.reap-after-run"), "sandbox.reap-after-run");
    }

    #[test]
    fn the_committed_answer_has_no_line_without_probe_or_reason() {
        Lines::committed(&Workspace::find().unwrap()).unwrap().judge().unwrap();
    }
}
