//! `audit`: looks at the log, and never changes it.

use std::process::ExitCode;

use clawproof_runtime::audit;

use super::{Failure, State};

#[derive(clap::Args)]
pub(crate) struct TailArguments {
    #[command(flatten)]
    state: State,
    /// How many records
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: usize,
}

pub(crate) fn verify(state: &State) -> Result<ExitCode, Failure> {
    match audit::verify(&state.path()?) {
        Ok(verified) => {
            println!("{} records, the chain is whole, head {}", verified.records, verified.head);
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => Err(Failure::Failed(format!(
            "the audit log is broken at record {}: {}",
            broken.line, broken.reason
        ))),
    }
}

pub(crate) fn tail(arguments: &TailArguments) -> Result<ExitCode, Failure> {
    let last = audit::tail(&arguments.state.path()?, arguments.lines)
        .map_err(|error| Failure::Failed(format!("the audit log cannot be read: {error}")))?;
    for line in last {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
