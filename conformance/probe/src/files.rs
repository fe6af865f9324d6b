//! Probes of the filesystem: what lies outside the workspace, and what a workspace can be made to
//! do to the host later. It must never know what a canary file holds.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::helper::{perl, program_of};
use crate::{HOLD, Need, Params, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "fs.write-outside-workspace",
        what: "Writes a new file into a folder beside the workspace.",
        why: "A write anywhere else changes the user's other work, start-up files or keys.",
        observer: "the host looks for the file",
        action: write_target,
        ..HOLD
    },
    Probe {
        id: "fs.home-secrets",
        what: "Reads a key file in the home folder of the user who started the launcher.",
        why: "Keys and tokens lie there; reading is enough to lose them.",
        observer: "the key's random content comes out of the sandbox",
        action: read_target,
        ..HOLD
    },
    Probe {
        id: "fs.tmp",
        what: "Reads a private file of the user in the host's temporary folder.",
        why: "Editors, agents and build tools leave sockets, scripts and tokens there.",
        observer: "the file's random content comes out of the sandbox",
        action: read_target,
        ..HOLD
    },
    Probe {
        id: "fs.devshm",
        what: "Reads a private file of the user in the host's /dev/shm.",
        why: "Browsers and other programs share memory through files there.",
        observer: "the file's random content comes out of the sandbox",
        action: read_target,
        ..HOLD
    },
    Probe {
        id: "fs.metadata-outside",
        what: "Asks for the time stamp of a file outside the workspace.",
        why: "Names, sizes and times tell what the user works on.",
        observer: "the file's random time stamp comes out of the sandbox",
        action: metadata_target,
        ..HOLD
    },
    Probe {
        id: "fs.proc-root",
        what: "Reads a file outside through the root and cwd links of processes in /proc.",
        why: "A process with another root is a door around the narrow view.",
        observer: "the file's random content comes out of the sandbox",
        action: proc_root,
        ..HOLD
    },
    Probe {
        id: "fs.fd-file",
        what: "Reads through a file descriptor that the launcher left open.",
        why: "A descriptor keeps its access whatever the sandbox shows.",
        references: &["CVE-2024-21626 (secondary source)"],
        needs: &[Need::Launch],
        observer: "the open file's random content comes out of the sandbox",
        action: fd_file,
        ..HOLD
    },
    Probe {
        id: "fs.fd-dir",
        what: "Reads below a directory descriptor that the launcher left open.",
        why: "A directory descriptor opens the whole tree below and above it.",
        references: &["CVE-2024-21626 (secondary source)"],
        needs: &[Need::Launch],
        observer: "a file in that directory comes out of the sandbox",
        action: fd_dir,
        ..HOLD
    },
    Probe {
        id: "fs.cwd-outside",
        what: "Reads relative to the working directory that the launcher was started in.",
        why: "A launcher that keeps a foreign working directory shows it.",
        references: &["CVE-2024-21626 (secondary source)"],
        needs: &[Need::Launch],
        observer: "a file in that directory comes out of the sandbox",
        action: cwd_outside,
        ..HOLD
    },
    Probe {
        id: "fs.symlink-planted",
        what: "Replaces a workspace file by a symbolic link to a file outside.",
        why: "The host's own tools follow it later, with the user's rights.",
        references: &["CVE-2026-39861 (secondary source)"],
        observer: "after the run the host opens the workspace file and gets the outside content",
        action: symlink_planted,
        ..HOLD
    },
    Probe {
        id: "fs.git-config",
        what: "Adds a program to run to the workspace's .git/config.",
        why: "The next git command of the user on the host runs it.",
        observer: "the host re-reads .git/config",
        action: git_config,
        ..HOLD
    },
    Probe {
        id: "fs.protected-rename",
        what: "Moves .git aside and puts another in its place, with its own configuration.",
        why: "Protecting a file's path does not protect its name.",
        observer: "the host re-reads .git/config",
        action: protected_rename,
        ..HOLD
    },
    Probe {
        id: "fs.protected-missing",
        what: "Creates a git hook where the repository had none.",
        why: "What is not there cannot be mounted read-only, but can be made.",
        references: &["CVE-2026-25725 (secondary source)"],
        observer: "the host looks for the hook",
        action: protected_missing,
        ..HOLD
    },
    Probe {
        id: "fs.protected-nested",
        what: "Adds a program to run to the .git/config of a repository below the workspace's top.",
        why: "A submodule or a vendored project is the user's repository too.",
        observer: "the host re-reads that .git/config",
        action: |params| git_config_of(&params.workspace.join("vendor/lib"), params),
        ..HOLD
    },
    Probe {
        id: "fs.shell-rc",
        what: "Appends a line to .bashrc in the home folder.",
        why: "The user's next shell runs it.",
        observer: "the host re-reads .bashrc",
        action: append_target,
        ..HOLD
    },
    Probe {
        id: "fs.setuid-ws",
        what: "Makes a set-user-id program in the workspace.",
        why: "Another user or service that runs it acts as the user.",
        observer: "the host sees the bit on the file",
        action: setuid_ws,
        ..HOLD
    },
];

fn write_target(params: &Params) -> io::Result<String> {
    fs::write(params.target()?, params.content()?)?;
    Ok(format!("wrote {}", params.target()?.display()))
}

fn append_target(params: &Params) -> io::Result<String> {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(params.target()?)?;
    writeln!(file, "{}", params.content()?)?;
    Ok(format!("appended to {}", params.target()?.display()))
}

fn read_target(params: &Params) -> io::Result<String> {
    show(params.target()?)
}

/// Prints a file's content.
fn show(path: &Path) -> io::Result<String> {
    println!("{}", fs::read_to_string(path)?);
    Ok(format!("read {}", path.display()))
}

fn metadata_target(params: &Params) -> io::Result<String> {
    let metadata = fs::symlink_metadata(params.target()?)?;
    println!("modified {}.{}", metadata.mtime(), metadata.mtime_nsec());
    Ok("asked for the metadata".into())
}

fn proc_root(params: &Params) -> io::Result<String> {
    let target = params.target()?;
    let tail = target.strip_prefix("/").unwrap_or(target);
    let parent = std::os::unix::process::parent_id().to_string();
    let mut last = io::Error::other("there is no /proc");
    for process in ["self", "thread-self", "1", "2", &parent] {
        for link in ["root", "cwd"] {
            match show(&Path::new("/proc").join(process).join(link).join(tail)) {
                Ok(done) => return Ok(done),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

/// The descriptors above standard error, by number.
fn inherited() -> Vec<u32> {
    let numbers = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut found: Vec<u32> =
        numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    found.extend(3..10);
    found.sort_unstable();
    found.dedup();
    found.retain(|number| (3..10).contains(number));
    found
}

fn fd_file(_: &Params) -> io::Result<String> {
    let mut read = 0_usize;
    for number in inherited() {
        let path = PathBuf::from(format!("/proc/self/fd/{number}"));
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            continue;
        }
        read += usize::from(show(&path).is_ok());
        // Without /proc, or where re-opening is denied, the shell reads the descriptor itself.
        let script = format!("exec cat <&{number}");
        let status =
            program_of("/usr/bin/sh").args(["-c", &script]).stderr(Stdio::null()).status()?;
        read += usize::from(status.success());
    }
    if read > 0 { Ok(format!("read {read} times")) } else { Err(io::Error::other("none is open")) }
}

fn fd_dir(_: &Params) -> io::Result<String> {
    for number in inherited() {
        if let Ok(done) = show(&PathBuf::from(format!("/proc/self/fd/{number}/k"))) {
            return Ok(done);
        }
    }
    // Without /proc: fchdir on the descriptor, which perl does.
    let script = r#"for my $n (3..9) { open(my $d, "<&=", $n) or next; chdir($d) or next;
        open(my $f, "<", "k") or next; print <$f>, "\n"; exit 0 } die "no directory is open\n""#;
    crate::helper::finish(perl(script, &[])?)
}

fn cwd_outside(_: &Params) -> io::Result<String> {
    show(Path::new("k")).or_else(|_| show(Path::new("/proc/self/cwd/k")))
}

fn symlink_planted(params: &Params) -> io::Result<String> {
    let link = params.workspace.join("report.txt");
    let _ = fs::remove_file(&link);
    symlink(params.target()?, &link)?;
    Ok(format!("planted {}", link.display()))
}

fn git_config(params: &Params) -> io::Result<String> {
    git_config_of(&params.workspace, params)
}

fn git_config_of(repository: &Path, params: &Params) -> io::Result<String> {
    let config = repository.join(".git/config");
    let mut file = fs::OpenOptions::new().append(true).open(&config)?;
    writeln!(file, "[core]\n\tfsmonitor = {}", params.content()?)?;
    Ok("changed .git/config".into())
}

fn protected_rename(params: &Params) -> io::Result<String> {
    let git = params.workspace.join(".git");
    fs::rename(&git, params.workspace.join(".git.old"))?;
    fs::create_dir(&git)?;
    fs::write(git.join("config"), format!("[core]\n\tfsmonitor = {}\n", params.content()?))?;
    Ok("put another .git in its place".into())
}

fn protected_missing(params: &Params) -> io::Result<String> {
    let hooks = params.workspace.join(".git/hooks");
    let _ = fs::create_dir_all(&hooks);
    let hook = hooks.join("post-checkout");
    fs::write(&hook, format!("#!/bin/sh\n# {}\n", params.content()?))?;
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
    Ok("made a hook".into())
}

fn setuid_ws(params: &Params) -> io::Result<String> {
    let program = params.workspace.join("helper");
    // By the call whose mode a filter cannot read, then by the ordinary one.
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o4755);
    if rustix::fs::openat2(rustix::fs::CWD, &program, flags, mode, ResolveFlags::empty()).is_ok() {
        return Ok("made it with the bit".into());
    }
    fs::write(&program, "#!/bin/sh\n")?;
    // By the newest call, which a filter may have forgotten and no safe crate makes: fchmodat2 has
    // this number everywhere; -100 is the working folder.
    let script = r#"my $path = $ARGV[0];
        exit(syscall(452, -100, $path, oct("4755"), 0) == 0 ? 0 : 1)"#;
    let newest = perl(script, &[&program.to_string_lossy()]).and_then(crate::helper::finish);
    if newest.is_ok() {
        return Ok("set the bit by the newest call".into());
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755))?;
    Ok("set the bit".into())
}
