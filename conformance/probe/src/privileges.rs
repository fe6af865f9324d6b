//! Probes of privileges over the whole machine: capabilities, kernel settings, logs, memory, modules,
//! the clock and the host's name. What could do harm is opened and never written. Perl makes `bpf`,
//! `syslog`, `adjtimex` and the module calls. It must never know how it is observed.

use std::fs::{self, OpenOptions};
use std::io;

use crate::helper::{finish, hold, perl};
use crate::kernel::{number, open_by_number, stand};
use crate::{Control, Expect, HOLD, Need, Params, Probe};

/// Settings that are tried: of the whole machine, and of namespaces.
const SETTINGS: &[&str] = &[
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/msgmax",
    "/proc/sys/kernel/shmmax",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/vm/overcommit_memory",
];

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "kern.caps",
        what: "Stands still while its capabilities are looked at.",
        why: "Each one is a part of root.",
        needs: &[Need::OwnNamespaces],
        observer: "CapEff, CapPrm and CapAmb in /proc/<pid>/status, read from outside",
        control: Control::Root,
        action: stand,
        ..HOLD
    },
    Probe {
        id: "kern.sysctl-write",
        what: "Opens kernel settings for writing (and writes nothing).",
        why: "core_pattern and modprobe name programs that the kernel starts as root.",
        needs: &[Need::OwnNamespaces, Need::Root],
        observer: "a descriptor of a file in /proc/sys that is open for writing, seen from outside",
        control: Control::Root,
        action: |params| keep_open(params, SETTINGS, true),
        ..HOLD
    },
    Probe {
        id: "kern.sysrq",
        what: "Opens the kernel's command key for writing (and writes nothing).",
        why: "One letter reboots the machine.",
        needs: &[Need::Root, Need::Sysrq],
        observer: "a descriptor of /proc/sysrq-trigger, seen from outside",
        control: Control::Root,
        action: |params| keep_open(params, &["/proc/sysrq-trigger"], true),
        ..HOLD
    },
    Probe {
        id: "kern.kmsg",
        what: "Opens the kernel's message device.",
        why: "It tells addresses and devices, and takes forged messages.",
        needs: &[Need::Root, Need::Kmsg],
        observer: "a descriptor of /dev/kmsg, seen from outside",
        control: Control::Root,
        action: |params| keep_open(params, &["/dev/kmsg", "/proc/kmsg"], false),
        ..HOLD
    },
    Probe {
        id: "kern.kcore",
        what: "Opens the image of the kernel's memory.",
        why: "Everything that any process holds is in it.",
        needs: &[Need::Root, Need::Kcore],
        observer: "a descriptor of /proc/kcore, seen from outside",
        control: Control::Root,
        action: |params| keep_open(params, &["/proc/kcore"], false),
        ..HOLD
    },
    Probe {
        id: "kern.bpf",
        what: "Makes a BPF map.",
        why: "BPF programs run in the kernel, and their checker had many flaws.",
        needs: &[Need::Root, Need::Perl],
        observer: "the descriptor of the map, seen from outside",
        control: Control::Root,
        action: |params| {
            let map = r#"(0, (my $a = pack("L5 x100", 2, 4, 8, 1, 0)), 72)"#;
            open_by_number(params, 321, 280, map)
        },
        ..HOLD
    },
    Probe {
        id: "kern.dmesg",
        what: "Reads the kernel's log.",
        why: "It tells addresses, devices and what other programs did.",
        needs: &[Need::Root, Need::Kmsg, Need::Perl],
        observer: "a line of the log comes out of the sandbox",
        control: Control::Root,
        action: |_| {
            let script = r#"my $text = "\0" x 1048576;
                my $n = syscall($ARGV[0] + 0, 3, $text, length $text); $n >= 0 or die "$!\n";
                print substr($text, 0, $n), "\n";"#;
            finish(perl(script, &[&number(103, 116)])?)
        },
        ..HOLD
    },
    Probe {
        id: "kern.kallsyms",
        what: "Reads the kernel's table of symbols.",
        why: "With addresses an exploit knows where to aim.",
        needs: &[Need::Root, Need::Kallsyms],
        observer: "a symbol's real address comes out of the sandbox",
        control: Control::Root,
        action: |params| {
            let table = fs::read_to_string("/proc/kallsyms")?;
            let found = table.lines().find(|line| line.ends_with(params.name().unwrap_or("?")));
            println!("{}", found.unwrap_or_default());
            Ok("read it".into())
        },
        ..HOLD
    },
    Probe {
        id: "kern.modules-kexec",
        what: "Hands the kernel a file of random bytes as a module, then as another kernel.",
        why: "A module is the kernel; another kernel is the machine.",
        needs: &[Need::Root, Need::Perl],
        observer: "the file's access time: whether the kernel read it (and refused what it is)",
        control: Control::Root,
        action: |params| {
            let script = r#"my ($module, $kexec, $file) = @ARGV;
                open(my $f, "<", $file) or die "open: $!\n"; my $empty = "";
                syscall($module + 0, fileno($f), $empty, 0) == 0 and exit 0; my $first = $!;
                syscall($kexec + 0, fileno($f), fileno($f), 1, $empty, 0) == 0 and exit 0;
                die "module: $first, kernel: $!\n";"#;
            let file = params.target()?.to_string_lossy().into_owned();
            finish(perl(script, &[&number(313, 273), &number(320, 294), &file])?)
        },
        ..HOLD
    },
    Probe {
        id: "time.clock",
        what: "Sets the clock, by one nanosecond.",
        why: "Certificates, tokens and logs are worth what the clock is.",
        needs: &[Need::Root, Need::Perl],
        observer: "a timer of the host that is cancelled when the clock is set",
        control: Control::Root,
        action: |_| {
            let script = r#"my $timex = pack("L x76 q x120", 0x2100, 1);
                syscall($ARGV[0] + 0, $timex) >= 0 or die "$!\n";"#;
            finish(perl(script, &[&number(159, 171)])?)
        },
        ..HOLD
    },
    Probe {
        id: "uts.hostname",
        what: "Sets the host's name.",
        why: "Logs, mails and certificates carry it.",
        needs: &[Need::OwnNamespaces],
        observer: "a process outside, in the launcher's namespace, reads the name after the run",
        control: Control::Root,
        action: |params| {
            rustix::system::sethostname(params.name()?.as_bytes())?;
            Ok("set it".into())
        },
        ..HOLD
    },
    Probe {
        id: "res.nice-rt",
        what: "Raises its priority and becomes real-time, where its launcher may.",
        why: "A real-time process stops everything else on its processor.",
        needs: &[Need::Root, Need::Perl],
        observer: "priority and policy in /proc/<pid>/stat, read from outside",
        control: Control::Root,
        action: eager,
        ..HOLD
    },
    Probe {
        id: "res.inotify",
        what: "Takes every file watch instance that its user may have.",
        why: "The user's editors and build tools then see no change any more.",
        relaxed: Expect::HoldOrDegraded,
        strict: Expect::HoldOrDegraded,
        observer: "another process of the user asks for one",
        action: crate::resources::take_watches,
        ..HOLD
    },
];

/// Opens what it can of these, and holds it.
fn keep_open(params: &Params, paths: &[&str], write: bool) -> io::Result<String> {
    let mut kept = Vec::new();
    let mut last = io::Error::other("there is no such file");
    for path in paths {
        match OpenOptions::new().read(!write).write(write).open(path) {
            Ok(file) => kept.push(file),
            Err(error) => last = error,
        }
    }
    if kept.is_empty() {
        return Err(last);
    }
    hold(params)?;
    Ok(format!("opened {}", kept.len()))
}

fn eager(params: &Params) -> io::Result<String> {
    let nice = rustix::process::setpriority_process(None, -5);
    // The call on the parent of perl, which is this process.
    let script =
        r#"syscall($ARGV[0] + 0, getppid(), 1, (my $p = pack("i", 1))) == 0 or die "$!\n";"#;
    let real_time = perl(script, &[&number(144, 119)]).and_then(finish);
    if nice.is_err() && real_time.is_err() {
        nice?;
    }
    hold(params)?;
    Ok(format!("nice: {}, real-time: {}", nice.is_ok(), real_time.is_ok()))
}
