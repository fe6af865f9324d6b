//! Stages of the terminal probes: a pseudo-terminal of the suite is the launcher's.
//! It must never know a target or an expectation.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{LocalModes, OptionalActions};

use super::Trouble;
use super::scene::{Scene, Sight, Site, unstaged};
use crate::driver::launcher::Input;
use crate::scenario::terminal;

/// The stage of a `term.` probe.
pub(super) fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let scene = Scene::new(site);
    let secret = site.secret();
    if id == "term.tioclinux" {
        return pasted(scene);
    }
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
        "term.escape" => {
            let nonce = secret.clone();
            scene
                .params(|params| params.content = Some(nonce))
                .ask(|ask| {
                    ask.stdin = Input::Terminal { slave, hidden: false };
                    ask.shown = true;
                })
                .keep(kept)
                .after(move |_| sequences(master, &secret))
        }
        _ => return Err(unstaged(id)),
    })
}

/// What arrived at the terminal as it is.
fn sequences(master: OwnedFd, secret: &str) -> Sight {
    let Ok(flags) = rustix::fs::fcntl_getfl(&master) else {
        return Sight::Blind("the terminal cannot be read".into());
    };
    let _ = rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK);
    let text = waiting(master);
    if !text.contains(secret) {
        return Sight::Blind("the probe's text did not arrive at the terminal".into());
    }
    let starts = ["\u{1b}]0;", "\u{1b}]52;c;", "\u{9d}0;"];
    let found = starts.iter().any(|start| text.contains(&format!("{start}{secret}")));
    Sight::of(
        found,
        "a control sequence arrived at the launcher's terminal",
        "the text arrived at the launcher's terminal without its control sequences",
    )
}

/// A virtual console that nobody looks at, by its path; none where the screen in front is empty.
pub(super) fn console() -> Option<String> {
    // What is selected is text of the screen in front, so there must be some.
    let screen = std::fs::read("/dev/vcs").ok()?;
    screen.iter().any(|byte| byte.is_ascii_graphic()).then_some(())?;
    (40..=63).rev().map(|number| format!("/dev/tty{number}")).find(|path| {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(path.as_str(), flags, Mode::empty()).is_ok()
    })
}

/// The launcher's terminal is a virtual console; a paste would wait in its input.
fn pasted(scene: Scene) -> Result<Scene, Trouble> {
    let missing = || Trouble::NotApplicable("no virtual console is free".to_owned());
    let path = console().ok_or_else(missing)?;
    let open = |flags| {
        rustix::fs::open(path.as_str(), flags | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
    };
    let slave = open(OFlags::RDWR).map_err(|_| missing())?;
    let kept = open(OFlags::RDWR | OFlags::NONBLOCK).map_err(|_| missing())?;
    Ok(scene.ask(|ask| ask.stdin = Input::Terminal { slave, hidden: false }).after(move |_| {
        Sight::of(
            !waiting(kept).is_empty(),
            "a paste waits in the console's input",
            "nothing waits in the console's input",
        )
    }))
}

struct Terminal {
    master: OwnedFd,
    /// For the launch.
    slave: OwnedFd,
    /// For the suite; keeps the terminal's input while nobody else has it open.
    kept: OwnedFd,
}

fn open() -> Result<Terminal, Trouble> {
    let terminal::Terminal { master, slave, path } = terminal::open()?;
    let flags = terminal::FLAGS | OFlags::NONBLOCK;
    let kept = rustix::fs::open(&path, flags, Mode::empty()).map_err(terminal::none)?;
    let mut modes = rustix::termios::tcgetattr(&slave).map_err(terminal::none)?;
    modes.local_modes.remove(LocalModes::ECHO);
    rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes).map_err(terminal::none)?;
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
