//! The actions that macOS alone has. System tools act where no safe crate reaches. It must never
//! touch anything that the suite did not make.

use std::fs;
use std::io::{self, Write as _};
use std::net::ToSocketAddrs as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::Params;
use crate::portable::{left_behind, program, send, system};

pub(super) fn symbolic_link_in(params: &Params) -> io::Result<String> {
    let link = params.workspace.join("link");
    symlink(params.target()?, &link)?;
    println!("{}", fs::read_to_string(link)?);
    Ok("read through the link".into())
}

pub(super) fn rename_git(params: &Params) -> io::Result<String> {
    let git = params.workspace.join(".git");
    fs::rename(&git, params.workspace.join(".git.old"))?;
    fs::create_dir(&git)?;
    fs::write(git.join("config"), format!("[core]\n\tfsmonitor = {}\n", params.content()?))?;
    Ok("put another .git in its place".into())
}

pub(super) fn setuid(params: &Params) -> io::Result<String> {
    let path = params.workspace.join("helper");
    fs::write(&path, "#!/bin/sh\n")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755))?;
    Ok("set the bit".into())
}

pub(super) fn list_target(params: &Params) -> io::Result<String> {
    for entry in fs::read_dir(params.target()?)? {
        println!("{}", entry?.file_name().to_string_lossy());
    }
    Ok("listed it".into())
}

pub(super) fn launchctl_submit(params: &Params) -> io::Result<String> {
    let script = format!("printf %s '{}' > '{}'", params.content()?, params.target()?.display());
    let label = params.name()?;
    system("/bin/launchctl", &["submit", "-l", label, "--", "/bin/sh", "-c", &script])?;
    std::thread::sleep(Duration::from_secs(2));
    let _ = system("/bin/launchctl", &["remove", label]);
    Ok("submitted a job".into())
}

pub(super) fn open_application(params: &Params) -> io::Result<String> {
    let bundle = params.workspace.join(format!("{}.app", params.name()?));
    let programs = bundle.join("Contents/MacOS");
    fs::create_dir_all(&programs)?;
    fs::write(
        bundle.join("Contents/Info.plist"),
        format!(
            "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict>\
             <key>CFBundleExecutable</key><string>run</string>\
             <key>CFBundleIdentifier</key><string>org.example.{}</string>\
             <key>LSUIElement</key><true/></dict></plist>",
            params.name()?
        ),
    )?;
    let run = programs.join("run");
    let (text, at) = (params.content()?, params.target()?.display());
    fs::write(&run, format!("#!/bin/sh\nprintf %s '{text}' > '{at}'\n"))?;
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755))?;
    let done = system("/usr/bin/open", &["-g", "-n", &bundle.to_string_lossy()])?;
    std::thread::sleep(Duration::from_secs(2));
    Ok(done)
}

pub(super) fn apple_event(params: &Params) -> io::Result<String> {
    let script = format!(
        "with timeout of 4 seconds\ntell application \"Finder\" to make new folder at \
         (POSIX file \"{}\") with properties {{name:\"{}\"}}\nend timeout",
        params.target()?.display(),
        params.content()?
    );
    system("/usr/bin/osascript", &["-e", &script])
}

pub(super) fn pasteboard_write(params: &Params) -> io::Result<String> {
    let mut child = program("/usr/bin/pbcopy").stdin(Stdio::piped()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(params.content()?.as_bytes())?;
    }
    let status = child.wait()?;
    Ok(format!("pbcopy: {status}"))
}

pub(super) fn pasteboard_read(_: &Params) -> io::Result<String> {
    system("/usr/bin/pbpaste", &[])
}

pub(super) fn keychain(params: &Params) -> io::Result<String> {
    system("/usr/bin/security", &["find-generic-password", "-s", params.name()?, "-w"])
}

pub(super) fn preference(params: &Params) -> io::Result<String> {
    system("/usr/bin/defaults", &["write", params.name()?, "key", params.content()?])
}

pub(super) fn serial(_: &Params) -> io::Result<String> {
    system("/usr/sbin/ioreg", &["-rd1", "-c", "IOPlatformExpertDevice"])
}

pub(super) fn posix_memory(params: &Params) -> io::Result<String> {
    let flags = rustix::shm::OFlags::CREATE | rustix::shm::OFlags::RDWR;
    let mode = rustix::shm::Mode::RUSR | rustix::shm::Mode::WUSR;
    rustix::shm::open(params.name()?, flags, mode)?;
    Ok("made it".into())
}

pub(super) fn sysv_memory(params: &Params) -> io::Result<String> {
    let script = "defined(shmget($ARGV[0], 4096, 0600 | 01000)) or die \"shmget: $!\\n\"";
    system(crate::PERL, &["-e", script, &params.number()?.to_string()])
}

pub(super) fn unix_socket(params: &Params) -> io::Result<String> {
    send(&mut UnixStream::connect(params.target()?)?, params)
}

pub(super) fn kill(params: &Params) -> io::Result<String> {
    let pid = Pid::from_raw(params.pid()?).ok_or_else(|| io::Error::other("no pid"))?;
    kill_process(pid, Signal::KILL)?;
    Ok("killed it".into())
}

pub(super) fn ps_environment(params: &Params) -> io::Result<String> {
    system("/bin/ps", &["-Eww", "-o", "command=", "-p", &params.pid()?.to_string()])
}

pub(super) fn ps_arguments(_: &Params) -> io::Result<String> {
    system("/bin/ps", &["-axww", "-o", "command="])
}

pub(super) fn sample(params: &Params) -> io::Result<String> {
    let file = params.target()?.to_string_lossy().into_owned();
    let pid = params.pid()?.to_string();
    system("/usr/bin/sample", &[&pid, "1", "-mayDie", "-file", &file])
}

pub(super) fn orphan_in_session(params: &Params) -> io::Result<String> {
    left_behind(params, true, |_| {})
}

pub(super) fn large_file(params: &Params) -> io::Result<String> {
    let mut file = fs::File::create(params.target()?)?;
    let block = vec![b'x'; 1 << 20];
    for _ in 0..300 {
        file.write_all(&block)?;
    }
    Ok("wrote 300 MB".into())
}

pub(super) fn resolve(params: &Params) -> io::Result<String> {
    for address in (params.name()?, 9).to_socket_addrs()? {
        println!("{}", address.ip());
    }
    Ok("resolved it".into())
}

pub(super) fn type_ahead(params: &Params) -> io::Result<String> {
    let script = "open(my $t, '+<', '/dev/tty') or die \"no terminal: $!\\n\"; \
                  for (split //, \"$ARGV[0]\\n\") { ioctl($t, 0x80017472, $_) or die \"$!\\n\" }";
    system(crate::PERL, &["-e", script, params.content()?])
}

pub(super) fn setting(params: &Params) -> io::Result<String> {
    system("/usr/sbin/sysctl", &["-w", &format!("kern.corefile={}", params.content()?)])
}
