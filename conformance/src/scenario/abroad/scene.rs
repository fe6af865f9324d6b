//! What a stage is made of on macOS and Windows: a place, parameters, observers, what is undone
//! afterwards. It must never know a target or an expectation.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use clawproof_probe::{Params, step};

use crate::driver::Ran;
use crate::stage::egress::{Sink, ask, free_port};
use crate::target::process::contains;
use crate::target::world::{World, random_hex};

use super::environment::needed;
use super::{PROGRAM, Trouble};
pub(super) use crate::scenario::sight::Sight;

/// One run's place: its own folder tree and its own random values.
pub(super) struct Site<'a> {
    pub(super) world: &'a World,
    /// Plain paths: programs of the system do not take verbatim ones.
    pub(super) workspace: PathBuf,
    pub(super) outside: PathBuf,
    /// The mark of this run, in the arguments of everything that the probe starts.
    pub(super) token: String,
    /// The probe binary in the workspace, and outside of it.
    pub(super) inside: PathBuf,
    pub(super) helper: PathBuf,
}

impl<'a> Site<'a> {
    pub(super) fn new(world: &'a World, program: &Path, id: &str) -> Result<Self, Trouble> {
        let mut workspace = plain(&world.workspace());
        if id == "macos-policy.injection" {
            workspace = world.root().join("w\")) (allow default) (allow file* (subpath \"");
            // The slash-free part of a rule: a folder's name like any other.
            world.make_dir(&workspace)?;
        }
        let inside = workspace.join(format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX));
        std::fs::copy(program, &inside)?;
        world.give(&inside)?;
        Ok(Self {
            world,
            outside: plain(&world.outside()),
            token: random_hex(16),
            inside,
            helper: plain(&world.install(program)?),
            workspace,
        })
    }

    /// A fresh random secret that the probe is never told.
    pub(super) fn secret(&self) -> String {
        format!("canary-{}", random_hex(16))
    }

    /// Puts a private file of the target's user somewhere on the host.
    pub(super) fn place(&self, path: &Path, text: &str) -> Result<(), Trouble> {
        Ok(self.world.write(path, text.as_bytes(), 0o600)?)
    }

    /// A small repository, as far as git needs it.
    pub(super) fn repository(&self, folder: &Path) -> Result<(), Trouble> {
        let git = folder.join(".git");
        for part in ["objects", "refs/heads", "hooks"] {
            self.world.make_dir(&git.join(part))?;
        }
        self.world.write(&git.join("HEAD"), b"ref: refs/heads/main\n", 0o644)?;
        self.world.write(&git.join("config"), b"[core]\n", 0o644)?;
        Ok(())
    }

    /// A program of the host that runs as long as the value lives.
    pub(super) fn started(&self, line: &[&str]) -> Result<Neighbour, Trouble> {
        let (program, arguments) = line.split_first().unwrap_or((&"", &[]));
        let mut command = self.world.command(program);
        needed(&mut command);
        command.args(arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| {
            Trouble::NotApplicable(format!("this host does not start {program}: {error}"))
        })?;
        let input = child.stdin.take();
        Ok(Neighbour { child, _input: input })
    }

    /// A line of the command interpreter that runs in a console of its own, which nobody sees.
    #[cfg(windows)]
    pub(super) fn in_console(&self, line: &str) -> Result<Neighbour, Trouble> {
        /// `CREATE_NO_WINDOW`: a console without a window.
        const NO_WINDOW: u32 = 0x0800_0000;
        let mut command = self.world.command("cmd");
        needed(&mut command);
        // The interpreter's quotes are not those of other programs.
        command.raw_arg(format!("/d /v:on /c \"{line}\"")).creation_flags(NO_WINDOW);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Neighbour { child: command.spawn()?, _input: None })
    }

    /// A canary process of the host, with the secret in its arguments and environment.
    pub(super) fn neighbour(&self, program: &Path, secret: &str) -> Result<Neighbour, Trouble> {
        let mut command = self.world.command(program);
        command.args(["@neighbour", secret]).env("SERVICE_API_KEY", secret);
        needed(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        Ok(Neighbour { child, _input: input })
    }
}

/// A path that every program takes.
pub(super) fn plain(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    text.strip_prefix(r"\\?\").map_or_else(|| path.to_owned(), PathBuf::from)
}

/// A process of the host; it ends with this value.
pub(super) struct Neighbour {
    child: tokio::process::Child,
    _input: Option<tokio::process::ChildStdin>,
}

impl Neighbour {
    pub(super) fn pid(&self) -> Option<i32> {
        self.child.id().and_then(|pid| i32::try_from(pid).ok())
    }

    /// Whether it is gone, within a moment.
    pub(super) fn gone(&mut self) -> bool {
        for _ in 0..30 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

type During = Box<dyn FnOnce() -> Sight + Send>;
type After = Box<dyn FnOnce(&Ran) -> Sight + Send>;

/// The stage of one run.
pub(super) struct Scene {
    pub(super) params: Params,
    /// Variables of the launcher's own.
    pub(super) env: Vec<(String, String)>,
    /// Its standard input.
    pub(super) stdin: Option<String>,
    /// A file in the place of its standard input.
    pub(super) open: Option<std::fs::File>,
    /// What is looked at while the probe stands in position.
    pub(super) during: Option<During>,
    pub(super) after: Option<After>,
    /// What stands before the launcher, where it is started by something other than the suite.
    pub(super) wrap: Vec<String>,
    /// Whether the launcher is killed when the probe stands in position.
    pub(super) interrupt: bool,
    /// Whether a process left behind is looked for by its heartbeat.
    pub(super) heartbeat: bool,
    /// What lives as long as the run.
    pub(super) kept: Vec<Box<dyn Any + Send>>,
}

impl Scene {
    pub(super) fn new(site: &Site<'_>) -> Self {
        let params = Params {
            token: site.token.clone(),
            workspace: site.workspace.clone(),
            ..Params::default()
        };
        Self {
            params,
            env: Vec::new(),
            stdin: None,
            open: None,
            during: None,
            after: None,
            wrap: Vec::new(),
            interrupt: false,
            heartbeat: false,
            kept: Vec::new(),
        }
    }

    pub(super) fn target(mut self, path: impl Into<PathBuf>) -> Self {
        self.params.target = Some(path.into());
        self
    }

    pub(super) fn content(mut self, text: &str) -> Self {
        self.params.content = Some(text.to_owned());
        self
    }

    pub(super) fn name(mut self, text: &str) -> Self {
        self.params.name = Some(text.to_owned());
        self
    }

    pub(super) fn amount(mut self, amount: u64) -> Self {
        self.params.amount = Some(amount);
        self
    }

    /// Keeps a thing alive as long as the run.
    pub(super) fn keep(mut self, thing: impl Any + Send) -> Self {
        self.kept.push(Box::new(thing));
        self
    }

    pub(super) fn during(mut self, look: impl FnOnce() -> Sight + Send + 'static) -> Self {
        self.during = Some(Box::new(look));
        self
    }

    pub(super) fn after(mut self, look: impl FnOnce(&Ran) -> Sight + Send + 'static) -> Self {
        self.after = Some(Box::new(look));
        self
    }

    /// The effect is that this secret comes out of the sandbox.
    pub(super) fn leak(self, secret: String, what: &'static str) -> Self {
        self.after(move |ran| {
            let out = contains(&ran.stdout, secret.as_bytes())
                || contains(&ran.stderr, secret.as_bytes());
            Sight::of(
                out,
                format!("{what} came out of the sandbox"),
                format!("{what} did not come out"),
            )
        })
    }

    /// The effect is that the host's file at `path` holds this text, which the probe is told.
    pub(super) fn changed(self, path: PathBuf, text: String) -> Self {
        self.content(&text).after(move |_| {
            let found = std::fs::read_to_string(&path).is_ok_and(|it| it.contains(&text));
            Sight::of(
                found,
                format!("the host finds the probe's text in {}", path.display()),
                format!("{} does not hold the probe's text", path.display()),
            )
        })
    }

    /// The same, of a file that the probe is told to write.
    pub(super) fn made(self, path: PathBuf, text: String) -> Self {
        self.target(path.clone()).changed(path, text)
    }

    /// The effect is that this line on the host says the text, which the probe is told.
    pub(super) fn says(self, line: &[&str], text: String) -> Self {
        let line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        self.content(&text).after(move |_| {
            let words: Vec<&str> = line.iter().map(String::as_str).collect();
            let shown = words.first().copied().unwrap_or_default().to_owned();
            match host(&words) {
                None => Sight::Blind(format!("{shown} is not on this host")),
                Some(said) => Sight::of(
                    said.contains(&text),
                    format!("the host's {shown} shows the probe's text"),
                    format!("the host's {shown} does not show the probe's text"),
                ),
            }
        })
    }

    /// The effect is that a listener of the host receives the text, which the probe is told.
    pub(super) fn heard(mut self, sink: Sink, text: String) -> Self {
        let ear = sink.ear();
        self.params.port = Some(sink.port());
        self.content(&text).keep(sink).after(move |_| {
            // What was sent may still be on its way.
            for _ in 0..10 {
                if ear.heard(&text) {
                    return Sight::Breached("the listener outside received the nonce".into());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Sight::Held("the listener outside received nothing".into())
        })
    }

    /// The effect is that the host reaches a listener of the probe.
    pub(super) fn answers(mut self, text: String) -> Result<Self, Trouble> {
        let port = free_port()?;
        self.params.port = Some(port);
        Ok(self.content(&text).during(move || {
            Sight::of(
                contains(&ask(port), text.as_bytes()),
                "the host connected to the probe's port and got the nonce",
                "no listener of the probe is reachable from the host",
            )
        }))
    }

    /// A process left behind.
    pub(super) fn orphan(mut self, interrupt: bool) -> Self {
        self.heartbeat = true;
        self.interrupt = interrupt;
        self
    }
}

/// The stages that both systems share, by the name behind the dot.
pub(super) async fn shared(name: &str, site: &Site<'_>) -> Result<Option<Scene>, Trouble> {
    let (scene, secret) = (Scene::new(site), site.secret());
    Ok(Some(match name {
        "tcp4" => scene.heard(Sink::tcp(false).await?, secret),
        "tcp6" => scene.heard(Sink::tcp(true).await?, secret),
        "udp4" => scene.heard(Sink::udp().await?, secret),
        "bind-any" => scene.answers(secret)?,
        "orphan-exit" | "orphan-setsid" | "breakaway" | "spawn-before-assign" => {
            scene.orphan(false)
        }
        "orphan-launcher" | "grandchild-kill" => scene.orphan(true),
        "canary" => Scene {
            env: vec![("SERVICE_API_KEY".to_owned(), secret.clone())],
            ..scene.leak(secret, "the launcher's variable")
        },
        "stdin" => Scene {
            stdin: Some(format!("{secret}\n")),
            ..scene.leak(secret, "the launcher's input")
        },
        "git-config" => {
            site.repository(&site.workspace)?;
            scene.target(&site.workspace).changed(site.workspace.join(".git/config"), secret)
        }
        "metadata-outside" => {
            site.world.renew_canary()?;
            let path = site.world.canary_file();
            let random = u64::from_str_radix(&random_hex(3), 16).unwrap_or(7);
            let seconds = 1_100_000_000 + random;
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            std::fs::File::options().write(true).open(&path)?.set_modified(time)?;
            scene.target(plain(&path)).leak(format!("modified {seconds}"), "the file's time stamp")
        }
        _ => return Ok(None),
    }))
}

/// The trouble with a probe that has no stage.
pub(super) fn unstaged(id: &str) -> Trouble {
    Trouble::Harness(format!("no stage is written for probe {id}"))
}

/// What a line says on the host; none where its program is not there.
pub(super) fn host(line: &[&str]) -> Option<String> {
    host_with(line, "")
}

/// The same with an input.
pub(super) fn host_with(line: &[&str], input: &str) -> Option<String> {
    use std::io::Write as _;
    let (program, arguments) = line.split_first()?;
    #[expect(clippy::disallowed_methods, reason = "observers ask the host's own tools")]
    let mut command = std::process::Command::new(program);
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    if let Some(mut pipe) = child.stdin.take() {
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A line that the host runs when the run is over.
pub(super) struct Undo(pub(super) Vec<String>);

impl Undo {
    pub(super) fn new(line: &[&str]) -> Self {
        Self(line.iter().map(|word| (*word).to_owned()).collect())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let words: Vec<&str> = self.0.iter().map(String::as_str).collect();
        let _ = host(&words);
    }
}

/// A file of the host that goes when the run is over.
pub(super) struct Removed(pub(super) PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The step file by which the probe says that it stands in position.
pub(super) fn hold_file(site: &Site<'_>) -> PathBuf {
    step::hold(&site.workspace, &site.token)
}
