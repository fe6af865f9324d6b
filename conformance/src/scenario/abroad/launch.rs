//! A command line behind a launcher's prefix, started as a careless caller would start it, watched
//! while it stands in position. It must never know which probe runs.

use std::future::Future;
use std::process::Stdio;
use std::time::{Duration, Instant};

use clawproof_probe::step;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;

use crate::driver::{DriverError, Ran};
use crate::scenario::Lab;
use crate::target::template::Vars;

use super::Trouble;
use super::environment::needed;
use super::scene::{Scene, Sight, Site, hold_file};

/// How long one run may take.
pub(super) const LIMIT: Duration = Duration::from_secs(40);
/// Bytes kept of each stream.
const KEPT: u64 = 4_000_000;

/// What stands before a command line, and its variables.
#[derive(Debug, Default)]
pub(super) struct Line {
    prefix: Vec<String>,
    env: Vec<(String, String)>,
}

impl Line {
    /// No sandbox at all.
    pub(super) fn bare() -> Self {
        Self::default()
    }

    /// The launcher that the laboratory's manifest names.
    pub(super) fn of(lab: &Lab, site: &Site<'_>) -> Result<Self, Trouble> {
        let manifest = lab.manifest();
        let launcher = manifest
            .launcher
            .as_ref()
            .ok_or_else(|| Trouble::Unsupported("the manifest has no [launcher]".to_owned()))?;
        let world = site.world;
        let mut vars = Vars::new();
        vars.set("BIN", lab.binary().as_os_str().as_encoded_bytes())
            .set("STATE", world.state().as_os_str().as_encoded_bytes())
            .set("WORKSPACE", site.workspace.as_os_str().as_encoded_bytes())
            .set("HOME", world.home().as_os_str().as_encoded_bytes())
            .set("UID", world.uid().unwrap_or_default().to_string())
            .set("KNOCKOUT", lab.knockout().unwrap_or_default());
        let fill = |text: &String| {
            vars.fill_text(text).map_err(|error| Trouble::Harness(format!("launcher: {error}")))
        };
        let mut prefix: Vec<String> = launcher.prefix.iter().map(fill).collect::<Result<_, _>>()?;
        if lab.knockout().is_some() {
            let extra: Vec<String> =
                manifest.knockout.iter().map(fill).collect::<Result<_, _>>()?;
            let at = prefix.len().min(1);
            prefix.splice(at..at, extra);
        }
        let env = launcher
            .env
            .iter()
            .map(|(name, value)| Ok((name.clone(), fill(value)?)))
            .collect::<Result<_, Trouble>>()?;
        Ok(Self { prefix, env })
    }
}

/// Runs a command line behind a prefix.
pub(super) async fn run_line(
    line: &Line,
    argv: &[String],
    site: &Site<'_>,
    scene: &mut Scene,
) -> Result<(Ran, Option<Sight>), Trouble> {
    let words: Vec<&String> = scene.wrap.iter().chain(&line.prefix).chain(argv).collect();
    let (program, rest) =
        words.split_first().ok_or_else(|| Trouble::Harness("an empty line".to_owned()))?;
    let mut command = site.world.command(program.as_str());
    needed(&mut command);
    command.args(rest).envs(line.env.iter().cloned()).envs(scene.env.drain(..));
    command.current_dir(&site.workspace).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = scene.stdin.take();
    if input.is_some() {
        command.stdin(Stdio::piped());
    } else if let Some(file) = scene.open.take() {
        command.stdin(Stdio::from(file));
    }
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Trouble::Unsupported(format!("the program `{program}` on this machine"))
        }
        _ => Trouble::Harness(format!("{program}: {error}")),
    })?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        tokio::spawn(async move {
            // A launcher that does not read its input is what we hope for.
            let _ = pipe.write_all(text.as_bytes()).await;
        });
    }
    let (breaker, broken) = tokio::sync::oneshot::channel();
    watched(finish(child, broken), site, scene, Some(breaker)).await
}

/// Waits for the launcher's end, or ends it: it alone, as a crash would.
async fn finish(
    mut child: Child,
    broken: tokio::sync::oneshot::Receiver<()>,
) -> Result<Ran, DriverError> {
    let begun = Instant::now();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let read = |stream: Option<_>| async move {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            let _ = tokio::io::AsyncReadExt::take(stream, KEPT).read_to_end(&mut bytes).await;
        }
        bytes
    };
    let stdout = tokio::spawn(read(out.map(boxed)));
    let stderr = tokio::spawn(read(err.map(boxed)));
    let waited = tokio::select! {
        waited = tokio::time::timeout(LIMIT, child.wait()) => waited.ok().and_then(Result::ok),
        Ok(()) = broken => None,
    };
    if waited.is_none() {
        let _ = child.start_kill();
        let _ = child.wait().await;
    }
    let timed_out = waited.is_none() && begun.elapsed() >= LIMIT;
    // What a process left behind keeps open is not waited for.
    let kept = |task: tokio::task::JoinHandle<Vec<u8>>| async {
        tokio::time::timeout(Duration::from_secs(2), task)
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default()
    };
    let (stdout, stderr) = (kept(stdout).await, kept(stderr).await);
    let code = waited.and_then(|status| status.code());
    Ok(Ran { code, stdout, stderr, elapsed: begun.elapsed(), timed_out })
}

fn boxed(
    stream: impl tokio::io::AsyncRead + Send + Unpin + 'static,
) -> Box<dyn tokio::io::AsyncRead + Send + Unpin> {
    Box::new(stream)
}

/// Lets the observer look when the probe stands in position, then lets the probe go on, or breaks
/// the launcher off.
pub(super) async fn watched(
    running: impl Future<Output = Result<Ran, DriverError>>,
    site: &Site<'_>,
    scene: &mut Scene,
    breaker: Option<tokio::sync::oneshot::Sender<()>>,
) -> Result<(Ran, Option<Sight>), Trouble> {
    let during = scene.during.take();
    let interrupt = scene.interrupt;
    let watching = async {
        let hold = hold_file(site);
        while !hold.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let sight = match during {
            None => None,
            Some(look) => Some(
                tokio::task::spawn_blocking(look)
                    .await
                    .map_err(|error| Trouble::Harness(error.to_string()))?,
            ),
        };
        match breaker.filter(|_| interrupt) {
            Some(breaker) => {
                let _ = breaker.send(());
            }
            None => {
                let release = step::release(&site.workspace, &site.token);
                site.world.write(&release, b"", 0o644)?;
            }
        }
        Ok::<_, Trouble>(sight)
    };
    tokio::pin!(running, watching);
    tokio::select! {
        ran = &mut running => Ok((ran?, None)),
        sight = &mut watching => {
            let sight = sight?;
            Ok((running.await?, sight))
        }
    }
}
