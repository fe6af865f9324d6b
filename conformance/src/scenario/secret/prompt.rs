//! The master password and a secret typed at a terminal: they open and fill the vault, and the
//! terminal never shows them. The suite holds the other end of the terminal. It must never put them
//! anywhere else.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::scenario::probes;
use crate::scenario::terminal::{self, Terminal};
use crate::scenario::{Finding, Lab, Options, Target, Trouble};
use crate::sensor::vault;
use crate::target::process::contains;
use crate::target::template::Vars;
use crate::target::world::random_hex;

/// How long the target may take to ask and to do its work.
const PATIENCE: Duration = Duration::from_secs(15);

/// Both ends of a terminal that shows what is typed, as terminals do.
fn terminal(target: &Target) -> Result<(File, OwnedFd), Trouble> {
    let Terminal { master, slave, path } = terminal::open()?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&master, flags).map_err(terminal::none)?;
    target.world().give(Path::new(&*path.to_string_lossy()))?;
    Ok((File::from(master), slave))
}

/// What came of a command at a terminal.
struct Typed {
    /// Everything that the terminal showed.
    screen: Vec<u8>,
    /// How many of the answers were asked for.
    asked: usize,
    /// How it ended.
    code: Option<i32>,
}

/// Runs the command that stores a secret and types an answer at each of its questions.
async fn at_terminal(target: &Target, name: &str, answers: &[&str]) -> Result<Typed, Trouble> {
    let (mut master, slave) = terminal(target)?;
    let helper = target.world().install(&probes::binary()?)?;
    let mut vars = Vars::new();
    vars.set("NAME", name);
    let instance = target.instance();
    let mut process = instance.begin_at_terminal("vault-put-typed", &vars, &helper, slave)?;
    let (mut screen, mut begun, mut asked) = (Vec::new(), 0, 0);
    let (started, mut buffer) = (Instant::now(), [0_u8; 4_096]);
    let code = loop {
        let ended = process.ended();
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            screen.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
        if let Some(status) = ended {
            break status.code();
        }
        // A question ends without a line. What hides the answer may come a moment behind it.
        let news = screen.get(begun..).unwrap_or_default();
        if let (true, Some(answer)) = (news.ends_with(b": "), answers.get(asked)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            master.write_all(format!("{answer}\n").as_bytes())?;
            (begun, asked) = (screen.len(), asked + 1);
        }
        if started.elapsed() > PATIENCE {
            process.kill().await;
            break None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    Ok(Typed { screen, asked, code })
}

pub(super) async fn prompt(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let master = target.var("MASTER");
    let (name, secret) = (format!("typed-{}", random_hex(6)), format!("sk-{}", random_hex(16)));
    let typed = at_terminal(&target, &name, &[&master, &secret]).await?;
    let screen = String::from_utf8_lossy(&typed.screen).into_owned();
    let words = format!("{} answers were asked for at a terminal that echoes", typed.asked);
    finding.reached(typed.asked == 2, format!("{words}: {screen:?}"));

    let (folder, password, wanted) = (target.file("vault")?, master.clone(), secret.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut records = entries.filter_map(|entry| std::fs::read(entry.path()).ok());
        let open = |bytes: &[u8]| vault::open(bytes, &name, password.as_bytes()).ok();
        records.any(|bytes| open(&bytes).is_some_and(|it| it == wanted.as_bytes()))
    });
    let opened = opened.await.map_err(|error| Trouble::Harness(error.to_string()))?;
    let words =
        format!("another implementation opens what was typed with what was typed: {opened}");
    finding.twin(typed.code == Some(0) && opened, words);
    for (what, text) in [("master password", &master), ("secret", &secret)] {
        let shown = contains(&typed.screen, text.as_bytes());
        finding.no_effect(!shown, format!("the {what} is on the screen: {shown}"));
    }
    Ok(finding)
}
