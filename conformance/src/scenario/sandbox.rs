//! Layer 3 as a whole, by its effects: which level is in force without configuration, what each
//! level lets through, what happens when the helper is gone, what outlives a run, and whether the
//! target says so truly. The single boundaries are the probes' matter.

use std::time::Duration;

use tokio::net::TcpListener;

use crate::driver::DriverError;
use crate::target::world::random_hex;

use super::{Finding, Lab, Options, Scenario, Target, ToolRun, Trouble};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "sandbox.default-strict",
        requirements: &["sandbox.default-strict"],
        surface: "sandbox.process",
        alone: false,
        run: |lab| Box::pin(default_strict(lab)),
    },
    Scenario {
        id: "sandbox.levels",
        requirements: &["sandbox.levels"],
        surface: "sandbox.process",
        alone: false,
        run: |lab| Box::pin(levels(lab)),
    },
    Scenario {
        id: "sandbox.looser-per-tool",
        requirements: &["sandbox.looser-per-tool"],
        surface: "sandbox.process",
        alone: false,
        run: |lab| Box::pin(looser_per_tool(lab)),
    },
    Scenario {
        id: "sandbox.fail-closed-helper",
        requirements: &["sandbox.fail-closed"],
        surface: "sandbox.process",
        alone: false,
        run: |lab| Box::pin(fail_closed(lab)),
    },
    Scenario {
        id: "sandbox.honest-status",
        requirements: &["sandbox.honest"],
        surface: "system.status",
        alone: false,
        run: |lab| Box::pin(honest_status(lab)),
    },
    Scenario {
        id: "sandbox.honest-doctor",
        requirements: &["sandbox.honest"],
        surface: "system.status",
        alone: false,
        run: |lab| Box::pin(honest_doctor(lab)),
    },
    Scenario {
        id: "sandbox.reap-after-run",
        requirements: &["sandbox.reap", "sandbox.proc.orphan-exit"],
        surface: "sandbox.process",
        alone: false,
        run: |lab| Box::pin(reap_after_run(lab)),
    },
    Scenario {
        id: "sandbox.reap-after-limit",
        requirements: &["sandbox.reap", "sandbox.proc.timeout-setsid"],
        surface: "sandbox.process",
        alone: false,
        run: |lab| Box::pin(reap_after_limit(lab)),
    },
    Scenario {
        id: "sandbox.reap-with-launcher",
        requirements: &["sandbox.reap", "sandbox.proc.orphan-launcher"],
        surface: "sandbox.process",
        alone: false,
        run: |lab| Box::pin(reap_with_launcher(lab)),
    },
    Scenario {
        id: "sandbox.usable-work",
        requirements: &["sandbox.usable"],
        surface: "sandbox.process",
        alone: false,
        run: |lab| Box::pin(usable_work(lab)),
    },
];

/// What three actions inside did, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// A file in the workspace was written, so the command ran.
    pub(super) inside: bool,
    /// A file outside was written.
    pub(super) outside: bool,
    /// A loopback listener of the suite's received the nonce.
    pub(super) network: bool,
}

impl Seen {
    /// The level that behaves so, in the words of the catalogue; `None` if none does.
    fn level(self) -> Option<&'static str> {
        match (self.inside, self.outside, self.network) {
            (true, false, false) => Some("strict"),
            (true, false, true) => Some("relaxed"),
            (true, true, true) => Some("none"),
            _ => None,
        }
    }
}

/// Lets the exec tool write inside, write outside and dial out, and looks which of it happened.
pub(super) async fn look(target: &Target) -> Result<Seen, Trouble> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let nonce = random_hex(8);
    let inside = target.world().workspace().join(format!("inside-{nonce}"));
    let outside = target.world().outside().join(format!("outside-{nonce}"));
    // bash dials without any further program; a refused dial must not end the script.
    let script = format!(
        "echo {nonce} > '{}'; echo {nonce} > '{}'; (echo {nonce} > /dev/tcp/127.0.0.1/{port})",
        inside.display(),
        outside.display(),
    );
    let heard = async {
        use tokio::io::AsyncReadExt as _;
        let (stream, _) = listener.accept().await.ok()?;
        let mut text = String::new();
        let mut limited = stream.take(64);
        tokio::time::timeout(Duration::from_secs(2), limited.read_to_string(&mut text))
            .await
            .ok()?
            .ok()?;
        Some(text.trim() == nonce)
    };
    let run = async {
        let run = play(target, "bash", &script).await;
        // A dial that came in is in the listener's queue by now.
        tokio::time::sleep(Duration::from_millis(100)).await;
        run
    };
    let network = tokio::select! {
        biased;
        heard = heard => heard.unwrap_or(false),
        ran = run => { ran?; false }
    };
    if network {
        // The run may still be under way: its effects on files come before the dial.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Seen { inside: inside.exists(), outside: outside.exists(), network })
}

/// Runs a script from a file in the workspace: an agent may look through its command lines, and it
/// is its sandbox that is asked.
async fn play(target: &Target, shell: &str, script: &str) -> Result<ToolRun, Trouble> {
    let path = target.world().workspace().join(format!("script-{}", random_hex(8)));
    target.world().write(&path, script.as_bytes(), 0o644)?;
    let run = target.tool(target.exec_call(&[shell, &path.to_string_lossy()])?).await?;
    let silent = matches!(run.reply.as_ref().map_err(|it| &**it), Err(DriverError::Timeout(_)));
    if silent && run.exchanges.is_empty() {
        // Nothing was tried, so nothing is known of a boundary.
        return Err(Trouble::Inconclusive("the agent did not ask its model in time".to_owned()));
    }
    Ok(run)
}

async fn default_strict(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default()).await?;
    let seen = look(&target).await?;
    finding.reached(seen.inside, "the command ran and wrote in the workspace");
    finding.twin(seen.inside, "work inside the workspace is allowed");
    finding
        .no_effect(!seen.outside && !seen.network, format!("with no level configured: {seen:?}"));
    target.back(&finding);
    Ok(finding)
}

async fn levels(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    for (level, patch) in [
        ("none", "sandbox-exec-none"),
        ("relaxed", "sandbox-relaxed"),
        ("strict", "sandbox-strict"),
    ] {
        let target = lab.lent(Options::default().patch(patch)).await?;
        let seen = look(&target).await?;
        finding.reached(seen.inside, format!("at {level} the command ran"));
        finding.twin(
            level == "strict" || seen.network,
            format!("at {level} what is allowed works: {seen:?}"),
        );
        finding.no_effect(
            level == "none" || seen.level() == Some(level),
            format!("at {level} what is forbidden does not: {seen:?}"),
        );
        if level == "none" {
            finding.control(
                seen.level() == Some("none"),
                format!("the same command without a sandbox: {seen:?}"),
            );
        }
        target.back(&finding);
    }
    Ok(finding)
}

async fn looser_per_tool(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.lent(Options::default().patch("sandbox-exec-relaxed")).await?;
    let named = look(&target).await?;
    finding.reached(named.inside, "the command ran");
    finding.twin(
        named.level() == Some("relaxed"),
        format!("the tool that the configuration names is looser: {named:?}"),
    );
    target.back(&finding);
    let target = lab.instance(Options::default().patch("sandbox-read-relaxed")).await?;
    let other = look(&target).await?;
    finding.no_effect(
        other.level() == Some("strict"),
        format!("with another tool named, this one stays strict: {other:?}"),
    );
    finding.control(named.network, "the same dial arrives where the tool is named");
    Ok(finding)
}

async fn fail_closed(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let whole = lab.lent(Options::default()).await?;
    let sound = look(&whole).await?;
    finding.twin(sound.inside, "with its helper in place the tool runs");
    whole.back(&finding);
    let target = lab.instance(Options::default().environment("without-sandbox-helper")).await?;
    let run = target.tool(target.exec_call(&["/bin/true"])?).await?;
    finding.reached(run.served(), "the model asked for the tool");
    let seen = look(&target).await?;
    finding.no_effect(
        !seen.inside && !seen.outside && !seen.network,
        format!("with its helper hidden the tool does not run: {seen:?}"),
    );
    finding.no_effect(target.alive().await, "and the target still answers");
    Ok(finding)
}

async fn honest_status(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    for patch in ["sandbox-relaxed", "sandbox-strict"] {
        let target = lab.lent(Options::default().patch(patch)).await?;
        compare(&mut finding, &target, patch).await?;
        target.back(&finding);
    }
    let target = lab.lent(Options::default()).await?;
    compare(&mut finding, &target, "its own configuration").await?;
    target.back(&finding);
    Ok(finding)
}

/// What the diagnosis on the command line says, beside what a run under the same configuration does.
async fn honest_doctor(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    for patch in ["sandbox-relaxed", "sandbox-strict"] {
        let target = lab.lent(Options::default().patch(patch)).await?;
        let ended = target.command("doctor", &[], None).await?;
        let said = serde_json::from_slice(&ended.stdout).ok().and_then(|it| effective(&it));
        let seen = look(&target).await?;
        finding.reached(seen.inside, format!("with {patch} the command ran"));
        finding.twin(said.is_some(), format!("with {patch} the diagnosis names a level"));
        finding.no_effect(
            said.as_deref() == seen.level(),
            format!("with {patch} it names {said:?}; seen from outside: {seen:?}"),
        );
        target.back(&finding);
    }
    // Where nothing can be contained, no level may be claimed.
    let helpless = Options::default().environment("without-sandbox-helper");
    let target = lab.instance(helpless).await?;
    let ended = target.command("doctor-without-helper", &[], None).await?;
    let said = serde_json::from_slice(&ended.stdout).ok().and_then(|it| effective(&it));
    let levels = ["strict", "relaxed"];
    let claims = said.as_deref().is_some_and(|said| levels.contains(&said));
    finding.no_effect(!claims, format!("without its helper the diagnosis names {said:?}"));
    Ok(finding)
}

/// The text of the first member `effective`, at any depth.
fn effective(value: &serde_json::Value) -> Option<String> {
    let fields = value.as_object()?;
    let own = fields.get("effective").and_then(|it| it.as_str()).map(str::to_owned);
    own.or_else(|| fields.values().find_map(effective))
}

async fn compare(finding: &mut Finding, target: &Target, how: &str) -> Result<(), Trouble> {
    let reply = target.call("status", &[]).await?;
    let said = target.rpc().pick("status", &reply);
    let seen = look(target).await?;
    finding.reached(seen.inside, format!("with {how} the command ran"));
    finding.twin(said.is_some(), format!("with {how} it reports a level"));
    finding.no_effect(
        said.as_deref() == seen.level(),
        format!("with {how} it reports {said:?}; seen from outside: {seen:?}"),
    );
    Ok(())
}

/// A process that leaves its session and writes a beat every 50 ms for at most a minute.
fn heart(file: &str) -> String {
    format!(
        "setsid sh -c 'i=0; while [ $i -lt 1200 ]; do echo $i > {file}; i=$((i+1)); sleep 0.05; \
         done' >/dev/null 2>&1 </dev/null &"
    )
}

/// Whether the file's content still changes within a second.
async fn beats(target: &Target, file: &str) -> bool {
    let path = target.world().workspace().join(file);
    let read = || std::fs::read(&path).unwrap_or_default();
    let before = read();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if read() != before {
            return true;
        }
    }
    false
}

async fn until_it_beats(target: &Target, file: &str, seconds: u32) -> bool {
    let path = target.world().workspace().join(file);
    for _ in 0..20 * seconds {
        if path.exists() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

async fn reap_after_run(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default()).await?;
    let mut finding = Finding::new();
    let script = format!("{} sleep 0.5; echo done > finished", heart("beat"));
    play(&target, "sh", &script).await?;
    finding
        .reached(until_it_beats(&target, "beat", 10).await, "a process of its own session began");
    finding.twin(
        target.world().workspace().join("finished").exists(),
        "the run itself came to its end",
    );
    finding.no_effect(!beats(&target, "beat").await, "after the run its heart has stopped");
    Ok(finding)
}

async fn reap_after_limit(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default().patch("tool-timeout-2s")).await?;
    let mut finding = Finding::new();
    let script = format!("{} exec sleep 60", heart("beat"));
    let run = tokio::time::timeout(Duration::from_secs(20), play(&target, "sh", &script)).await;
    finding
        .reached(until_it_beats(&target, "beat", 10).await, "a process of its own session began");
    finding.no_effect(run.is_ok(), "the run was ended by the tool's time limit");
    finding.no_effect(!beats(&target, "beat").await, "after the limit its heart has stopped");
    let quick = "sleep 0.1; echo done > finished";
    play(&target, "sh", quick).await?;
    finding.twin(
        target.world().workspace().join("finished").exists(),
        "a run within the limit comes to its end",
    );
    Ok(finding)
}

async fn reap_with_launcher(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default()).await?;
    let mut finding = Finding::new();
    let script = format!("{} echo began > began; exec sleep 20", heart("beat"));
    let running = tokio::spawn({
        let target = target.clone();
        async move { play(&target, "sh", &script).await.is_ok() }
    });
    // An agent may be a program that is started for the message.
    if !until_it_beats(&target, "beat", 60).await {
        running.abort();
        let words = "no process was seen to run in the workspace within a minute";
        return Err(Trouble::Inconclusive(words.to_owned()));
    }
    let began = beats(&target, "beat").await;
    finding.reached(began, "a process of its own session beats while the tool runs");
    target.instance().kill_server().await;
    running.abort();
    tokio::time::sleep(Duration::from_millis(300)).await;
    finding.no_effect(
        !beats(&target, "beat").await,
        "after the server was killed its heart has stopped",
    );
    finding.twin(
        target.world().workspace().join("began").exists(),
        "the tool had run in the workspace",
    );
    Ok(finding)
}

async fn usable_work(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.instance(Options::default()).await?;
    let mut finding = Finding::new();
    let works: &[(&str, &str, &str)] = &[
        (
            "/usr/bin/git",
            "git commit",
            "git init -q r && cd r && echo a > a && git add a && git -c user.name=n \
             -c user.email=n@example.org commit -q -m m && git log --oneline > ../made-git",
        ),
        (
            "/usr/bin/gcc",
            "a compiler",
            "printf 'int main(){return 7;}' > m.c && gcc m.c -o m && { ./m; test $? = 7; } \
             && echo ok > made-gcc",
        ),
        (
            "/usr/bin/python3",
            "Python",
            "/usr/bin/python3 -c 'import json,threading; t=threading.Thread(target=lambda: \
             open(\"made-python3\",\"w\").write(json.dumps([1]))); t.start(); t.join()'",
        ),
        (
            "/bin/sh",
            "a tree of 10,000 files",
            "mkdir t && cd t && i=0; while [ $i -lt 100 ]; do mkdir d$i; cd d$i; j=0; \
             while [ $j -lt 100 ]; do : > f$j; j=$((j+1)); done; cd ..; i=$((i+1)); done; \
             find . -type f | wc -l > ../made-sh",
        ),
    ];
    let mut ran = 0;
    for (program, what, script) in works {
        if !std::path::Path::new(program).exists() {
            finding.note(format!("not run: {what}: this host has no {program}"));
            continue;
        }
        ran += 1;
        let run = play(&target, "sh", script).await?;
        let name = program.rsplit('/').next().unwrap_or_default();
        let said = run.result.unwrap_or_default();
        finding.twin(
            made(&target, name).await,
            format!("{what} works: {}", crate::driver::excerpt(said.as_bytes(), 300)),
        );
    }
    finding.reached(ran >= 2, format!("{ran} kinds of work were tried"));
    // The measure itself: work that cannot succeed, looked at in the same way, is seen to fail.
    let vain = "/usr/bin/no-such-compiler m.c && echo ok > made-nothing";
    play(&target, "sh", vain).await?;
    let made = target.world().workspace().join("made-nothing").exists();
    finding.control(!made, "work that fails is told from work that succeeds");
    // Nothing is attacked here: the other scenarios of this room show that the sandbox is there.
    let seen = look(&target).await?;
    finding.no_effect(seen.level() == Some("strict"), format!("the same sandbox: {seen:?}"));
    Ok(finding)
}

/// Whether a piece of work left its file; an agent may go on before a long one has ended.
async fn made(target: &Target, name: &str) -> bool {
    let path = target.world().workspace().join(format!("made-{name}"));
    for _ in 0..50 {
        if std::fs::read(&path).is_ok_and(|bytes| !bytes.is_empty()) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}
