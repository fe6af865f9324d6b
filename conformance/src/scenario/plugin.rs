//! Plugins: what one that is hostile can do to the target, to other plugins and to the host. The
//! plugin is the suite's own program inside the target's own containment; it must never be believed
//! where something outside it can be looked at.

mod peer;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::driver::excerpt;
use crate::sensor::resident::{Watch, born};
use crate::stage::egress::Sink;
use crate::stage::plugin::{Guest, Report, call, listen, send};
use crate::target::plugins::Plugins;
use crate::target::world::random_hex;

use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// What is looked at here.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "plugin.process-hang",
        requirements: &["plugin.process"],
        surface: "plugin.frame",
        alone: false,
        run: |lab| Box::pin(hang(lab)),
    },
    Scenario {
        id: "plugin.process-crash-loop",
        requirements: &["plugin.process"],
        surface: "plugin.frame",
        alone: false,
        run: |lab| Box::pin(crash_loop(lab)),
    },
    Scenario {
        id: "plugin.process-memory",
        requirements: &["plugin.process"],
        surface: "process.resources",
        alone: false,
        run: |lab| Box::pin(memory(lab)),
    },
    Scenario {
        id: "plugin.process-output",
        requirements: &["plugin.process"],
        surface: "plugin.frame",
        alone: false,
        run: |lab| Box::pin(output(lab)),
    },
    Scenario {
        id: "plugin.frame-half",
        requirements: &["plugin.frame"],
        surface: "plugin.frame",
        alone: false,
        run: |lab| Box::pin(half(lab)),
    },
    Scenario {
        id: "plugin.least-inherits",
        requirements: &["plugin.least"],
        surface: "sandbox.process",
        alone: false,
        run: |lab| Box::pin(inherits(lab)),
    },
    Scenario {
        id: "plugin.least-granted",
        requirements: &["plugin.least"],
        surface: "plugin.frame",
        alone: false,
        run: |lab| Box::pin(granted(lab)),
    },
    Scenario {
        id: "path.traversal-plugin",
        requirements: &["path.traversal"],
        surface: "plugin.frame",
        alone: false,
        run: |lab| Box::pin(traversal(lab)),
    },
    Scenario {
        id: "plugin.peer-stranger",
        requirements: &["plugin.peer"],
        surface: "plugin.frame",
        alone: false,
        run: |lab| Box::pin(peer::stranger(lab)),
    },
    Scenario {
        id: "plugin.peer-swapped",
        requirements: &["plugin.peer"],
        surface: "plugin.frame",
        alone: false,
        run: |lab| Box::pin(peer::swapped(lab)),
    },
    Scenario {
        id: "registry.no-shadow-name",
        requirements: &["registry.no-shadow"],
        surface: "tool.name",
        alone: false,
        run: |lab| Box::pin(shadow(lab)),
    },
];

/// A call that does nothing is answered within this time, also where its plugin has to start.
const SOON: Duration = Duration::from_secs(10);

/// How the target takes plugins.
///
/// # Errors
/// `Unsupported` where the manifest does not say, `NotApplicable` where it says that there are
/// none, `Inconclusive` where the host cannot run one.
pub(super) fn form(lab: &Lab) -> Result<&Plugins, Trouble> {
    let manifest = lab.manifest();
    let Some(form) = &manifest.plugins else {
        return Err(match manifest.unsupported("plugin") {
            Some(reason) => Trouble::NotApplicable(format!("no plugins: {reason}")),
            None => Trouble::Unsupported("the manifest has no [plugins]".to_owned()),
        });
    };
    match form.missing() {
        Some(program) => Err(Trouble::Inconclusive(format!("{program} is not on PATH"))),
        None => Ok(form),
    }
}

/// What a call of a plugin's tool led to.
#[derive(Debug)]
pub(super) struct Told {
    /// The model was asked, and so the call was made.
    pub(super) served: bool,
    /// The user was answered.
    pub(super) answered: bool,
    /// The last tool result that reached the model.
    pub(super) text: Option<String>,
    /// The plugin's own report, where the result is one.
    pub(super) report: Option<Report>,
}

impl Told {
    /// Whether the target sent the plugin a message that holds this text.
    fn saw(&self, text: &str) -> bool {
        let holds = |it: &Report| it.saw.iter().any(|one| one.to_string().contains(text));
        self.report.as_ref().is_some_and(holds)
    }

    /// On one line, for evidence.
    pub(super) fn shown(&self) -> String {
        match &self.text {
            Some(text) => format!("the model was told {}", excerpt(text.as_bytes(), 300)),
            None => "no result reached the model".to_owned(),
        }
    }
}

/// Has the model call a plugin's tool, which does these steps.
pub(super) async fn play(target: &Target, tool: &str, steps: &[Value]) -> Result<Told, Trouble> {
    let mark = random_hex(8);
    let run = target.tool(call(tool, &mark, steps)).await?;
    let report = run.result.as_deref().and_then(|text| Report::of(text, &mark));
    Ok(Told { served: run.served(), answered: run.reply.is_ok(), text: run.result, report })
}

/// Whether a call that does nothing is answered by the plugin itself, soon.
pub(super) async fn works(target: &Target, tool: &str) -> Result<bool, Trouble> {
    match tokio::time::timeout(SOON, play(target, tool, &[])).await {
        Ok(told) => Ok(told?.report.is_some_and(|report| report.made == "genuine")),
        Err(_) => Ok(false),
    }
}

fn names() -> (String, String) {
    (format!("p{}", random_hex(4)), format!("tool_{}", random_hex(4)))
}

/// A target with one plugin that does nothing out of the way, and the name of its tool.
async fn hosted(lab: &Lab) -> Result<(Target, String), Trouble> {
    let (name, tool) = names();
    let options = Options::default().plugin(Guest::new(&name, &tool).install(form(lab)?));
    Ok((lab.instance(options).await?, tool))
}

async fn hang(lab: Lab) -> Result<Finding, Trouble> {
    let form = form(&lab)?;
    let mut finding = Finding::new();
    let ((name, tool), (second, other)) = (names(), names());
    let (one, two) = (Guest::new(&name, &tool), Guest::new(&second, &other));
    let options = Options::default().patch("tool-timeout-2s");
    let target = lab.instance(options.plugin(one.install(form)).plugin(two.install(form))).await?;
    finding.twin(works(&target, &tool).await?, "the first plugin answers");
    finding.twin(works(&target, &other).await?, "the second plugin answers");

    let mut hanging = {
        let (target, tool) = (target.clone(), tool.clone());
        tokio::spawn(async move { play(&target, &tool, &[json!({"hang": true})]).await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let alive = target.alive().await;
    finding.no_effect(alive, format!("health answers while a plugin spins: {alive}"));
    // It is not asked how fast the other is, but whether it waits for the first.
    let (beside, ended) = tokio::select! {
        ended = &mut hanging => (false, Some(ended)),
        answered = works(&target, &other) => (answered?, None),
    };
    finding.no_effect(beside, format!("the other plugin answers meanwhile: {beside}"));
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => tokio::time::timeout(SOON, hanging).await,
    };
    let told = match ended {
        Ok(told) => told.map_err(|error| Trouble::Harness(error.to_string()))??,
        Err(_) => {
            finding.no_effect(false, "the call that hangs was not ended within ten seconds");
            return Ok(finding);
        }
    };
    finding.reached(told.served, "the tool that never ends was called");
    let words = format!("the caller was told that it did not end: {}", told.shown());
    finding.no_effect(told.answered && told.report.is_none(), words);

    // A crash in the middle of a call.
    let told = play(&target, &tool, &[json!({"exit": 3})]).await?;
    finding.reached(told.served, "the tool that crashes was called");
    let words = format!("the caller was told that it crashed: {}", told.shown());
    finding.no_effect(told.answered && told.report.is_none(), words);
    finding.twin(works(&target, &other).await?, "the second plugin answers after both");
    finding.twin(works(&target, &tool).await?, "the first plugin was started again and answers");
    finding.no_effect(target.alive().await, "health answers after both");
    Ok(finding)
}

/// The live processes that descend from another, each with when it started.
fn descendants(of: u32) -> BTreeSet<(u32, u64)> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid else { continue };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent =
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if let Some(parent) = parent {
            parents.push((pid, parent));
        }
    }
    let mut found: BTreeSet<u32> = [of].into();
    loop {
        let before = found.len();
        found.extend(
            parents
                .iter()
                .filter(|(_, up): &&(u32, u32)| found.contains(up))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            break;
        }
    }
    found.remove(&of);
    found.into_iter().filter_map(|pid| Some((pid, born(pid)?))).collect()
}

/// Whether a process runs Node.
fn runs_node(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(program).rsplit('/').next() == Some("node")
}

async fn crash_loop(lab: Lab) -> Result<Finding, Trouble> {
    const CALLS: usize = 9;
    let form = form(&lab)?;
    let mut finding = Finding::new();
    let ((name, tool), (second, other)) = (names(), names());
    let mut one = Guest::new(&name, &tool);
    one.start = vec![json!({"pause": 150}), json!({"exit": 1})];
    let two = Guest::new(&second, &other);
    let options = Options::default().plugin(one.install(form)).plugin(two.install(form));
    let target = lab.instance(options).await?;
    finding.twin(works(&target, &other).await?, "a plugin that does not crash answers");

    let pid = target.instance().pid().await;
    let before = descendants(pid);
    let over = Arc::new(AtomicBool::new(false));
    let looking = {
        let over = Arc::clone(&over);
        tokio::task::spawn_blocking(move || {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                let now = descendants(pid).into_iter().filter(|(pid, _)| runs_node(*pid));
                seen.extend(now);
                std::thread::sleep(Duration::from_millis(30));
            }
            seen
        })
    };
    let mut served = 0;
    for _ in 0..CALLS {
        let told = tokio::time::timeout(SOON * 2, play(&target, &tool, &[])).await;
        let told = told.map_err(|_| Trouble::Target("a call was not answered".to_owned()))??;
        served += usize::from(told.served);
    }
    over.store(true, Ordering::Relaxed);
    let seen = looking.await.map_err(|error| Trouble::Harness(error.to_string()))?;
    let starts = seen.difference(&before).count();
    finding.reached(
        served == CALLS && starts > 0,
        format!("{served} calls of a plugin that ends at once, which was started {starts} times"),
    );
    finding.no_effect(
        starts < CALLS.saturating_sub(2),
        format!("it was started {starts} times for {CALLS} calls: it is given up at some time"),
    );
    finding.twin(works(&target, &other).await?, "the other plugin answers afterwards");
    finding.no_effect(target.alive().await, "health answers afterwards");
    Ok(finding)
}

async fn memory(lab: Lab) -> Result<Finding, Trouble> {
    /// What the bomb takes, and what is too much of it, in MiB.
    const ASKED: u64 = 900;
    const MOST: u64 = 600;
    let mut finding = Finding::new();
    let (target, tool) = hosted(&lab).await?;
    let small = play(&target, &tool, &[json!({"bomb": 8})]).await?;
    let held = small.report.as_ref().and_then(|report| report.step(0)["got"].as_u64());
    finding.twin(held == Some(8), format!("a plugin has 8 MiB where it takes them: {held:?}"));

    let pid = target.instance().pid().await;
    let node = descendants(pid).into_iter().find(|(pid, _)| runs_node(*pid)).map(|(pid, _)| pid);
    let node = node.ok_or_else(|| {
        Trouble::Inconclusive("the process of the plugin cannot be seen".to_owned())
    })?;
    let watch = Watch::start(node);
    let told = play(&target, &tool, &[json!({"bomb": ASKED})]).await?;
    finding.reached(told.served, "the plugin takes memory as long as it gets any");
    let held = told.report.as_ref().and_then(|report| report.step(0)["got"].as_u64());
    let peak = watch.map_or(0, |watch| watch.growth()) >> 20;
    let most = held.unwrap_or_default().max(peak);
    finding.no_effect(most < MOST, format!("it held {held:?} MiB, seen from outside {peak} MiB"));
    finding.no_effect(target.alive().await, "health answers afterwards");
    finding.twin(works(&target, &tool).await?, "the plugin answers afterwards");
    Ok(finding)
}

async fn output(lab: Lab) -> Result<Finding, Trouble> {
    /// Lines of 100 bytes, and what the target may grow by, in bytes.
    const LINES: u64 = 800_000;
    const MOST: u64 = 32 << 20;
    let mut finding = Finding::new();
    let (target, tool) = hosted(&lab).await?;
    let line = "x".repeat(99);
    let few = [json!({"stderr": 1000, "words": line.as_str()})];
    let told = play(&target, &tool, &few).await?;
    finding.twin(told.report.is_some(), "a plugin that prints a thousand lines answers");
    let watch = Watch::start(target.instance().pid().await);
    let watch = watch.ok_or_else(|| {
        Trouble::Inconclusive("the memory of the target cannot be seen".to_owned())
    })?;
    let told = play(&target, &tool, &[json!({"stderr": LINES, "words": line})]).await?;
    finding.reached(told.served, format!("{} MB on the error stream", LINES / 10_000));
    let grew = watch.growth();
    finding.no_effect(grew < MOST, format!("the target grew by {} KiB", grew >> 10));
    finding.no_effect(target.alive().await, "health answers afterwards");
    finding.twin(works(&target, &tool).await?, "the plugin answers afterwards");
    Ok(finding)
}

async fn half(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let (target, tool) = hosted(&lab).await?;
    finding.twin(works(&target, &tool).await?, "the plugin answers");
    for (what, bytes) in [
        ("a header and half a body", b"\x01\0\0\0\0\0\0\0\x40{\"jsonrpc\":\"2.0\",".as_slice()),
        ("half a header", b"\x01\0\0\0"),
    ] {
        let steps = [send(bytes, true), json!({"pause": 25_000})];
        // The time of a tool is 30 seconds: what ends sooner was ended for the frame.
        let told = tokio::time::timeout(SOON, play(&target, &tool, &steps)).await;
        let Ok(told) = told else {
            finding.reached(true, format!("{what} was sent"));
            finding.no_effect(false, format!("{what}: waited for it longer than ten seconds"));
            return Ok(finding);
        };
        let told = told?;
        finding.reached(told.served, format!("{what} was sent, and nothing after it"));
        let words = format!("{what}: the plugin was ended: {}", told.shown());
        finding.no_effect(told.answered && told.report.is_none(), words);
        finding.twin(works(&target, &tool).await?, "the plugin was started again and answers");
    }
    finding.no_effect(target.alive().await, "health answers afterwards");
    Ok(finding)
}

async fn inherits(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let (target, tool) = hosted(&lab).await?;
    let (world, sink) = (target.world(), Sink::tcp(false).await?);
    let mark = format!("mark-{}", random_hex(8));
    world.write(&world.workspace().join("note"), mark.as_bytes(), 0o644)?;
    let (canary, note) = (world.canary_file(), world.workspace().join("note"));
    let made = world.workspace().join("made");
    let steps = [
        json!({"environment": true}),
        json!({"descriptors": true}),
        json!({"read": canary}),
        json!({"read": note}),
        json!({"write": made}),
        json!({"reach": {"host": "127.0.0.1", "port": sink.port(), "say": mark}}),
    ];
    let told = play(&target, &tool, &steps).await?;
    let Some(report) = told.report else {
        finding.twin(false, format!("the plugin answers: {}", told.shown()));
        return Ok(finding);
    };
    finding.twin(true, "the plugin answers");
    finding.reached(told.served, "it looked at what it has");
    let environment = report.step(0).to_string();
    for (what, secret) in
        [("master password", "MASTER"), ("model's key", "SECRET"), ("token", "TOKEN")]
    {
        let secret = target.var(secret);
        let has = !secret.is_empty() && environment.contains(&secret);
        finding.no_effect(!has, format!("the {what} stands in its environment: {has}"));
    }
    let state = world.root().to_string_lossy().into_owned();
    let has = environment.contains(&state);
    finding.no_effect(!has, format!("a path of the target stands in its environment: {has}"));
    let foreign: Vec<String> =
        descriptors(report.step(1)).into_iter().filter(|it| !own(it)).collect();
    finding.no_effect(foreign.is_empty(), format!("descriptors of its host's: {foreign:?}"));
    let got = |index: usize| report.step(index)["got"].as_str().map(str::to_owned);
    let read = got(2);
    finding.no_effect(read.is_none(), format!("a file outside the workspace: {read:?}"));
    let read = got(3);
    finding.no_effect(read.is_none(), format!("a file of the workspace, ungranted: {read:?}"));
    let wrote = made.exists();
    finding.no_effect(!wrote, format!("a file was written into the workspace: {wrote}"));
    let heard = sink.ear().heard(&mark);
    finding.no_effect(!heard, format!("a listener of this machine was reached: {heard}"));
    Ok(finding)
}

fn descriptors(listed: &Value) -> Vec<String> {
    let items = listed.as_array().into_iter().flatten();
    items.filter_map(|item| Some(item.as_str()?.split_once(' ')?.1.to_owned())).collect()
}

/// What Node opens for itself: its events, pipes to itself, its own socket and its standard streams.
fn own(target: &str) -> bool {
    let plain = ["pipe:", "anon_inode:", "socket:", "/dev/null", "/proc/"];
    plain.iter().any(|head| target.starts_with(head))
}

/// The steps that ask for a file of the workspace.
fn asking(method: &str, path: &str) -> [Value; 2] {
    [json!({"ask": method, "with": {"path": path}}), listen(1, 2_000)]
}

/// What a plugin may read has the rules of any path.
async fn traversal(lab: Lab) -> Result<Finding, Trouble> {
    let form = form(&lab)?;
    let read = form.grants.get("read").cloned().ok_or_else(|| {
        Trouble::Unsupported("the manifest has no plugins.grants.read".to_owned())
    })?;
    let mut finding = Finding::new();
    let (name, tool) = names();
    let mut guest = Guest::new(&name, &tool);
    guest.wants.push("read".to_owned());
    guest.grants.push("read".to_owned());
    let target = lab.instance(Options::default().plugin(guest.install(form))).await?;
    let (world, mark) = (target.world(), format!("mark-{}", random_hex(8)));
    world.write(&world.workspace().join("note"), mark.as_bytes(), 0o644)?;
    let told = play(&target, &tool, &asking(&read, "note")).await?;
    finding.twin(told.saw(&mark), format!("it reads in the workspace: {}", told.shown()));
    for path in ["../outside/k", "x/../../outside/k"] {
        let told = play(&target, &tool, &asking(&read, path)).await?;
        finding.reached(told.report.is_some(), format!("it asked for {path}"));
        let has = told.saw(&world.canary());
        finding.no_effect(!has, format!("it read {path}: {has}"));
    }
    Ok(finding)
}

async fn granted(lab: Lab) -> Result<Finding, Trouble> {
    let form = form(&lab)?;
    let read = form.grants.get("read").cloned().ok_or_else(|| {
        Trouble::Unsupported("the manifest has no plugins.grants.read".to_owned())
    })?;
    let mut finding = Finding::new();
    let ((name, tool), (second, other)) = (names(), names());
    let with = |name: &str, tool: &str, wants: &[&str], grants: &[&str]| {
        let mut guest = Guest::new(name, tool);
        guest.wants = wants.iter().map(|it| (*it).to_owned()).collect();
        guest.grants = grants.iter().map(|it| (*it).to_owned()).collect();
        guest.install(form)
    };
    let (third, unasked) = names();
    let options = Options::default()
        .plugin(with(&name, &tool, &["read"], &["read"]))
        .plugin(with(&second, &other, &["read"], &[]))
        .plugin(with(&third, &unasked, &[], &["read"]));
    let target = lab.instance(options).await?;
    let mark = format!("mark-{}", random_hex(8));
    let world = target.world();
    world.write(&world.workspace().join("note"), mark.as_bytes(), 0o644)?;
    let ask = asking(&read, "note");
    let told = play(&target, &tool, &ask).await?;
    let words = format!("the plugin that may read reads: {}", told.shown());
    finding.twin(told.saw(&mark), words);
    for (tool, who) in [(&other, "was not granted it"), (&unasked, "did not declare it")] {
        let told = play(&target, tool, &ask).await?;
        finding.reached(told.report.is_some(), format!("the plugin that {who} asked"));
        let has = told.saw(&mark);
        finding.no_effect(!has, format!("the plugin that {who} read: {has}"));
    }
    // A declaration that wants more than the operator accepts.
    let (name, tool) = names();
    let mut looser = Guest::new(&name, &tool);
    looser.level = "relaxed".to_owned();
    let started = lab.instance(Options::default().plugin(looser.install(form))).await;
    let runs = match started {
        Ok(target) => target.alive().await && works(&target, &tool).await?,
        Err(Trouble::Target(_)) => false,
        Err(trouble) => return Err(trouble),
    };
    finding.no_effect(!runs, format!("a plugin with a looser sandbox than accepted runs: {runs}"));
    Ok(finding)
}

async fn shadow(lab: Lab) -> Result<Finding, Trouble> {
    let form = form(&lab)?;
    let mut finding = Finding::new();
    let (name, tool) = names();
    let options = Options::default().plugin(Guest::new(&name, &tool).install(form));
    let target = lab.instance(options).await?;
    finding.twin(works(&target, &tool).await?, "a plugin's tool with a name of its own answers");
    let read = lab.manifest().tools.get("read").map(|tool| tool.name.clone());
    let read = read.ok_or_else(|| Trouble::Unsupported("the manifest has no tools.read".into()))?;
    let (name, _) = names();
    let options = Options::default().plugin(Guest::new(&name, &read).install(form));
    finding.reached(true, format!("a plugin declares a tool named {read}"));
    let taken = match lab.instance(options).await {
        // One that ends at once may have been taken for another that got its port.
        Ok(target) => target.alive().await && works(&target, &read).await?,
        // To refuse the whole start is an answer.
        Err(Trouble::Target(words)) => {
            finding.note(format!("the target does not start: {words}"));
            false
        }
        Err(trouble) => return Err(trouble),
    };
    finding.no_effect(!taken, format!("the plugin answers for {read}: {taken}"));
    // Two plugins of one tool name: neither may answer for the other.
    let ((first, both), (second, _)) = (names(), names());
    let mut late = Guest::new(&second, &both);
    late.made = "late".to_owned();
    let options = Options::default()
        .plugin(Guest::new(&first, &both).install(form))
        .plugin(late.install(form));
    let taken = match lab.instance(options).await {
        Ok(target) if !target.alive().await => false,
        Ok(target) => play(&target, &both, &[]).await?.report.is_some_and(|it| it.made == "late"),
        Err(Trouble::Target(_)) => false,
        Err(trouble) => return Err(trouble),
    };
    finding.no_effect(!taken, format!("the later of two plugins answers for the first: {taken}"));
    Ok(finding)
}
