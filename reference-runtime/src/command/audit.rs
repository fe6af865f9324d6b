//! `audit`: looks at the log, and never changes it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
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
            "the audit log is broken at line {}: {}",
            broken.line, broken.reason
        ))),
    }
}

pub(crate) fn tail(arguments: &TailArguments) -> Result<ExitCode, Failure> {
    let failed =
        |error: std::io::Error| Failure::Failed(format!("the audit log cannot be read: {error}"));
    let path = arguments.state.path()?.join("audit").join("audit.jsonl");
    let mut last = VecDeque::new();
    for line in BufReader::new(File::open(path).map_err(failed)?).lines() {
        last.push_back(line.map_err(failed)?);
        if last.len() > arguments.lines {
            last.pop_front();
        }
    }
    for line in last {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
