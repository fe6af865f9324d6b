//! The careless launch (`@launch JSON PROGRAM ARGS...`): what the suite lets stand around a command
//! line before it starts, from an open descriptor to namespaces of its own. It must never know
//! whether the program is a launcher under test or a bare probe.

use std::fs;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use serde::{Deserialize, Serialize};

use crate::helper::{again, finish, perl, program_of};

/// What stands around a command line; the default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Launch {
    /// Paths that are opened and stay open over the exec, from descriptor 3 on.
    pub open: Vec<PathBuf>,
    /// Whether standard input becomes the controlling terminal of a new session.
    pub terminal: bool,
    /// Whether standard input is then replaced by `/dev/null`.
    pub no_input: bool,
    /// Whether the launcher stays as the parent, with its environment, instead of exec.
    pub stay: bool,
    /// A word that stands in the arguments of the launcher and does nothing.
    pub note: String,
    /// Whether it gets SIGKILL when the thread that started it ends.
    pub tied: bool,
    /// Whether it may raise its priority and become real-time; only root can grant that.
    pub eager: bool,
    /// The uid and gid that root changes to before the program starts.
    pub uid: Option<u32>,
    /// Namespaces of its own.
    pub own: Option<Own>,
}

/// Namespaces that the suite makes so that nothing of the real host is at stake: mounts and the
/// host's name always, made by root itself or, for others, in a user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    /// Whether the program is root in them; else it keeps its uid and has no privilege.
    pub root: bool,
    /// A network of its own, with nothing in it.
    pub network: bool,
    /// Whether the loopback interface of that network is brought up.
    pub loopback: bool,
    /// A file that stands in the place of `/etc/passwd`.
    pub passwd: Option<PathBuf>,
    /// A network of its own, with a listener in it.
    pub listener: Option<Listener>,
    /// Folders that are replaced by ones in memory to which everybody may write.
    pub writable: Vec<PathBuf>,
    /// Folders that become read-only mounts.
    pub read_only: Vec<PathBuf>,
    /// A folder on which a root folder in memory is built, with everything else bound into it.
    pub synthetic: Option<PathBuf>,
    /// Whether the program stands in a further mount namespace below; needs `stay` and `root`.
    pub below: bool,
    /// Where the name of the host is written after the program has ended; needs `stay`.
    pub name: Option<PathBuf>,
}

/// A listener on an address of the loopback interface in a network of its own; needs `stay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The address, which the interface is given.
    pub address: Ipv4Addr,
    /// The TCP port.
    pub port: u16,
    /// Where the first kilobyte received is written.
    pub report: PathBuf,
}

/// Sets everything up, then becomes (or starts and outlives) the program.
pub(crate) fn run(text: &str, argv: &[String]) -> io::Result<()> {
    use std::os::unix::process::CommandExt as _;
    let launch: Launch = serde_json::from_str(text).map_err(io::Error::other)?;
    let (program, rest) =
        argv.split_first().ok_or_else(|| io::Error::other("no program to launch"))?;
    if launch.tied {
        let signal = Some(rustix::process::Signal::KILL);
        rustix::process::set_parent_process_death_signal(signal)?;
    }
    if let Some(own) = &launch.own {
        own.enter()?;
    }
    if launch.eager {
        for (resource, value) in [(Resource::Nice, 40), (Resource::Rtprio, 10)] {
            let limit = Rlimit { current: Some(value), maximum: Some(value) };
            rustix::process::setrlimit(resource, limit)?;
        }
    }
    if let Some(uid) = launch.uid {
        nix::unistd::setgroups(&[])?;
        nix::unistd::setgid(uid.into())?;
        nix::unistd::setuid(uid.into())?;
    }
    if launch.stay || launch.terminal && rustix::process::getpgrp() == rustix::process::getpid() {
        // A group leader cannot open a session, so a child does; and a parent stays to be read.
        let below = launch.own.as_ref().is_some_and(|own| own.below);
        let own = below.then(|| Own { root: true, ..Own::default() });
        let name = launch.own.as_ref().and_then(|own| own.name.clone());
        let inner = Launch {
            stay: false,
            tied: false,
            eager: false,
            uid: None,
            note: String::new(),
            own,
            ..launch
        };
        let text = serde_json::to_string(&inner).map_err(io::Error::other)?;
        let status = again("launch").arg(text).args(argv).status()?;
        if let Some(report) = name {
            let name = rustix::system::uname();
            fs::write(report, name.nodename().to_bytes())?;
        }
        let code = u8::try_from(status.code().unwrap_or(1)).unwrap_or(1);
        return if code == 0 { Ok(()) } else { Err(io::Error::other(format!("exit {code}"))) };
    }
    let mut kept = Vec::new();
    for path in &launch.open {
        let flags = rustix::fs::OFlags::RDONLY;
        kept.push(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?);
    }
    if launch.terminal {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(io::stdin())?;
    }
    let mut command = program_of(program);
    command.args(rest);
    if launch.no_input {
        command.stdin(Stdio::null());
    }
    let error = command.exec();
    drop(kept);
    Err(error)
}

impl Own {
    fn enter(&self) -> io::Result<()> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let folder = std::env::current_dir()?;
        let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
        flags.set(CloneFlags::CLONE_NEWNET, self.network || self.listener.is_some());
        flags.set(CloneFlags::CLONE_NEWUSER, uid != 0);
        unshare(flags)?;
        if uid != 0 {
            let (inner_uid, inner_gid) = if self.root { (0, 0) } else { (uid, gid) };
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("{inner_uid} {uid} 1"))?;
            fs::write("/proc/self/gid_map", format!("{inner_gid} {gid} 1"))?;
        }
        change("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
        for place in &self.writable {
            mount(
                Some("tmpfs"),
                place,
                Some("tmpfs"),
                MsFlags::empty(),
                Some("mode=1777,size=1m"),
            )?;
        }
        for place in &self.read_only {
            bind(place, place)?;
            change(place, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY)?;
        }
        if let Some(place) = &self.synthetic {
            new_root(place)?;
        }
        if let Some(passwd) = &self.passwd {
            bind(passwd, Path::new("/etc/passwd"))?;
        }
        std::env::set_current_dir(folder)?;
        if self.loopback {
            perl(LOOPBACK, &[]).and_then(finish)?;
        }
        if let Some(listener) = &self.listener {
            listener.start()?;
        }
        Ok(())
    }
}

fn change(place: impl AsRef<Path>, flags: MsFlags) -> io::Result<()> {
    Ok(mount(None::<&str>, place.as_ref(), None::<&str>, flags, None::<&str>)?)
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    Ok(mount(Some(from), to, None::<&str>, flags, None::<&str>)?)
}

/// A root folder in memory, writable by whoever made it, that shows what the old one showed.
fn new_root(place: &Path) -> io::Result<()> {
    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=0777,size=1m"))?;
    // Else the binds below would bind it into itself.
    change(place, MsFlags::MS_UNBINDABLE)?;
    for entry in fs::read_dir("/")?.flatten() {
        let (from, to) = (entry.path(), place.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
        } else if kind.is_dir() {
            fs::create_dir(&to)?;
            bind(&from, &to)?;
        }
    }
    std::env::set_current_dir(place)?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/")
}

/// A call that no safe crate reaches: SIOCSIFFLAGS.
const LOOPBACK: &str = r#"
    socket(my $s, 2, 2, 0) or die "socket: $!\n";
    my $up = pack("a16 s x22", "lo", 0x49);
    ioctl($s, 0x8914, $up) or die "up: $!\n";"#;

/// Two calls that no safe crate reaches: SIOCSIFFLAGS and SIOCSIFADDR.
const INTERFACE: &str = r#"
    my @address = split /\./, $ARGV[0];
    socket(my $s, 2, 2, 0) or die "socket: $!\n";
    my $up = pack("a16 s x22", "lo", 0x49);
    ioctl($s, 0x8914, $up) or die "up: $!\n";
    my $set = pack("a16 S n C4 x16", "lo:1", 2, 0, @address);
    ioctl($s, 0x8916, $set) or die "address: $!\n";"#;

impl Listener {
    fn start(&self) -> io::Result<()> {
        // A program of another uid than 0 keeps a privilege over exec only in this way.
        let admin = CapabilitySet::NET_ADMIN;
        let mut sets = capabilities(None)?;
        sets.inheritable |= admin;
        set_capabilities(None, sets)?;
        rustix::thread::configure_capability_in_ambient_set(admin, true)?;
        let set = perl(INTERFACE, &[&self.address.to_string()]).and_then(finish);
        rustix::thread::configure_capability_in_ambient_set(admin, false)?;
        set?;
        let listener = TcpListener::bind((self.address, self.port))?;
        let report = self.report.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = stream.set_read_timeout(Some(std::time::Duration::from_secs(2)));
                let mut buffer = [0; 1024];
                let count = (&stream).read(&mut buffer).unwrap_or(0);
                let _ = fs::write(&report, buffer.get(..count).unwrap_or_default());
            }
        });
        Ok(())
    }
}
