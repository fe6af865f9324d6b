//! The canary key of a run must reach the model and nothing else. The scenarios bring a target to
//! speak (answers, errors, tool output, its log, its processes) and look for the key in every
//! form. They must never take `[REDACTED]` for a proof: only the key's absence counts.

mod memory;
#[cfg(target_os = "linux")]
mod prompt;

use serde_json::json;

use crate::sensor::leak::found;
use crate::stage::model::{Answer, ToolCall};

use super::{Finding, Lab, Options, Scenario, Target, Trouble};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "secret.redacted-short",
        requirements: &["secret.redacted"],
        surface: "log.output",
        alone: false,
        run: |lab| Box::pin(memory::redacted_short(lab)),
    },
    Scenario {
        id: "secret.zeroed-after-delete",
        requirements: &["secret.zeroed"],
        surface: "process.memory",
        alone: false,
        run: |lab| Box::pin(memory::zeroed(lab)),
    },
    Scenario {
        id: "secret.no-leak-answers",
        requirements: &["secret.no-leak"],
        surface: "gateway.request",
        alone: false,
        run: |lab| Box::pin(answers(lab)),
    },
    Scenario {
        id: "secret.no-leak-model-echo",
        requirements: &["secret.no-leak"],
        surface: "model.prose",
        alone: false,
        run: |lab| Box::pin(model_echo(lab)),
    },
    Scenario {
        id: "secret.no-leak-tool",
        requirements: &["secret.no-leak"],
        surface: "tool.result",
        alone: false,
        run: |lab| Box::pin(tool_environment(lab)),
    },
    #[cfg(target_os = "linux")]
    Scenario {
        id: "secret.no-leak-prompt",
        requirements: &["secret.no-leak"],
        surface: "command.line",
        alone: false,
        run: |lab| Box::pin(prompt::prompt(lab)),
    },
    Scenario {
        id: "secret.no-leak-process",
        requirements: &["secret.no-leak"],
        surface: "process.resources",
        alone: false,
        run: |lab| Box::pin(process_list(lab)),
    },
];

/// What must not leak in a run.
const SECRETS: &[&str] = &["SECRET", "MASTER", "TOKEN"];

/// Sets the leg: none of the run's secrets stands in these bytes.
fn clean(finding: &mut Finding, target: &Target, place: &str, bytes: &[u8]) {
    for secret in SECRETS {
        let seen = found(target.var(secret).as_bytes(), bytes);
        finding.no_effect(
            seen.is_empty(),
            format!("{secret} in {place} ({} bytes): {seen:?}", bytes.len()),
        );
    }
}

/// The model has been shown the key, so the key is in the target's hands.
async fn key_in_use(finding: &mut Finding, target: &Target) -> Result<(), Trouble> {
    let run = target.answer(Vec::new()).await?;
    let secret = target.var("SECRET");
    let shown = run
        .exchanges
        .iter()
        .flat_map(|exchange| &exchange.headers)
        .any(|(_, value)| value.contains(&secret));
    finding.twin(shown, "the model was shown the key");
    Ok(())
}

async fn answers(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.lent(Options::default()).await?;
    let mut finding = Finding::new();
    key_in_use(&mut finding, &target).await?;
    let session = target.session().await?;
    let arguments = json!({"path": "nowhere"}).to_string();
    let calls: &[(&str, &[(&str, &str)])] = &[
        ("session-list", &[]),
        ("session-history", &[("SESSION", &session)]),
        ("session-history", &[("SESSION", "unknown")]),
        ("tools-list", &[]),
        ("tools-execute", &[("NAME", "nothing"), ("ARGUMENTS", &arguments)]),
        ("credentials-list", &[]),
        ("credentials-delete", &[("NAME", "nothing")]),
        ("config-get", &[]),
        ("status", &[]),
        ("version", &[]),
    ];
    let mut heard = 0_usize;
    for (name, vars) in calls {
        if let Ok(reply) = target.call(name, vars).await {
            heard += 1;
            clean(&mut finding, &target, &format!("the answer to {name}"), &reply.body);
        }
    }
    finding.reached(heard > 2, format!("{heard} calls were answered"));
    everything_written(&mut finding, &target).await;
    target.back(&finding);
    Ok(finding)
}

async fn model_echo(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.lent(Options::default()).await?;
    let mut finding = Finding::new();
    key_in_use(&mut finding, &target).await?;
    let secret = target.var("SECRET");
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let refusal = json!({"error": {"message": format!("Incorrect API key provided: {secret}")}});
    let echoes = [
        ("prose", Answer::Text(format!("your key is {secret}").into_bytes())),
        ("prose in hex", Answer::Text(format!("your key is {hex}").into_bytes())),
        ("a refusal", Answer::Verbatim { status: 401, body: refusal.to_string().into_bytes() }),
    ];
    let mut reached = true;
    for (what, answer) in echoes {
        let run = target.answer(vec![answer]).await?;
        reached &= run.served();
        match run.reply {
            Ok(reply) => {
                let place = format!("the answer after {what} with the key");
                clean(&mut finding, &target, &place, &reply.body);
            }
            Err(error) => {
                finding.note(format!("no answer after {what} with the key: {error}"));
            }
        }
    }
    finding.reached(reached, "the model's answers with the key were fetched");
    everything_written(&mut finding, &target).await;
    target.back(&finding);
    Ok(finding)
}

async fn tool_environment(lab: Lab) -> Result<Finding, Trouble> {
    let target = lab.lent(Options::default()).await?;
    let mut finding = Finding::new();
    key_in_use(&mut finding, &target).await?;
    let looks: [&[&str]; 3] = [
        &["/usr/bin/env"],
        &["/bin/sh", "-c", "cat /proc/self/environ /proc/1/environ /proc/[0-9]*/environ"],
        &["/bin/sh", "-c", "cat /proc/[0-9]*/cmdline"],
    ];
    let mut came_back = true;
    for look in looks {
        let run = target.tool(target.exec_call(look)?).await?;
        came_back &= run.result.is_some();
        let text = run.result.unwrap_or_default();
        clean(&mut finding, &target, &format!("the output of {look:?}"), text.as_bytes());
    }
    finding.reached(came_back, "the tool ran and its output came back to the model");
    // A tool that reads the key from a file of the workspace must not carry it into the log.
    let secret = target.var("SECRET");
    let carried: ToolCall = target.exec_call(&["/usr/bin/printf", "%s", &secret])?;
    target.tool(carried).await?;
    everything_written(&mut finding, &target).await;
    target.back(&finding);
    Ok(finding)
}

async fn process_list(lab: Lab) -> Result<Finding, Trouble> {
    if !cfg!(target_os = "linux") {
        return Err(Trouble::NotApplicable("reads /proc, which is Linux's".to_owned()));
    }
    let target = lab.lent(Options::default()).await?;
    let mut finding = Finding::new();
    key_in_use(&mut finding, &target).await?;
    let pid = target.instance().pid().await;
    let mut seen = 0_usize;
    for name in ["cmdline", "environ"] {
        if let Ok(bytes) = std::fs::read(format!("/proc/{pid}/{name}")) {
            seen += bytes.len();
            clean(&mut finding, &target, &format!("/proc/PID/{name} of the server"), &bytes);
        }
    }
    finding.reached(seen > 0, "the server's command line could be read");
    target.back(&finding);
    Ok(finding)
}

/// What the target wrote: its standard streams and its audit log.
async fn everything_written(finding: &mut Finding, target: &Target) {
    let output = target.instance().output().await;
    clean(finding, target, "its standard output and error", &output);
    if let Ok(path) = target.file("audit") {
        let log = std::fs::read(path).unwrap_or_default();
        clean(finding, target, "its audit log", &log);
    }
}
