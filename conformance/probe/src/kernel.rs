//! Probes of the kernel's surface. Perl makes the calls that no safe crate reaches (keyrings,
//! `io_uring_setup`, `perf_event_open`, `userfaultfd`). It must never know how it is observed.

use std::io;
use std::process::Stdio;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::helper::{finish, held_child, hold, perl, program_of};
use crate::{Expect, HOLD, Need, Params, Probe, step};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "kern.no-new-privs",
        what: "Stands still while its privileges are looked at.",
        why: "Without no_new_privs a set-user-id program raises the tool's rights.",
        observer: "NoNewPrivs in /proc/<pid>/status, read from outside",
        action: stand,
        ..HOLD
    },
    Probe {
        id: "kern.seccomp",
        what: "Stands still while its system call filter is looked at.",
        why: "Every call that a tool does not need is kernel code it can attack.",
        relaxed: Expect::HoldOrDegraded,
        observer: "Seccomp in /proc/<pid>/status, read from outside",
        action: stand,
        ..HOLD
    },
    Probe {
        id: "kern.setuid-exec",
        what: "Starts the set-user-id program su and leaves it waiting for a password.",
        why: "A flaw in any set-user-id program on the system is then the tool's.",
        observer: "a process with the run's mark has effective uid 0, seen from outside",
        action: setuid_exec,
        ..HOLD
    },
    Probe {
        id: "kern.userns",
        what: "Makes a user namespace of its own.",
        why: "Inside it the tool holds every capability, and most kernel exploits begin there.",
        needs: &[Need::UserNamespaces],
        observer: "the namespace link of the process, read from outside, is another than its sibling's",
        action: |params| {
            let mut sibling = held_child(params).spawn()?;
            let result = unshare(CloneFlags::CLONE_NEWUSER);
            let held = hold(params);
            let _ = sibling.kill();
            let _ = sibling.wait();
            result?;
            held?;
            Ok("made one".into())
        },
        ..HOLD
    },
    Probe {
        id: "kern.mount-in-userns",
        what: "Makes user and mount namespaces and mounts a filesystem in them.",
        why: "Mounting opens filesystem parsers and hides or uncovers paths.",
        references: &["CVE-2022-0185 (secondary source)"],
        needs: &[Need::UserNamespaces],
        observer: "the mount stands in /proc/<pid>/mountinfo, read from outside",
        action: mount_in_userns,
        ..HOLD
    },
    Probe {
        id: "kern.clone3-userns",
        what: "Makes a child in a user namespace of its own by clone3.",
        why: "A filter cannot look into clone3's arguments, so one that allows it allows this.",
        needs: &[Need::UserNamespaces, Need::Perl],
        observer: "a process of the run is in another user namespace than its parent, read from outside",
        action: clone3,
        ..HOLD
    },
    Probe {
        id: "kern.cgroup-mount",
        what: "Makes user, mount and cgroup namespaces and mounts the cgroup filesystem.",
        why: "Through release_agent and limits it reaches the host's processes.",
        references: &["CVE-2022-0492 (secondary source)"],
        needs: &[Need::UserNamespaces],
        observer: "the mount stands in /proc/<pid>/mountinfo, read from outside",
        action: |params| mount_in_namespaces(params, CloneFlags::CLONE_NEWCGROUP, "cgroup2", None),
        ..HOLD
    },
    Probe {
        id: "kern.dev-nodes",
        what: "Stands still while its /dev is looked at.",
        why: "Disks, memory, /dev/kvm and /dev/fuse are doors to the kernel and to all files.",
        observer: "the device files in /proc/<pid>/root/dev, read from outside",
        action: stand,
        ..HOLD
    },
    Probe {
        id: "kern.fanotify",
        what: "Opens a fanotify group.",
        why: "It watches the user's files, and its code runs deep in the filesystem.",
        relaxed: Expect::HoldOrDegraded,
        needs: &[Need::Perl],
        observer: "the descriptor of the group, seen from outside",
        action: |params| open_by_number(params, 300, 262, "(0x200, 0)"),
        ..HOLD
    },
    Probe {
        id: "kern.io-uring",
        what: "Makes an io_uring instance.",
        why: "Its operations go past system call filters, and its code had many flaws.",
        relaxed: Expect::HoldOrDegraded,
        needs: &[Need::IoUring, Need::Perl],
        observer: "the descriptor of the instance, seen from outside",
        action: |params| open_by_number(params, 425, 425, r#"(8, my $p = "\0" x 248)"#),
        ..HOLD
    },
    Probe {
        id: "kern.perf",
        what: "Opens a performance counter of the kernel.",
        why: "Counters tell about other processes and had many flaws.",
        relaxed: Expect::HoldOrDegraded,
        needs: &[Need::Perf, Need::Perl],
        observer: "the descriptor of the counter, seen from outside",
        action: |params| {
            let attributes =
                r#"(my $a = pack("L L Q Q Q Q Q x72", 1, 120, 0, 0, 0, 0, 0x60), 0, -1, -1, 0)"#;
            open_by_number(params, 298, 241, attributes)
        },
        ..HOLD
    },
    Probe {
        id: "kern.userfaultfd",
        what: "Opens a userfaultfd.",
        why: "It stops the kernel in the middle of a copy, which makes races winnable.",
        relaxed: Expect::HoldOrDegraded,
        needs: &[Need::Perl],
        observer: "the descriptor, seen from outside",
        action: |params| open_by_number(params, 323, 282, "(1)"),
        ..HOLD
    },
    Probe {
        id: "kern.keyring-read",
        what: "Reads a key from the session keyring that the launcher was started with.",
        why: "Kerberos, disk encryption and agents keep keys there; no namespace covers it by itself.",
        needs: &[Need::Launch, Need::Perl],
        observer: "the key's random content comes out of the sandbox",
        action: |params| {
            let script = r#"my ($request, $control, $name) = @ARGV; my $type = "user";
                my $id = syscall($request + 0, $type, $name, 0, 0); $id > 0 or die "request_key: $!\n";
                my $text = "\0" x 128; my $n = syscall($control + 0, 11, $id, $text, 128);
                $n > 0 or die "keyctl: $!\n"; print substr($text, 0, $n), "\n";"#;
            finish(perl(script, &[&number(249, 218), &number(250, 219), params.name()?])?)
        },
        ..HOLD
    },
    Probe {
        id: "kern.keyring-leave",
        what: "Leaves a key in the session keyring that the launcher was started with.",
        why: "It outlives the run and carries data or a forged key to the user's programs.",
        needs: &[Need::Launch, Need::Perl],
        observer: "a process outside, in the launcher's session, finds the key",
        action: |params| {
            let script = r#"my ($add, $name, $text) = @ARGV; my $type = "user";
                syscall($add + 0, $type, $name, $text, length $text, -3) > 0 or die "add_key: $!\n";"#;
            finish(perl(script, &[&number(248, 217), params.name()?, params.content()?])?)
        },
        ..HOLD
    },
];

/// A system call's number on x86-64 and on arm64.
pub(crate) fn number(x86_64: u16, arm64: u16) -> String {
    if cfg!(target_arch = "x86_64") { x86_64 } else { arm64 }.to_string()
}

pub(crate) fn stand(params: &Params) -> io::Result<String> {
    hold(params)?;
    Ok("stood".into())
}

fn setuid_exec(params: &Params) -> io::Result<String> {
    let mut child = program_of("/usr/bin/su")
        .args(["-c", &format!("true {}", params.token), "root"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    std::thread::sleep(std::time::Duration::from_millis(100));
    let held = hold(params);
    // Killed while it waits: no attempt to log in is ever made.
    let _ = child.kill();
    let _ = child.wait();
    held?;
    Ok("started su".into())
}

fn mount_in_userns(params: &Params) -> io::Result<String> {
    mount_in_namespaces(params, CloneFlags::empty(), "tmpfs", Some("size=4096"))
}

fn mount_in_namespaces(
    params: &Params,
    further: CloneFlags,
    kind: &str,
    options: Option<&str>,
) -> io::Result<String> {
    let place = params.workspace.join("m");
    std::fs::create_dir_all(&place)?;
    let source = format!("mark-{}", params.token);
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | further;
    let result = unshare(flags)
        .and_then(|()| mount(Some(source.as_str()), &place, Some(kind), MsFlags::empty(), options));
    hold(params)?;
    result?;
    Ok("mounted".into())
}

/// perl is the parent and the child: the child inherits the arguments, and so the mark.
fn clone3(params: &Params) -> io::Result<String> {
    let script = r#"my ($hold, $release) = @ARGV;
        my $args = pack("Q11", 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0);
        my $pid = syscall(435, $args, 88); $pid >= 0 or die "$!
";
        if ($pid) { open(my $f, ">", $hold); close $f; }
        for (1..800) { last if -e $release; select(undef, undef, undef, 0.01) }
        waitpid($pid, 0) if $pid;"#;
    let at = |name: fn(&std::path::Path, &str) -> std::path::PathBuf| {
        step::of(params, name).to_string_lossy().into_owned()
    };
    finish(perl(script, &[&at(step::hold), &at(step::release)])?)
}

/// Opens a kernel object by a raw call in perl, which then waits to be looked at.
pub(crate) fn open_by_number(
    params: &Params,
    x86_64: u16,
    arm64: u16,
    arguments: &str,
) -> io::Result<String> {
    let script = format!(
        r#"my ($number, $hold, $release) = @ARGV; my @a = {arguments};
        my $fd = syscall($number + 0, @a); $fd >= 0 or die "$!\n";
        open(my $f, ">", $hold); close $f;
        for (1..800) {{ last if -e $release; select(undef, undef, undef, 0.01) }}"#
    );
    let at = |name: fn(&std::path::Path, &str) -> std::path::PathBuf| {
        step::of(params, name).to_string_lossy().into_owned()
    };
    let (hold, release) = (at(step::hold), at(step::release));
    finish(perl(&script, &[&number(x86_64, arm64), &hold, &release])?)
}
