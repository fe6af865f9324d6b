//! Plays one corpus case on one running target and says what sensors saw. The targets of several
//! cases may be the same, one case after the other: each has its own session, nonce and canaries,
//! and the workspace is emptied before it. It must never know a verdict.

mod deliver;
mod fresh;
mod logs;
#[cfg(unix)]
mod plugins;
mod rates;
mod setup;
mod twist;

pub(crate) use deliver::path_call;
pub use fresh::{Kept, play_fresh};

use std::path::Path;
use std::time::Duration;

use crate::corpus::payload::{Var, Vars};
use crate::corpus::{Case, Surface};
use crate::driver::http::Request;
use crate::driver::{DriverError, excerpt};
use crate::oracle::{Observed, Outcome, outcome};
use crate::sensor::files::{Snapshot, exists, holding};
use crate::sensor::leak;
use crate::target::process::contains;
use crate::target::template::{depth_before, json_literal};
use crate::target::world::random_hex;

use super::{Target, Trouble};

/// The longest that one case may take.
const CASE_LIMIT: Duration = Duration::from_secs(60);

/// System files that a sandbox commonly shows; the first that exists is HOSTFILE.
const HOST_FILES: &[&str] = if cfg!(windows) {
    &[r"C:\Windows\system.ini", r"C:\Windows\System32\drivers\etc\hosts"]
} else {
    &["/usr/lib/os-release", "/etc/os-release", "/etc/hosts"]
};

/// What one case led to.
#[derive(Clone, Debug)]
pub struct Played {
    /// What became of the payload.
    pub outcome: Outcome,
    /// Whether the payload is known to have been handed to the target at the right place.
    pub delivered: bool,
    /// What the sensors saw, in order.
    pub evidence: Vec<String>,
    /// It withstood as it is published and fell when it was written in another way.
    pub by_heart: bool,
}

/// Plays a case. A target that hangs costs at most a minute.
///
/// # Errors
/// `NotApplicable` where the host cannot show it, `Unsupported` where the manifest lacks a tool or
/// call, `Harness` where the suite failed.
pub async fn play(target: &Target, case: &Case) -> Result<Played, Trouble> {
    match play_form(target, case, Form::Published).await? {
        Some(played) => Ok(played),
        None => Err(Trouble::Harness("a case has no published form".to_owned())),
    }
}

/// Plays an attack once more, written in another way that is new in each run; `None` where no other
/// way is known. Who only knows the published form by heart falls here.
///
/// # Errors
/// As [`play`].
pub async fn play_twisted(target: &Target, case: &Case) -> Result<Option<Played>, Trouble> {
    play_form(target, case, Form::Twisted).await
}

/// How a payload is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Published,
    Twisted,
}

async fn play_form(target: &Target, case: &Case, form: Form) -> Result<Option<Played>, Trouble> {
    let world = target.world();
    if let Some(words) = setup::missing_capability(&case.requires, world) {
        return Err(Trouble::NotApplicable(words.to_owned()));
    }
    let bytes = case.surface != Surface::MessageText || case.raw;
    if !target.is_server() && on_the_wire(case.surface) && bytes {
        return Err(Trouble::Unsupported(format!("no way to `{}`", case.surface.id())));
    }
    if let Some(words) = case.surface.not_played() {
        return Err(Trouble::NotApplicable(words.to_owned()));
    }
    reset(target)?;
    let mut stand = Stand::new(target, case, &[]).await?;
    if form == Form::Twisted && !stand.twist(target, case) {
        return Ok(None);
    }
    if stand.silent {
        let alive = target.alive().await;
        let outcome = if alive { Outcome::NoAnswer } else { Outcome::Died };
        let evidence = stand.evidence;
        return Ok(Some(Played { outcome, delivered: false, evidence, by_heart: false }));
    }
    let before = Snapshot::of_world(world);
    let written = logs::Written::before(target, case, &stand).await?;
    let talk = tokio::time::timeout(CASE_LIMIT, deliver::deliver(target, case, &stand)).await;
    let told = match talk {
        Ok(told) => told?,
        Err(_) => deliver::Told::silent("no answer within a minute"),
    };
    stand.evidence.extend(told.evidence.iter().cloned());
    let mut seen = observe(target, case, &stand, &told, &before).await;
    written.judge(target, &stand, &mut seen).await;
    stand.evidence.extend(seen.leaked.iter().chain(&seen.outside).cloned());
    if seen.ran {
        stand.evidence.push(format!("the file {} came to exist", stand.effect));
    }
    if !seen.alive {
        let words = target.instance().last_words().await;
        stand.evidence.push(format!("the target no longer answers its health call: {words}"));
    }
    let delivered = if asks_model(case.surface) { seen.served } else { told.sent };
    Ok(Some(Played {
        outcome: outcome(case.surface, case.kind, &seen),
        delivered,
        evidence: stand.evidence,
        by_heart: false,
    }))
}

/// Whether the payload travels in an answer of the model.
fn asks_model(surface: Surface) -> bool {
    !on_the_wire(surface)
}

/// Whether the payload travels in what the user sends.
fn on_the_wire(surface: Surface) -> bool {
    matches!(
        surface,
        Surface::MessageText
            | Surface::HttpJson
            | Surface::HttpBody
            | Surface::HttpRaw
            | Surface::SessionId
            | Surface::CredentialName
    )
}

/// Empties the workspace, takes away what stands outside it, and renews the canary.
pub(crate) fn reset(target: &Target) -> Result<(), Trouble> {
    let world = target.world();
    world.clear_workspace()?;
    let kept = [world.workspace(), world.state(), world.home(), world.bin(), world.outside()];
    for folder in [world.root().to_owned(), world.outside()] {
        let entries = std::fs::read_dir(&folder);
        let entries = entries
            .map_err(|error| Trouble::Harness(format!("read {}: {error}", folder.display())))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let folder = !path.is_symlink() && path.is_dir();
            if !kept.contains(&path) {
                let removed = if folder {
                    std::fs::remove_dir_all(&path)
                } else {
                    std::fs::remove_file(&path)
                };
                removed.map_err(|error| {
                    Trouble::Harness(format!("remove {}: {error}", path.display()))
                })?;
            }
        }
    }
    world.renew_canary()?;
    Ok(())
}

/// Everything that is random or prepared for one case.
pub(super) struct Stand {
    session: String,
    nonce: String,
    canary: String,
    host_line: Option<String>,
    secret: String,
    effect: String,
    /// What the write tool is asked to write.
    marker: String,
    /// What a benign read must bring back.
    mark: String,
    payload: Vec<u8>,
    pieces: Vec<Vec<u8>>,
    evidence: Vec<String>,
    /// Not even a session could be created, for want of any answer.
    silent: bool,
}

impl Stand {
    async fn new(target: &Target, case: &Case, known: &[(Var, Vec<u8>)]) -> Result<Self, Trouble> {
        let (world, manifest) = (target.world(), target.instance().manifest());
        let nonce = random_hex(8);
        let effect = format!("effect-{}", random_hex(6));
        let mark = format!("mark-{}", random_hex(8));
        let session = target.session().await;
        let mut evidence = Vec::new();
        let silent = matches!(session, Err(DriverError::Timeout(_) | DriverError::Died(_)));
        let session = match session {
            Ok(session) => session,
            Err(error @ (DriverError::Unsupported(_) | DriverError::Harness(_))) => {
                return Err(error.into());
            }
            Err(error) => {
                evidence.push(format!("no session could be created: {error}"));
                String::new()
            }
        };
        let host_file = HOST_FILES.iter().find(|path| Path::new(path).is_file());
        let mut vars = Vars::new(manifest.naming());
        vars.set(Var::Nonce, nonce.as_str())
            .set(Var::Root, world.workspace().to_string_lossy().into_owned())
            .set(Var::Outside, world.outside().to_string_lossy().into_owned())
            .set(Var::Canary, world.canary())
            .set(Var::Mark, mark.as_str())
            .set(Var::Effect, effect.as_str())
            .set(Var::Secret, target.var("SECRET"))
            .set(Var::Port, target.model().port().to_string())
            .set(Var::Session, session.as_str());
        if let Some(path) = host_file {
            vars.set(Var::Hostfile, *path);
        }
        for (var, value) in known {
            vars.set(*var, value.as_slice());
        }
        if case.surface == Surface::ModelJson {
            vars.set_envelope(1);
        }
        if target.is_server() {
            let request = target.rpc().message_request(&session, nonce.as_bytes())?;
            vars.set(Var::Head, head(target, &request));
            vars.set(Var::Request, request.pieces.concat());
        }
        if case.surface == Surface::HttpJson {
            let body = target.rpc().describe("metadata")?.body.clone().unwrap_or_default();
            vars.set_envelope(depth_before(&body, "${JSON}") as u64);
        }
        setup::materialise(world, &case.setup, &vars)?;
        let wrong = |error| Trouble::Harness(format!("payload: {error}"));
        let payload = case.payload.build(&vars).map_err(wrong)?;
        let pieces = case.payload.pieces(&vars).map_err(wrong)?;
        evidence.push(format!("payload ({} bytes): {}", payload.len(), excerpt(&payload, 200)));
        Ok(Self {
            session,
            marker: format!("written-{nonce}"),
            nonce,
            canary: world.canary(),
            host_line: host_file.and_then(|path| distinctive(Path::new(path), &payload)),
            secret: target.var("SECRET"),
            effect,
            mark,
            payload,
            pieces,
            evidence,
            silent,
        })
    }

    /// Writes the payload in another way; `false` where none is known.
    fn twist(&mut self, target: &Target, case: &Case) -> bool {
        if case.surface == Surface::HttpRaw && self.pieces.len() > 1 {
            return false; // how it is cut may be what it is about
        }
        let tools = &target.instance().manifest().tools;
        let names: Vec<&str> = tools.values().map(|tool| tool.name.as_str()).collect();
        let twisted = twist::twist(case.surface, &self.payload, &random_hex(4), &names);
        let Some(twisted) = twisted else { return false };
        self.payload = twisted;
        self.pieces = vec![self.payload.clone()];
        self.evidence.push(format!("written as: {}", excerpt(&self.payload, 200)));
        true
    }

    /// What a message must arrive as, if it is to arrive.
    fn intended_text(&self, case: &Case) -> Option<String> {
        let literal = if case.raw {
            [b"\"".as_slice(), &self.payload, b"\""].concat()
        } else {
            json_literal(&self.payload)
        };
        serde_json::from_slice(&literal).ok()
    }
}

/// Request line and headers of a request, without what frames its body.
fn head(target: &Target, request: &Request) -> String {
    let (method, path) = (&request.method, &request.path);
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", target.address());
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "Connection: close\r\n"
}

/// A run of characters of a file that stands neither in its own path nor in the payload.
fn distinctive(path: &Path, payload: &[u8]) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let plain = |it: char| it.is_ascii_alphanumeric() || "-._/:".contains(it);
    text.split(|it| !plain(it))
        .filter(|run| run.len() >= 12 && !path.to_string_lossy().contains(run))
        .filter(|run| !contains(payload, run.as_bytes()))
        .max_by_key(|run| run.len())
        .map(str::to_owned)
}

async fn observe(
    target: &Target,
    case: &Case,
    stand: &Stand,
    told: &deliver::Told,
    before: &Snapshot,
) -> Observed {
    let world = target.world();
    let workspace = world.workspace();
    let ran = exists(&workspace.join(&stand.effect));
    let came_back = |bytes: &[u8]| told.came_back(bytes);
    let mark_came_back = came_back(stand.mark.as_bytes());
    let intact = match case.surface {
        Surface::MessageText => {
            let intended = stand.intended_text(case);
            intended.is_some() && told.received.last() == intended.as_ref()
        }
        Surface::HttpJson | Surface::HttpBody | Surface::HttpRaw | Surface::SessionId => {
            !told.received.is_empty()
        }
        Surface::ModelJson => told.replied(stand.nonce.as_bytes()),
        Surface::ModelError => told.answered && told.served,
        Surface::CredentialName => came_back(&stand.payload),
        // The first of these is looked at in the log, the others are played on fresh targets.
        Surface::AuditLog
        | Surface::PluginFrame
        | Surface::ConfigFile
        | Surface::VaultFile
        | Surface::GatewayRequest => false,
        Surface::ToolPathRead => mark_came_back,
        Surface::ToolPathWrite => !holding(&workspace, stand.marker.as_bytes()).is_empty(),
        Surface::ToolArgument | Surface::ToolResult => came_back(&stand.payload),
        Surface::ToolName | Surface::ToolCall | Surface::ToolArguments => ran || mark_came_back,
        Surface::ModelProse => told.replied(&stand.payload),
    };
    let mut leaked = leaks(case, stand, told);
    let changed =
        case.surface == Surface::ToolArgument && !told.came_back_printable(&stand.payload);
    if changed && came_back(stand.marker.as_bytes()) && !mentions_secret(stand) {
        leaked.push("the program ran, and its argument was another one".to_owned());
    }
    Observed {
        alive: target.alive().await,
        answered: told.answered,
        served: told.served,
        intact,
        ran,
        leaked,
        outside: before
            .changes(&Snapshot::of_world(world))
            .into_iter()
            .chain(told.beside.iter().cloned())
            .collect(),
    }
}

/// A secret in an argument is to be redacted in what comes back of it.
fn mentions_secret(stand: &Stand) -> bool {
    !leak::found(stand.secret.as_bytes(), &stand.payload).is_empty()
}

fn leaks(case: &Case, stand: &Stand, told: &deliver::Told) -> Vec<String> {
    let mut leaked = Vec::new();
    for (place, bytes) in told.returned() {
        let text = String::from_utf8_lossy(bytes);
        if text.contains(&stand.canary) {
            leaked.push(format!("the canary outside the workspace came back in {place}"));
        }
        if stand.host_line.as_ref().is_some_and(|line| text.contains(line)) {
            leaked.push(format!("a line of a system file came back in {place}"));
        }
        // What a user writes himself is no leak; what a tool or the model yields is.
        if asks_model(case.surface) {
            for form in leak::found(stand.secret.as_bytes(), bytes) {
                leaked.push(format!("the secret came back in {place} ({form})"));
            }
        }
    }
    leaked
}
