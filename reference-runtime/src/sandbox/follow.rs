//! A started run until it ends, its time is over or it is told to stop: what it printed, and which of
//! the three it was. It must never know how a run was started, nor end one.

use std::{io, process::ExitStatus};

use tokio::{
    io::AsyncReadExt,
    process::{ChildStderr, ChildStdout},
    sync::Notify,
    time::timeout,
};

use super::{
    output::{Captured, drain, harmless},
    plan::Plan,
    run::{Job, NOT_BUILT, Refusal, Stop},
};
use crate::{audit::Rejection, requirement};

/// The most bytes that one output stream of a run that stays may print before it is ended.
const MOST: u64 = 4 << 20;

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
    // What a tool prints is read to its end; what stays could print for ever.
    let bounded = job.stays.is_some() && requirement::PLUGIN_PROCESS.enforced();
    let most = if bounded { MOST } else { u64::MAX };
    let flood = Notify::new();
    let full = |of: &Captured| {
        if of.dropped.saturating_add(of.bytes.len() as u64) >= most {
            flood.notify_one();
        }
    };
    let finished = {
        let work = async {
            let first = async {
                if let Some(stream) = out {
                    let to = job.pass_on.then(tokio::io::stdout);
                    let plain = harmless(&io::stdout(), plan.plain_terminal);
                    drain(stream.take(most), limit, &mut stdout, to, plain).await;
                    full(&stdout);
                }
            };
            let second = async {
                if let Some(stream) = err {
                    let to = job.pass_on.then(tokio::io::stderr);
                    let plain = harmless(&io::stderr(), plan.plain_terminal);
                    drain(stream.take(most), limit, &mut stderr, to, plain).await;
                    full(&stderr);
                }
            };
            let (status, (), ()) = tokio::join!(wait, first, second);
            status
        };
        tokio::select! {
            finished = timeout(job.timeout, work) => finished.map_err(|_| false),
            _ = stop => Err(true),
            () = flood.notified() => Err(false),
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
