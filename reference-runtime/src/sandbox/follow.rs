//! A started run until it ends, its time is over or it is told to stop: what it printed, and which of
//! the three it was. It must never know how a run was started, nor end one.

use std::{io, process::ExitStatus};

use tokio::{
    process::{ChildStderr, ChildStdout},
    time::timeout,
};

use super::{
    output::{Captured, drain, harmless},
    plan::Plan,
    run::{Job, NOT_BUILT, Refusal, Stop},
};
use crate::audit::Rejection;

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    By(ExitStatus),
    /// Not yet: it was told to end, or its time is over.
    Not {
        /// Whether it was told to.
        told: bool,
    },
}

/// What was seen of a run.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) ended: Ended,
    pub(super) stdout: Captured,
    pub(super) stderr: Captured,
}

/// Reads the output and waits for the end as `wait` tells it, at most for the job's time or until it
/// is told to stop.
pub(super) async fn follow(
    (out, err): (Option<ChildStdout>, Option<ChildStderr>),
    wait: impl Future<Output = io::Result<ExitStatus>>,
    plan: &Plan,
    job: &Job,
    stop: Stop,
) -> Result<Followed, Rejection> {
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    let limit = plan.output_bytes;
    let finished = {
        let work = async {
            let first = async {
                if let Some(stream) = out {
                    let to = job.pass_on.then(tokio::io::stdout);
                    let plain = harmless(&io::stdout(), plan.plain_terminal);
                    drain(stream, limit, &mut stdout, to, plain).await;
                }
            };
            let second = async {
                if let Some(stream) = err {
                    let to = job.pass_on.then(tokio::io::stderr);
                    let plain = harmless(&io::stderr(), plan.plain_terminal);
                    drain(stream, limit, &mut stderr, to, plain).await;
                }
            };
            let (status, (), ()) = tokio::join!(wait, first, second);
            status
        };
        tokio::select! {
            finished = timeout(job.timeout, work) => finished.map_err(|_| false),
            _ = stop => Err(true),
        }
    };
    let ended = match finished {
        Ok(Ok(status)) => Ended::By(status),
        Ok(Err(error)) => {
            return Err(Refusal::new(NOT_BUILT, format!("cannot wait: {error}")).reject());
        }
        Err(told) => Ended::Not { told },
    };
    Ok(Followed { ended, stdout, stderr })
}
