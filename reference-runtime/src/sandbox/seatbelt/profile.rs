//! The profile from a template: deny by default, and each line that allows something says what for.
//! Paths are parameters (`-D NAME=PATH`), never text: a folder with a clever name stays a folder.

use std::{
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::{
    registry::{Capabilities, Capability},
    sandbox::{
        plan::{Heads, Purpose},
        policy::Level,
        trusted,
    },
};

/// What stands on the host: canonical paths (`/private/...`), gathered before the profile is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::sandbox) struct Facts {
    /// The workspace.
    pub(in crate::sandbox) workspace: PathBuf,
    /// The run's own temporary folder, outside the workspace.
    pub(in crate::sandbox) temporary: PathBuf,
    /// This program, which runs again inside.
    pub(in crate::sandbox) shim: PathBuf,
    /// Files and folders of the runtime's own that must not change, should they lie in the
    /// workspace.
    pub(in crate::sandbox) protected: Vec<PathBuf>,
}

/// A profile: text that is the same for every path, and the paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Profile {
    /// What `sandbox-exec -p` is given.
    pub(in crate::sandbox) text: String,
    /// What `-D` is given, in order: every parameter that the text names, once.
    pub(in crate::sandbox) parameters: Vec<(String, OsString)>,
}

/// What a program needs before its first line: the loader, its cache, the system's libraries.
const SYSTEM: &[&str] = &[
    "/bin",
    "/sbin",
    "/usr",
    "/System/Cryptexes",
    "/System/Library",
    "/System/Volumes/Preboot/Cryptexes",
    "/Library/Apple",
    "/Library/Developer/CommandLineTools",
    "/Library/Frameworks",
    "/Applications/Xcode.app",
    "/opt/homebrew",
    "/private/var/db/dyld",
    "/private/var/db/timezone",
    "/private/var/select",
];

/// Folders and links on the way to those: their names, not what lies in them.
const WAYS: &[&str] = &[
    "/Applications",
    "/Library",
    "/Library/Developer",
    "/System",
    "/System/Volumes",
    "/System/Volumes/Preboot",
    "/dev",
    "/etc",
    "/opt",
    "/private",
    "/private/etc",
    "/private/tmp",
    "/private/var",
    "/private/var/db",
    "/tmp",
    "/var",
];

/// Files that are read at any start.
const FILES: &[&str] =
    &["/dev/null", "/dev/random", "/dev/urandom", "/dev/zero", "/private/etc/localtime"];

/// What programs with a network read too.
const NETWORK_FILES: &[&str] = &[
    "/private/etc/hosts",
    "/private/etc/protocols",
    "/private/etc/resolv.conf",
    "/private/etc/services",
    "/private/etc/ssl",
    "/private/var/run/resolv.conf",
];

/// System values that the libraries ask at a start. None of another process: `kern.procargs2`
/// would show their environments.
const SYSCTLS: &[&str] = &[
    "kern.argmax",
    "kern.bootargs",
    "kern.hostname",
    "kern.maxfilesperproc",
    "kern.ngroups",
    "kern.osproductversion",
    "kern.osrelease",
    "kern.ostype",
    "kern.osvariant_status",
    "kern.osversion",
    "kern.secure_kernel",
    "kern.tcsm_available",
    "kern.usrstack64",
    "kern.version",
    "machdep.cpu.brand_string",
    "security.mac.lockdown_mode_state",
    "sysctl.proc_cputype",
    "vm.loadavg",
];

/// Names of the system's services: who a user id is; with a network, who a host name is.
const SERVICES: &[&str] = &["com.apple.system.opendirectoryd.libinfo"];
const NETWORK_SERVICES: &[&str] = &[
    "com.apple.SystemConfiguration.DNSConfiguration",
    "com.apple.SystemConfiguration.configd",
    "com.apple.dnssd.service",
    "com.apple.networkd",
];

impl Profile {
    /// The profile of a run at `relaxed` or `strict`.
    pub(in crate::sandbox) fn new(
        level: Level,
        capabilities: Capabilities,
        purpose: Purpose,
        facts: &Facts,
        heads: Heads,
    ) -> Self {
        let network = level == Level::Relaxed && capabilities.has(Capability::Network);
        let mut profile = Self { text: String::new(), parameters: Vec::new() };
        profile.line("(version 1)");
        profile.line("(deny default)");
        profile.processes(purpose, facts, heads);
        profile.system(network, heads);
        profile.files(capabilities.has(Capability::Write), network, facts, heads);
        if network {
            profile.line(r#"(allow network-outbound (remote ip "*:*"))"#);
            profile.line(r#"(allow network-outbound (literal "/private/var/run/mDNSResponder"))"#);
            profile.line(r#"(allow network-bind network-inbound (local ip "*:*"))"#);
        }
        // What a knocked-out head takes away, last, because the last rule decides.
        let missing = [
            (heads.fs, "(allow file* process-exec*)"),
            (heads.net, "(allow network* system-socket)"),
            (heads.proc, "(allow signal process-info* mach-priv-task-port)"),
            (heads.ipc, "(allow ipc-posix* ipc-sysv* mach-lookup mach-register)"),
            (heads.kern, "(allow sysctl* iokit-open*)"),
            (heads.term, "(allow pseudo-tty file-ioctl)"),
        ];
        for (_, line) in missing.iter().filter(|(there, _)| !there) {
            profile.line(line);
        }
        profile
    }

    fn processes(&mut self, purpose: Purpose, facts: &Facts, heads: Heads) {
        self.line("(allow process-fork)");
        self.line("(allow signal (target same-sandbox))");
        self.line("(allow process-info* (target same-sandbox))");
        let shim = self.parameter("SHIM", &facts.shim);
        let own = format!("(literal {shim})");
        let mut programs = vec![own];
        if purpose == Purpose::Program {
            programs.extend(SYSTEM.iter().map(|path| format!("(subpath \"{path}\")")));
            let workspace = self.parameter("WORKSPACE", &facts.workspace);
            let temporary = self.parameter("TEMPORARY", &facts.temporary);
            programs.push(format!("(subpath {workspace})"));
            programs.push(format!("(subpath {temporary})"));
        }
        let programs = programs.join(" ");
        self.line(&format!("(allow process-exec* {programs})"));
        // The worker's own libraries are the system's, whatever it may start.
        let libraries: Vec<_> = SYSTEM.iter().map(|path| format!("(subpath \"{path}\")")).collect();
        self.line(&format!("(allow file-map-executable {programs} {})", libraries.join(" ")));
        if heads.proc && purpose == Purpose::Worker {
            self.line(&format!("(deny process-exec* (require-not (literal {shim})))"));
        }
    }

    fn system(&mut self, network: bool, heads: Heads) {
        let names = |names: &[&str], filter: &str| {
            names.iter().map(|name| format!("({filter} \"{name}\")")).collect::<Vec<_>>().join(" ")
        };
        self.line(&format!(
            "(allow sysctl-read (sysctl-name-prefix \"hw.\") {})",
            names(SYSCTLS, "sysctl-name")
        ));
        self.line(&format!("(allow mach-lookup {})", names(SERVICES, "global-name")));
        if network && heads.net {
            self.line(&format!("(allow mach-lookup {})", names(NETWORK_SERVICES, "global-name")));
        }
        self.line(
            r#"(allow ipc-posix-shm-read* (ipc-posix-name "apple.shm.notification_center"))"#,
        );
    }

    fn files(&mut self, write: bool, network: bool, facts: &Facts, heads: Heads) {
        let literals = |paths: &[&str]| {
            paths.iter().map(|path| format!("(literal \"{path}\")")).collect::<Vec<_>>().join(" ")
        };
        let system: Vec<_> = SYSTEM.iter().map(|path| format!("(subpath \"{path}\")")).collect();
        self.line(r#"(allow file-read* (literal "/"))"#);
        self.line(&format!("(allow file-read* {})", system.join(" ")));
        self.line(&format!("(allow file-read-metadata {})", literals(WAYS)));
        self.line(&format!("(allow file-read* {})", literals(FILES)));
        if network && heads.net {
            let files: Vec<_> =
                NETWORK_FILES.iter().map(|path| format!("(subpath \"{path}\")")).collect();
            self.line(&format!("(allow file-read* {})", files.join(" ")));
        }
        self.line(
            r#"(allow file-write-data (require-all (literal "/dev/null") (vnode-type CHARACTER-DEVICE)))"#,
        );
        let shim = self.parameter("SHIM", &facts.shim);
        self.line(&format!("(allow file-read* (literal {shim}))"));
        for ancestor in ancestors(facts) {
            let count = self.parameters.len();
            let name = self.parameter(&format!("WAY_{count}"), &ancestor);
            self.line(&format!("(allow file-read-metadata (literal {name}))"));
        }
        let workspace = self.parameter("WORKSPACE", &facts.workspace);
        let temporary = self.parameter("TEMPORARY", &facts.temporary);
        self.line(&format!("(allow file-read* (subpath {workspace}) (subpath {temporary}))"));
        self.line(&format!("(allow file-write* (subpath {temporary}))"));
        if write {
            self.line(&format!("(allow file-write* (subpath {workspace}))"));
            self.protect(&workspace, facts);
        }
        // The two folders themselves stay where they are, and no program becomes another user's.
        self.line(&format!("(deny file-write-unlink (literal {workspace}) (literal {temporary}))"));
        self.line("(deny file-write-setugid file-write-mount file-write-umount)");
    }

    fn protect(&mut self, workspace: &str, facts: &Facts) {
        for name in trusted::names() {
            let pattern = any_case(name);
            self.line(&format!(
                "(deny file-write* (require-all (subpath {workspace}) (regex #\"/{pattern}(/|$)\")))"
            ));
        }
        // A folder that holds such a name is not renamed away from above it.
        let git = any_case(".git");
        self.line(&format!(
            "(deny file-write-unlink (require-all (subpath {workspace}) (regex #\"/{git}(/info)?$\")))"
        ));
        for path in &facts.protected {
            let count = self.parameters.len();
            let name = self.parameter(&format!("OWN_{count}"), path);
            self.line(&format!("(deny file-write* (subpath {name}))"));
            let inside = path.ancestors().skip(1);
            for folder in inside.take_while(|folder| folder.starts_with(&facts.workspace)) {
                let count = self.parameters.len();
                let name = self.parameter(&format!("PIN_{count}"), folder);
                self.line(&format!("(deny file-write-unlink (literal {name}))"));
            }
        }
    }

    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// The expression that stands for a path in the text.
    fn parameter(&mut self, name: &str, path: &Path) -> String {
        if !self.parameters.iter().any(|(known, _)| known == name) {
            self.parameters.push((name.to_owned(), path.as_os_str().to_owned()));
        }
        format!("(param \"{name}\")")
    }
}

/// The folders above what a run may read, nearest the root first.
fn ancestors(facts: &Facts) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for path in [&facts.workspace, &facts.temporary, &facts.shim] {
        for folder in path.ancestors().skip(1).filter(|folder| folder.parent().is_some()) {
            if !found.iter().any(|known| known == folder) {
                found.push(folder.to_owned());
            }
        }
    }
    found.sort();
    found
}

/// A pattern for a name in any case of its letters.
fn any_case(name: &str) -> String {
    let mut pattern = String::new();
    for letter in name.chars() {
        match letter {
            'a'..='z' => {
                let _ = write!(pattern, "[{letter}{}]", letter.to_ascii_uppercase());
            }
            '.' => pattern.push_str("[.]"),
            other => pattern.push(other),
        }
    }
    pattern
}
