//! Boundary probes: one action each, run inside a sandbox. A probe acts and says what it tried;
//! it must never know the verdict, the canary that it looks for, or what it is expected to do.
//!
//! The table is data ([`all`]); the suite prepares each probe's stage, runs it once without a
//! sandbox and once inside, and decides by what it sees from outside.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
mod environment;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod helper;
#[cfg(target_os = "linux")]
mod ipc;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
mod machine;
mod macos;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
mod network;
#[cfg(any(target_os = "macos", windows))]
mod portable;
#[cfg(target_os = "linux")]
mod privileges;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod resources;
#[cfg(target_os = "linux")]
mod roles;
#[cfg(target_os = "linux")]
mod sockets;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(target_os = "linux")]
mod traps;
mod windows;

#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
pub use launch::{Launch, Listener, Own};
#[cfg(target_os = "linux")]
pub use mounts::ROOT_FOLDERS;
#[cfg(target_os = "linux")]
pub use sockets::hand_out;

/// Where perl stands on the system: the interpreter for the few calls that no safe crate reaches
/// (System V IPC, keyrings, `perf_event_open`, `io_uring_setup`, `userfaultfd`, `TIOCSTI`,
/// `TIOCLINUX`, `bpf`, file handles, leases, modules, `syslog`, `adjtimex`, real-time scheduling).
pub const PERL: &str = "/usr/bin/perl";
/// Where Python stands: it maps an `io_uring`'s memory, which perl cannot.
pub const PYTHON: &str = "/usr/bin/python3";

/// What a level promises about a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// The effect must not be seen.
    Hold,
    /// The effect must not be seen, or only in part; the part is reported as DEGRADED.
    HoldOrDegraded,
    /// The level allows it: seen or not seen, both are right.
    Allowed,
    /// No sandbox of this kind holds it today: reported, never counted as passed.
    Residual,
}

impl Expect {
    /// The word that stands in lists.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::HoldOrDegraded => "hold or degraded",
            Self::Allowed => "allowed",
            Self::Residual => "residual",
        }
    }
}

/// What the host or the driver must offer before a probe can say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// `/usr/bin/perl` on the host.
    Perl,
    /// An IPv6 loopback.
    Ipv6,
    /// The suite itself starts the launcher, with what a careless caller would hand it
    /// (descriptors, terminal, environment); not so where a running agent starts it.
    Launch,
    /// The output comes back through a runtime that could bound it, not through a plain pipe.
    Runtime,
    /// `kernel.core_pattern` names a file, not a handler, and the hard limit is not zero.
    CoreFile,
    /// `dev.tty.legacy_tiocsti` is on.
    LegacyTiocsti,
    /// Processes of one user may trace each other (Yama's `ptrace_scope` is 0).
    Tracing,
    /// Ordinary users may make user namespaces.
    UserNamespaces,
    /// Ordinary users may count their own processes' events (`perf_event_paranoid` is at most 2).
    Perf,
    /// Ordinary users may use `io_uring` (`io_uring_disabled` is 0).
    IoUring,
    /// Two gigabytes of free memory, so that the bomb hurts nobody.
    Memory,
    /// `/usr/bin/python3` on the host.
    Python,
    /// The suite itself is root: the control, or the launcher's limits, can be made by nobody else.
    Root,
    /// The suite can make namespaces of its own for a control or a launcher to stand in.
    OwnNamespaces,
    /// `/proc/sysrq-trigger`.
    Sysrq,
    /// `/proc/kcore`.
    Kcore,
    /// `/dev/kmsg` and a kernel that keeps a log.
    Kmsg,
    /// `/proc/kallsyms` with addresses that the suite itself can read.
    Kallsyms,
    /// A virtual console that nobody uses.
    Console,
    /// Sockets to a hypervisor.
    Vsock,
    /// An x86-64 processor.
    X86,
    /// An interface of the host beside its loopback.
    Interface,
    /// ICMP sockets for the control: as root, or by `ping_group_range`.
    Ping,
}

/// As whom the control runs: the run without a sandbox, in which the effect must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// As the target's own user.
    Same,
    /// As root of namespaces that the suite made for it: what the sandbox must keep from a tool is
    /// a privilege, which the user outside may not have either.
    Root,
}

/// One boundary action.
#[derive(Clone, Copy)]
pub struct Probe {
    /// Permanent id, such as `fs.write-outside-workspace`; the requirement is `sandbox.` and this.
    pub id: &'static str,
    /// What it does, in one sentence.
    pub what: &'static str,
    /// What an attacker gains by it.
    pub why: &'static str,
    /// Incidents and documents; the numbers come from secondary sources.
    pub references: &'static [&'static str],
    /// Expected at level Relaxed.
    pub relaxed: Expect,
    /// Expected at level Strict.
    pub strict: Expect,
    /// Preconditions.
    pub needs: &'static [Need],
    /// What is looked at from outside to decide.
    pub observer: &'static str,
    /// As whom the control runs.
    pub control: Control,
    /// The action, as it runs inside. `Ok` says what it believes to have done, `Err` the system's
    /// reason; [`std::io::ErrorKind::Unsupported`] says that it could not even try.
    pub action: fn(&Params) -> std::io::Result<String>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Probe").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Probe {
    /// The boundary: the part of the id before the dot (`fs`, `net`, `proc`, ...).
    #[must_use]
    pub fn boundary(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(boundary, _)| boundary)
    }
}

/// What most probes share: hold at both levels, no precondition. Each names the rest itself.
pub(crate) const HOLD: Probe = Probe {
    id: "",
    what: "",
    why: "",
    references: &[],
    relaxed: Expect::Hold,
    strict: Expect::Hold,
    needs: &[],
    observer: "",
    control: Control::Same,
    action: |_| Err(std::io::Error::from(std::io::ErrorKind::Unsupported)),
};

/// An operating system that probes are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Linux; its rows stand in builds for Linux only.
    Linux,
    /// macOS.
    Macos,
    /// Windows.
    Windows,
}

impl System {
    /// Every system.
    pub const ALL: [Self; 3] = [Self::Linux, Self::Macos, Self::Windows];

    /// The one that this is.
    #[must_use]
    pub const fn current() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::Macos
        } else {
            Self::Linux
        }
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::Macos => "macOS",
            Self::Windows => "Windows",
        }
    }

    /// Its probes, in the order of the boundaries. Those of another system can be listed and not
    /// run.
    pub fn probes(self) -> impl Iterator<Item = &'static Probe> {
        let tables = match self {
            Self::Linux => LINUX,
            Self::Macos => macos::TABLES,
            Self::Windows => windows::TABLES,
        };
        tables.iter().flat_map(|table| table.iter())
    }
}

#[cfg(target_os = "linux")]
const LINUX: &[&[Probe]] = &[
    files::PROBES,
    mounts::PROBES,
    traps::PROBES,
    network::PROBES,
    sockets::PROBES,
    processes::PROBES,
    kernel::PROBES,
    privileges::PROBES,
    machine::PROBES,
    ipc::PROBES,
    resources::PROBES,
    environment::PROBES,
    terminal::PROBES,
];
#[cfg(not(target_os = "linux"))]
const LINUX: &[&[Probe]] = &[];

/// The action of another system's probe.
fn elsewhere(_: &Params) -> std::io::Result<String> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "a probe of another system"))
}

/// Every probe of this operating system, in the order of the boundaries.
pub fn all() -> impl Iterator<Item = &'static Probe> {
    System::current().probes()
}

/// The probe of that id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Probe> {
    all().find(|probe| probe.id == id)
}

/// What the suite tells a probe: where to try, never what it would find there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// 32 random hexadecimal digits that mark this run's files and processes.
    pub token: String,
    /// The workspace as seen inside, where the allowed counterpart is done.
    pub workspace: PathBuf,
    /// The path that is attacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<PathBuf>,
    /// What is written or sent where the effect is a write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// A loopback port of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A host process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// An address in that process, a System V key, or a value to set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// The name of an object (abstract socket, queue, key).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How much: processes or bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<u64>,
}

impl Params {
    pub(crate) fn target(&self) -> std::io::Result<&Path> {
        self.target.as_deref().ok_or_else(|| missing("target"))
    }
    pub(crate) fn content(&self) -> std::io::Result<&str> {
        self.content.as_deref().ok_or_else(|| missing("content"))
    }
    pub(crate) fn port(&self) -> std::io::Result<u16> {
        self.port.ok_or_else(|| missing("port"))
    }
    pub(crate) fn pid(&self) -> std::io::Result<i32> {
        self.pid.ok_or_else(|| missing("pid"))
    }
    #[cfg(not(windows))]
    pub(crate) fn number(&self) -> std::io::Result<u64> {
        self.number.ok_or_else(|| missing("number"))
    }
    pub(crate) fn name(&self) -> std::io::Result<&str> {
        self.name.as_deref().ok_or_else(|| missing("name"))
    }
    pub(crate) fn amount(&self) -> std::io::Result<u64> {
        self.amount.ok_or_else(|| missing("amount"))
    }
}

/// A parameter that the suite forgot: the action cannot be tried.
fn missing(name: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::Unsupported, format!("parameter {name} is missing"))
}

/// The names of the files in the workspace by which suite and probe keep step.
pub mod step {
    use super::{Params, Path, PathBuf};

    /// What the allowed counterpart reads.
    #[must_use]
    pub fn twin_in(workspace: &Path, token: &str) -> PathBuf {
        workspace.join(format!("in-{token}"))
    }
    /// Where it writes what it read, reversed.
    #[must_use]
    pub fn twin_out(workspace: &Path, token: &str) -> PathBuf {
        workspace.join(format!("out-{token}"))
    }
    /// Made by the probe when it stands in position.
    #[must_use]
    pub fn hold(workspace: &Path, token: &str) -> PathBuf {
        workspace.join(format!("hold-{token}"))
    }
    /// Made by the suite when it has looked.
    #[must_use]
    pub fn release(workspace: &Path, token: &str) -> PathBuf {
        workspace.join(format!("release-{token}"))
    }
    /// What the probe prints that is too much for a tool's result, which agents cut.
    #[must_use]
    pub fn told(workspace: &Path, token: &str) -> PathBuf {
        workspace.join(format!("told-{token}"))
    }
    /// Grows while a process left behind still runs.
    #[must_use]
    pub fn heartbeat(workspace: &Path, token: &str) -> PathBuf {
        workspace.join(format!("beat-{token}"))
    }

    pub(crate) fn of(params: &Params, name: fn(&Path, &str) -> PathBuf) -> PathBuf {
        name(&params.workspace, &params.token)
    }
}

/// The line that a probe prints. Only `clawproof` (that it ran at all) and `attempted: false`
/// (that it could not try) are read by the suite; the rest is for people.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    /// The token, reversed: an echo of the command line does not show it.
    pub clawproof: String,
    /// `started` or `ended`.
    pub step: String,
    /// Whether the action could be tried at all.
    #[serde(default)]
    pub attempted: bool,
    /// What it believes to have done, or the system's reason against it.
    #[serde(default)]
    pub detail: String,
    /// Whether the reason is that the kernel does not have such a thing at all. Believed of a run
    /// without a sandbox only: a filter may answer the same.
    #[serde(default)]
    pub absent: bool,
}

/// What systems say of what they do not have: ENOSYS, ENODEV, EAFNOSUPPORT.
const ABSENT: &[&str] =
    &["Function not implemented", "No such device", "Address family not supported by protocol"];

/// How a helper's role ends, with the reason on standard error.
pub(crate) fn ended(name: &str, result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("@{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Text, reversed by characters.
#[must_use]
pub fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// The binary: `clawproof-probe ID JSON-PARAMS`, or `@FILE` in place of the parameters. Exit code 0 when it ran, whatever came of it;
/// 2 for a wrong call.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words = arguments.iter().map(String::as_str);
    #[cfg(target_os = "linux")]
    if let Some(name) = arguments.first().and_then(|word| word.strip_prefix('@')) {
        return roles::run(name, arguments.get(1..).unwrap_or_default());
    }
    #[cfg(any(target_os = "macos", windows))]
    if let Some(name) = arguments.first().and_then(|word| word.strip_prefix('@')) {
        return portable::role(name, arguments.get(1..).unwrap_or_default());
    }
    let (Some(id), Some(text)) = (words.next(), words.next()) else {
        eprintln!(
            "usage: clawproof-probe ID JSON-PARAMS|@FILE (made to be run by `clawproof run`)"
        );
        return ExitCode::from(2);
    };
    let Some(probe) = find(id) else {
        eprintln!("no probe is called {id}; `clawproof probe --list` names them");
        return ExitCode::from(2);
    };
    // In a file where the caller looks through its command lines for paths: it is the boundary
    // that is asked, not that look.
    let read = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file),
        None => Ok(text.to_owned()),
    };
    let parsed = read
        .map_err(|error| error.to_string())
        .and_then(|text| serde_json::from_str::<Params>(&text).map_err(|error| error.to_string()));
    let params = match parsed {
        Ok(params) => params,
        Err(error) => {
            eprintln!("the parameters of {id} are not understood: {error}");
            return ExitCode::from(2);
        }
    };
    act(probe, &params);
    ExitCode::SUCCESS
}

/// Says that it started, does its allowed counterpart, then the action.
fn act(probe: &Probe, params: &Params) {
    let mut line = Line { clawproof: reversed(&params.token), ..Line::default() };
    line.step = "started".into();
    say(&line);
    #[cfg(target_os = "linux")]
    if let Err(error) = helper::twin(params) {
        println!("the allowed counterpart failed: {error}");
    }
    #[cfg(any(target_os = "macos", windows))]
    if let Err(error) = portable::twin(params) {
        println!("the allowed counterpart failed: {error}");
    }
    let result = (probe.action)(params);
    line.step = "ended".into();
    // The system's own "not supported" (ENOSYS has the same kind) was an answer to a try.
    let untried = |error: &std::io::Error| {
        error.kind() == std::io::ErrorKind::Unsupported && error.raw_os_error().is_none()
    };
    line.attempted = !matches!(&result, Err(error) if untried(error));
    line.detail = match result {
        Ok(done) => format!("did: {done}"),
        Err(error) => {
            let text = format!("did not: {error}");
            line.absent = ABSENT.iter().any(|words| text.contains(words));
            text
        }
    };
    say(&line);
}

fn say(line: &Line) {
    use std::io::Write as _;
    if let Ok(text) = serde_json::to_string(line) {
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_and_name_their_boundary() {
        let all = || System::ALL.into_iter().flat_map(System::probes);
        let ids: Vec<&str> = all().map(|probe| probe.id).collect();
        let distinct: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), distinct.len());
        for probe in all() {
            assert_ne!(probe.boundary(), probe.id, "{} has no boundary", probe.id);
            assert!(probe.what.ends_with('.') && probe.why.ends_with('.'), "{}", probe.id);
            assert!(!probe.observer.is_empty(), "{} has no observer", probe.id);
        }
    }

    #[test]
    fn strict_is_never_looser_than_relaxed() {
        for probe in System::ALL.into_iter().flat_map(System::probes) {
            let looser = probe.relaxed == Expect::Hold && probe.strict != Expect::Hold;
            assert!(!looser, "{} expects less at strict", probe.id);
        }
    }

    #[test]
    fn each_system_has_its_catalogue_and_says_so_in_the_ids() {
        for (system, least) in [(System::Macos, 35), (System::Windows, 35)] {
            let head = format!("{}-", system.name().to_lowercase());
            assert!(system.probes().count() >= least, "{system:?}");
            assert!(system.probes().all(|probe| probe.id.starts_with(&head)), "{system:?}");
        }
        let ours =
            |probe: &Probe| !probe.id.starts_with("macos-") && !probe.id.starts_with("windows-");
        assert!(System::Linux.probes().all(ours));
    }

    #[test]
    fn unknown_parameters_are_refused() {
        assert!(serde_json::from_str::<Params>(r#"{"token":"a","verdict":"held"}"#).is_err());
    }
}
