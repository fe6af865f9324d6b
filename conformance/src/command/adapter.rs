//! `clawproof adapter check -- ARGV`: says frame by frame whether an adapter speaks the protocol.
//! It must never look into a frame.

use std::process::ExitCode;

use clawproof::scenario::adapter;
use clawproof::verdict::Exit;

use crate::{Said, usage};

/// What `adapter check` needs.
#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    /// The adapter's command line.
    #[arg(last = true, required = true, value_name = "ARGV")]
    argv: Vec<String>,
}

/// Checks an adapter: exit 0 where every frame was right, 1 where one was wrong, 2 where it could
/// not be started.
pub(crate) fn check(args: &CheckArgs) -> Said {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| (Exit::Harness, format!("no runtime: {error}")))?;
    let mut faults = 0_usize;
    let mut say = |step: adapter::Step| {
        let word = match step.right {
            Some(true) => "ok",
            Some(false) => "FAULT",
            None => "note",
        };
        faults += usize::from(step.right == Some(false));
        println!("{word:5}  {:16} {}", step.frame, step.sentence);
    };
    let checked = runtime.block_on(adapter::check(&args.argv, &mut say));
    match checked {
        Err(adapter::CheckError::Start(words)) => Err(usage(words)),
        Err(adapter::CheckError::Suite(words)) => Err((Exit::Harness, words)),
        Ok(()) if faults == 0 => {
            println!("the adapter speaks {}", clawproof::driver::adapter::PROTOCOL);
            Ok(ExitCode::SUCCESS)
        }
        Ok(()) => {
            let frames = if faults == 1 { "frame was" } else { "frames were" };
            Err((
                Exit::Failed,
                format!("{faults} {frames} wrong; docs/adapter.md has the protocol"),
            ))
        }
    }
}
