//! Preconditions of probes: what this host or the driver cannot offer, in a sentence.
//! It must never know a target.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clawproof_probe::{Need, PERL, PYTHON, Probe};

use super::Trouble;

/// A need in a few words.
pub(super) fn word(need: Need) -> &'static str {
    match need {
        Need::Perl => "/usr/bin/perl on the host and inside",
        Need::Ipv6 => "an IPv6 loopback",
        Need::Launch => "a launcher that the suite starts itself",
        Need::Runtime => "a runtime between the tool and its caller",
        Need::CoreFile => "a kernel that writes core files into the working folder",
        Need::LegacyTiocsti => "dev.tty.legacy_tiocsti = 1",
        Need::Tracing => "tracing between processes of one user (kernel.yama.ptrace_scope = 0)",
        Need::UserNamespaces => "user namespaces for ordinary users",
        Need::Perf => "performance counters for ordinary users (perf_event_paranoid <= 2)",
        Need::IoUring => "io_uring for ordinary users (kernel.io_uring_disabled = 0)",
        Need::Memory => "2 GB of free memory",
        Need::Python => "/usr/bin/python3 on the host and inside",
        Need::Root => "a suite that runs as root, for the control",
        Need::OwnNamespaces => "namespaces that the suite can make: root, or user namespaces",
        Need::Sysrq => "/proc/sysrq-trigger",
        Need::Kcore => "/proc/kcore",
        Need::Kmsg => "a kernel log that the suite can read",
        Need::Kallsyms => "kernel symbols whose addresses the suite can read",
        Need::Console => "virtual consoles, with text on the one in front",
        Need::Vsock => "sockets to a hypervisor",
        Need::X86 => "an x86-64 processor",
        Need::Interface => "a network interface beside loopback",
        Need::Ping => "ICMP sockets: a suite that is root, or net.ipv4.ping_group_range",
    }
}

/// Why a probe cannot be run through a running agent.
pub(super) fn driver(probe: &Probe) -> Option<String> {
    let launch = probe.needs.contains(&Need::Launch);
    launch
        .then(|| "the agent starts its own launcher; the suite cannot hand it anything".to_owned())
}

/// Why this host cannot show the probe.
pub(super) fn host(probe: &Probe) -> Option<String> {
    if probe.id == "kern.setuid-exec" && crate::target::world::targets_are_root() {
        return Some("as root a set-user-id program of root gives nothing".to_owned());
    }
    let missing = probe.needs.iter().find(|need| !offered(**need))?;
    Some(format!("this host does not have {}", word(*missing)))
}

fn offered(need: Need) -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    match need {
        Need::Perl => Path::new(PERL).is_file(),
        Need::Ipv6 => std::net::TcpListener::bind("[::1]:0").is_ok(),
        Need::Launch | Need::Runtime => true,
        Need::CoreFile => {
            let pattern = read("/proc/sys/kernel/core_pattern");
            let hard = super::outside::limit(std::process::id(), "Max core file size");
            !pattern.trim().is_empty()
                && !pattern.starts_with(['|', '/'])
                && !matches!(hard, Some([_, Some(0)]))
        }
        // Kernels before 6.2 have no such switch and always allow it.
        Need::LegacyTiocsti => !read("/proc/sys/dev/tty/legacy_tiocsti").starts_with('0'),
        Need::Python => Path::new(PYTHON).is_file(),
        Need::Root => root(),
        Need::OwnNamespaces => root() || offered(Need::UserNamespaces),
        Need::Sysrq => Path::new("/proc/sysrq-trigger").exists(),
        Need::Kcore => Path::new("/proc/kcore").exists(),
        Need::Kmsg => super::privileges::log_line().is_some(),
        Need::Kallsyms => super::privileges::symbol().is_some(),
        Need::Console => super::terminal::console().is_some(),
        Need::Vsock => {
            let family = rustix::net::AddressFamily::VSOCK;
            rustix::net::socket(family, rustix::net::SocketType::STREAM, None).is_ok()
        }
        Need::X86 => cfg!(target_arch = "x86_64"),
        Need::Interface => super::sockets::hardware_address().is_some(),
        Need::Ping => {
            let range = read("/proc/sys/net/ipv4/ping_group_range");
            let mut ends = range.split_whitespace().map(|word| word.parse::<u64>().ok());
            let own = u64::from(rustix::process::getegid().as_raw());
            let open = matches!((ends.next(), ends.next()),
                (Some(Some(low)), Some(Some(high))) if (low..=high).contains(&own));
            root() || open
        }
        // A switch that is not there forbids nothing.
        Need::Tracing => switch("/proc/sys/kernel/yama/ptrace_scope").unwrap_or(0) == 0,
        Need::UserNamespaces => {
            switch("/proc/sys/user/max_user_namespaces").unwrap_or(0) > 0
                && switch("/proc/sys/kernel/unprivileged_userns_clone").unwrap_or(1) == 1
                && switch("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").unwrap_or(0)
                    == 0
        }
        Need::Perf => switch("/proc/sys/kernel/perf_event_paranoid").is_some_and(|it| it <= 2),
        Need::IoUring => switch("/proc/sys/kernel/io_uring_disabled").unwrap_or(0) == 0,
        Need::Memory => {
            let text = read("/proc/meminfo");
            let free = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
            let free = free.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            free.is_some_and(|kilobytes| kilobytes > 2_000_000)
        }
    }
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The number in a file of /proc/sys.
fn switch(path: &str) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A turn at what only one may do at a time on a machine: signalling all processes of a user, taking
/// memory, or setting the clock. Kept by a lock on a file, which goes with the process that holds it.
#[derive(Debug)]
pub(super) struct Turn {
    _file: Option<fs::File>,
}

/// Waits for the probe's turn, where it needs one.
pub(super) async fn turn(probe: &Probe) -> Result<Turn, Trouble> {
    let name = match probe.id {
        "proc.kill-minus1" => "signals",
        "time.clock" => "clock",
        _ if probe.needs.contains(&Need::Memory) => "bombs",
        _ => return Ok(Turn { _file: None }),
    };
    // A file and no abstract socket: runs may stand in network namespaces of their own.
    let file = lock_file(&std::env::temp_dir().join(format!("clawproof-turn-{name}")))?;
    for _ in 0..1200 {
        match file.try_lock() {
            Ok(()) => return Ok(Turn { _file: Some(file) }),
            Err(fs::TryLockError::WouldBlock) => {}
            Err(fs::TryLockError::Error(error)) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Trouble::Harness(format!("waited a minute for another run to finish {}", probe.id)))
}

/// Opens the file for reading, which its lock is enough with, so that all users share one.
fn lock_file(path: &Path) -> std::io::Result<fs::File> {
    if let Ok(file) = fs::File::open(path) {
        return Ok(file);
    }
    match fs::OpenOptions::new().write(true).create_new(true).open(path) {
        // Another run was quicker.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => fs::File::open(path),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_the_turn_until_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turn");
        let (first, second) = (lock_file(&path).unwrap(), lock_file(&path).unwrap());
        first.try_lock().unwrap();
        assert!(matches!(second.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(first);
        second.try_lock().unwrap();
    }
}
