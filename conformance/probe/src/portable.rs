//! What probes of macOS and Windows share: the allowed counterpart, step files, processes that are
//! left behind, plain files and sockets. It must never know which system or target it serves.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::{Params, ended, reversed, step};

/// How long a process waits to be looked at before it goes on by itself.
const PATIENCE: Duration = Duration::from_secs(8);

/// Runs the helper role of that name (`@name`).
pub(crate) fn role(name: &str, arguments: &[String]) -> ExitCode {
    let text = |index: usize| arguments.get(index).map_or("", String::as_str);
    let result = match name {
        "twin" => fs::read_to_string(text(0)).and_then(|it| fs::write(text(1), reversed(&it))),
        "hold" => wait_for(Path::new(text(0))),
        "spin" => spin(Path::new(text(0))),
        "memory" => memory(Path::new(text(0)), text(1)),
        "heartbeat" => heartbeat(Path::new(text(0)), text(1) == "session"),
        "neighbour" => io::copy(&mut io::stdin().lock(), &mut io::sink()).map(drop),
        _ => Err(io::Error::other("no such helper")),
    };
    ended(name, result)
}

/// A command; every process of these probes is started here.
pub(crate) fn program(name: &str) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a probe's action is to start processes")]
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    command
}

/// This program again, in a helper role.
pub(crate) fn again(name: &str) -> io::Result<Command> {
    let own = std::env::current_exe()?;
    let mut command = program(&own.to_string_lossy());
    command.arg(format!("@{name}"));
    Ok(command)
}

/// Runs a program of the system, passes on what it printed; a failing exit is an error. One that is
/// not there says that nothing could be tried.
pub(crate) fn system(name: &str, arguments: &[&str]) -> io::Result<String> {
    let output = match program(name).args(arguments).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("no {name} here")));
        }
        other => other?,
    };
    io::stdout().write_all(&output.stdout)?;
    if output.status.success() {
        Ok(format!("{name} ended well"))
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{name}: {} {}", output.status, said.trim())))
    }
}

/// The allowed counterpart: start a process in the sandbox that reads and writes the workspace.
pub(crate) fn twin(params: &Params) -> io::Result<()> {
    let (from, to) = (step::of(params, step::twin_in), step::of(params, step::twin_out));
    let status = again("twin")?.arg(from).arg(to).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// Says "in position" and waits until the suite has looked.
pub(crate) fn hold(params: &Params) -> io::Result<()> {
    fs::write(step::of(params, step::hold), b"")?;
    wait_for(&step::of(params, step::release))
}

fn wait_for(path: &Path) -> io::Result<()> {
    let begun = Instant::now();
    while !path.exists() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn spin(release: &Path) -> io::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE && !release.exists() {
        for round in 0..2_000_000_u64 {
            std::hint::black_box(round);
        }
    }
    Ok(())
}

fn heartbeat(path: &Path, session: bool) -> io::Result<()> {
    #[cfg(unix)]
    if session {
        let _ = rustix::process::setsid();
    }
    #[cfg(not(unix))]
    let _ = session;
    let begun = Instant::now();
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    while begun.elapsed() < PATIENCE {
        file.write_all(b".")?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A process that shows that it lives, started and waited for until it does.
pub(crate) fn left_behind(
    params: &Params,
    session: bool,
    change: impl FnOnce(&mut Command),
) -> io::Result<String> {
    let path = step::of(params, step::heartbeat);
    let mut command = again("heartbeat")?;
    command.arg(&path).arg(if session { "session" } else { "" });
    command.stdout(Stdio::null()).stderr(Stdio::null());
    change(&mut command);
    command.spawn()?;
    let begun = Instant::now();
    while !path.exists() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok("left a process behind".into())
}

/// Leaves a process behind and ends.
pub(crate) fn orphan(params: &Params) -> io::Result<String> {
    left_behind(params, false, |_| {})
}

/// Leaves a process behind and stays until it is ended.
pub(crate) fn orphan_and_stay(params: &Params) -> io::Result<String> {
    let left = left_behind(params, false, |_| {})?;
    hold(params)?;
    Ok(left)
}

/// As many waiting children as are asked for, at most 200.
pub(crate) fn crowd(params: &Params) -> io::Result<String> {
    let mut children = Vec::new();
    for _ in 0..params.amount()?.min(200) {
        let child = again("hold")?.arg(step::of(params, step::release)).spawn();
        children.push(child?);
        // So that what was reached is seen even where the next one is refused.
        fs::write(step::of(params, step::heartbeat), children.len().to_string())?;
    }
    hold(params)?;
    for mut child in children {
        let _ = child.wait();
    }
    Ok("started them".into())
}

/// Takes memory, at most 600 MB, in one child, and shows that it has it.
pub(crate) fn hoard(params: &Params) -> io::Result<String> {
    let mut child = again("memory")?
        .arg(step::of(params, step::release))
        .arg(params.amount()?.min(600_000_000).to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut byte = [0];
    if let Some(mut output) = child.stdout.take() {
        output.read_exact(&mut byte)?;
    }
    fs::write(step::of(params, step::heartbeat), b"taken")?;
    hold(params)?;
    let _ = child.wait();
    Ok("took it".into())
}

/// Memory that is really there: every byte written.
fn memory(release: &Path, bytes: &str) -> io::Result<()> {
    let bytes: usize = bytes.parse().map_err(io::Error::other)?;
    let mut block = Vec::new();
    block.try_reserve_exact(bytes).map_err(io::Error::other)?;
    block.resize(bytes, 1_u8);
    io::stdout().write_all(b".")?;
    io::stdout().flush()?;
    wait_for(release)?;
    std::hint::black_box(&block);
    Ok(())
}

/// Writes the content into the target.
pub(crate) fn write_target(params: &Params) -> io::Result<String> {
    fs::write(params.target()?, params.content()?)?;
    Ok(format!("wrote {}", params.target()?.display()))
}

#[cfg(target_os = "macos")]
/// Appends the content to the target.
pub(crate) fn append_target(params: &Params) -> io::Result<String> {
    let mut file = OpenOptions::new().append(true).create(true).open(params.target()?)?;
    writeln!(file, "{}", params.content()?)?;
    Ok(format!("appended to {}", params.target()?.display()))
}

/// Prints the target.
pub(crate) fn read_target(params: &Params) -> io::Result<String> {
    println!("{}", fs::read_to_string(params.target()?)?);
    Ok(format!("read {}", params.target()?.display()))
}

/// Prints the time stamp of the target.
pub(crate) fn stamp_of_target(params: &Params) -> io::Result<String> {
    let time = fs::symlink_metadata(params.target()?)?.modified()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(io::Error::other)?;
    println!("modified {}", since.as_secs());
    Ok("asked for the metadata".into())
}

/// A hard link to the target in the workspace, and a read through it.
pub(crate) fn hard_link_in(params: &Params) -> io::Result<String> {
    let link = params.workspace.join("linked");
    fs::hard_link(params.target()?, &link)?;
    println!("{}", fs::read_to_string(link)?);
    Ok("linked and read it".into())
}

/// Adds a program to run to the repository that the target is the folder of.
pub(crate) fn git_config(params: &Params) -> io::Result<String> {
    let config = params.target()?.join(".git/config");
    let mut file = OpenOptions::new().append(true).open(config)?;
    writeln!(file, "[core]\n\tfsmonitor = {}", params.content()?)?;
    Ok("changed .git/config".into())
}

/// Prints every variable.
pub(crate) fn environment(_: &Params) -> io::Result<String> {
    let mut count = 0;
    for (name, value) in std::env::vars_os() {
        println!("{}={}", name.to_string_lossy(), value.to_string_lossy());
        count += 1;
    }
    Ok(format!("printed {count} variables"))
}

/// Prints standard input.
pub(crate) fn input(_: &Params) -> io::Result<String> {
    let mut text = String::new();
    io::stdin().take(65_536).read_to_string(&mut text)?;
    println!("{text}");
    if text.is_empty() { Err(io::Error::other("it is empty")) } else { Ok("read it".into()) }
}

/// Sends the content to a port of the host.
pub(crate) fn tcp4(params: &Params) -> io::Result<String> {
    tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, params.port()?)), params)
}

/// The same by the other family.
pub(crate) fn tcp6(params: &Params) -> io::Result<String> {
    tcp(SocketAddr::from((Ipv6Addr::LOCALHOST, params.port()?)), params)
}

fn tcp(address: SocketAddr, params: &Params) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    send(&mut stream, params)
}

/// Sends the content and waits until it was read.
pub(crate) fn send(
    stream: &mut (impl io::Read + io::Write),
    params: &Params,
) -> io::Result<String> {
    stream.write_all(params.content()?.as_bytes())?;
    stream.write_all(b"\n")?;
    stream.flush()?;
    let _ = stream.read(&mut [0; 8]);
    Ok("sent it".into())
}

/// Sends datagrams with the content.
pub(crate) fn udp4(params: &Params) -> io::Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for _ in 0..3 {
        socket.send_to(params.content()?.as_bytes(), (Ipv4Addr::LOCALHOST, params.port()?))?;
    }
    Ok("sent three datagrams".into())
}

/// Listens on a port and answers with the content.
pub(crate) fn listen(params: &Params) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, params.port()?))?;
    listener.set_nonblocking(true)?;
    fs::write(step::of(params, step::hold), b"")?;
    for _ in 0..500 {
        if let Ok((mut stream, _)) = listener.accept() {
            stream.write_all(params.content()?.as_bytes())?;
        }
        if step::of(params, step::release).exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok("listened".into())
}
