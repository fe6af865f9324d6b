//! Stages of the terminal probes: a pseudo-terminal of the suite is the launcher's.
//! It must never know a target or an expectation.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, OptionalActions};

use super::Trouble;
use super::scene::{Scene, Sight, Site};
use crate::driver::launcher::Input;

/// The stage of a `term.` probe.
pub(super) fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let scene = Scene::new(site);
    let secret = site.secret();
    let Terminal { master, slave, kept } = open()?;
    Ok(match id {
        "term.tiocsti" | "term.tiocsti-hi32" => {
            let typed = secret.clone();
            scene
                .params(|params| params.content = Some(typed))
                .ask(|ask| ask.stdin = Input::Terminal { slave, hidden: false })
                .keep(master)
                .after(move |_| {
                    Sight::of(
                        waiting(kept).contains(&secret),
                        "the probe's text waits in the terminal's input",
                        "nothing waits in the terminal's input",
                    )
                })
        }
        "term.read-tty" => {
            let mut keyboard = File::from(master);
            keyboard.write_all(format!("{secret}\n").as_bytes())?;
            scene
                .ask(|ask| ask.stdin = Input::Terminal { slave, hidden: true })
                .keep((keyboard, kept))
                .leak(secret, "what was typed into the terminal")
        }
        _ => return Err(super::unstaged(id)),
    })
}

struct Terminal {
    master: OwnedFd,
    /// For the launch.
    slave: OwnedFd,
    /// For the suite; keeps the terminal's input while nobody else has it open.
    kept: OwnedFd,
}

fn open() -> Result<Terminal, Trouble> {
    let failed = |error: rustix::io::Errno| Trouble::NotApplicable(format!("no terminal: {error}"));
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).map_err(failed)?;
    rustix::pty::grantpt(&master).map_err(failed)?;
    rustix::pty::unlockpt(&master).map_err(failed)?;
    let name = rustix::pty::ptsname(&master, Vec::new()).map_err(failed)?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(&name, flags, Mode::empty()).map_err(failed)?;
    let kept = rustix::fs::open(&name, flags | OFlags::NONBLOCK, Mode::empty()).map_err(failed)?;
    let mut modes = rustix::termios::tcgetattr(&slave).map_err(failed)?;
    modes.local_modes.remove(LocalModes::ECHO);
    rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes).map_err(failed)?;
    Ok(Terminal { master, slave, kept })
}

/// The whole lines that wait in the terminal's input.
fn waiting(terminal: OwnedFd) -> String {
    let mut terminal = File::from(terminal);
    let mut text = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        text.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    String::from_utf8_lossy(&text).into_owned()
}
