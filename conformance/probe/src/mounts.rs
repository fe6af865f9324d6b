//! Probes of the view that a sandbox builds: the system's folders, the root that it made, read-only
//! parts, devices, handles. Perl makes `open_by_handle_at`, which no safe crate reaches. It must
//! never know what a file outside holds.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::helper::{finish, hold, perl};
use crate::kernel::number;
use crate::{Control, HOLD, Need, Params, Probe};

/// Folders of the root in which a sandbox's own root might be writable.
pub const ROOT_FOLDERS: &[&str] = &["/", "/etc", "/home", "/run", "/var"];

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "fs.write-system",
        what: "Writes a file into /usr/local, where the user who started the launcher may write.",
        why: "Programs that others start lie there.",
        needs: &[Need::OwnNamespaces],
        observer: "the file in the launcher's /usr/local, read from outside",
        action: |params| {
            fs::write(params.target()?, params.content()?)?;
            hold(params)?;
            Ok(format!("wrote {}", params.target()?.display()))
        },
        ..HOLD
    },
    Probe {
        id: "fs.write-synthetic-root",
        what: "Writes a file into the root folder of its view, or into one below that is no mount.",
        why: "What is put there is memory without a limit, and shadows names that programs look up.",
        needs: &[Need::OwnNamespaces],
        observer: "the file below /proc/<pid>/root, read from outside",
        action: write_root,
        ..HOLD
    },
    Probe {
        id: "fs.remount-rw",
        what: "Remounts /usr writable.",
        why: "A read-only view is worth what keeps it so.",
        needs: &[Need::OwnNamespaces],
        observer: "the options of /usr in /proc/<pid>/mountinfo, read from outside",
        control: Control::Root,
        action: |params| {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
            mount(None::<&str>, "/usr", None::<&str>, flags, None::<&str>)?;
            hold(params)?;
            Ok("remounted".into())
        },
        ..HOLD
    },
    Probe {
        id: "fs.open-by-handle",
        what: "Opens a file outside by its handle, from a descriptor of the workspace.",
        why: "A handle names a file of the whole file system, whatever paths are shown.",
        references: &["the \"shocker\" exploit of 2014"],
        needs: &[Need::Root, Need::Perl],
        observer: "the file's random content comes out of the sandbox",
        control: Control::Root,
        action: by_handle,
        ..HOLD
    },
    Probe {
        id: "fs.mount-devtmpfs",
        what: "Mounts the kernel's own device folder.",
        why: "It holds every disk of the machine.",
        needs: &[Need::Root],
        observer: "the mount stands in /proc/<pid>/mountinfo, read from outside",
        control: Control::Root,
        action: |params| {
            let place = params.workspace.join("m");
            fs::create_dir_all(&place)?;
            let source = format!("mark-{}", params.token);
            let kind = Some("devtmpfs");
            mount(Some(source.as_str()), &place, kind, MsFlags::empty(), None::<&str>)?;
            hold(params)?;
            Ok("mounted".into())
        },
        ..HOLD
    },
    Probe {
        id: "fs.mknod-ws",
        what: "Makes a device node (of /dev/zero) in the workspace.",
        why: "A node of a disk gives its whole content to whoever opens it.",
        needs: &[Need::Root],
        observer: "the host sees a device at that name",
        control: Control::Root,
        action: |params| {
            let node = params.workspace.join("node");
            let mode = Mode::from_raw_mode(0o666);
            mknodat(CWD, &node, FileType::CharacterDevice, mode, makedev(1, 5))?;
            Ok("made one".into())
        },
        ..HOLD
    },
];

fn write_root(params: &Params) -> io::Result<String> {
    let mut last = io::Error::other("there is no such folder");
    let mut wrote = 0;
    for folder in ROOT_FOLDERS {
        match fs::write(Path::new(folder).join(params.name()?), params.content()?) {
            Ok(()) => wrote += 1,
            Err(error) => last = error,
        }
    }
    if wrote == 0 {
        return Err(last);
    }
    let held = hold(params);
    for folder in ROOT_FOLDERS {
        let _ = fs::remove_file(Path::new(folder).join(params.name()?));
    }
    held?;
    Ok(format!("wrote {wrote} files"))
}

fn by_handle(params: &Params) -> io::Result<String> {
    let script = r#"my ($number, $folder, $kind, $hex) = @ARGV;
        opendir(my $d, $folder) or die "opendir: $!\n";
        my $bytes = pack("H*", $hex);
        my $handle = pack("L l", length $bytes, $kind) . $bytes;
        my $fd = syscall($number + 0, fileno($d), $handle, 0); $fd >= 0 or die "$!\n";
        open(my $f, "<&=", $fd) or die "fdopen: $!\n"; print <$f>, "\n";"#;
    let folder = params.workspace.to_string_lossy().into_owned();
    let call = number(304, 265);
    finish(perl(script, &[&call, &folder, &params.number()?.to_string(), params.content()?])?)
}
