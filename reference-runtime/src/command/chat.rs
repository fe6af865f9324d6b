//! `chat`: one message to the agent, without a gateway. The text passes the same door.

use std::path::PathBuf;
use std::process::ExitCode;

use clawproof_runtime::audit::{Correlation, Redactor};
use clawproof_runtime::boundary::text;
use clawproof_runtime::vault::MasterPassword;

use super::{Failure, State, configuration, log, parts, serve};

const SUBJECT: &str = "operator";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to say
    text: String,
    /// The configuration file, openclaw.json [default: none, every setting at its default]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    state: State,
    /// The one folder that tools work in; overrides the configuration
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
}

pub(crate) fn run(
    arguments: Arguments,
    password: Option<MasterPassword>,
) -> Result<ExitCode, Failure> {
    let redactor = Redactor::new();
    log::start(&redactor, "warn");
    let config = configuration(arguments.config.as_deref())?;
    let config = parts::with_workspace(config, arguments.workspace)?;
    let text = text::message(arguments.text, &config.limits)
        .map_err(|rejection| Failure::Asked(rejection.to_string()))?;
    let state = arguments.state.make()?;
    let runtime = serve::runtime()?;
    let _entered = runtime.enter();
    let agent = parts::build(&config, &state, password, &redactor)?.agent;
    let reply = runtime.block_on(async {
        let session = agent.create(SUBJECT).await?;
        let reply = agent.message(SUBJECT, &session, text, Vec::new(), &Correlation::new()).await;
        reply.map_err(|failure| failure.rejection)
    })?;
    for call in &reply.calls {
        let by = call.requirement.map(|id| format!(" by {id}")).unwrap_or_default();
        eprintln!("[{} {:?}{by}]", call.name, call.outcome);
    }
    println!("{}", reply.reply);
    Ok(ExitCode::SUCCESS)
}
