//! `ci`: what the pipeline runs on every operating system. Knows the other commands by name only;
//! what passes here passes there, because it is the same call.

use clap::Args;

use crate::conformance;
use crate::deny;
use crate::failure::Failure;
use crate::summary::{Ended, Summary};
use crate::test;
use crate::workspace::Workspace;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    deny: deny::Options,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let mut summary = Summary::default();
    summary.step("test", || {
        test::run(workspace, &test::Options::with(options.deny.clone()))?;
        Ok(Ended::Passed(String::new()))
    });
    if cfg!(target_os = "linux") {
        summary.step("reference", || {
            conformance::run(workspace, &conformance::Options::of("reference"))?;
            Ok(Ended::Passed("certified for what is covered".into()))
        });
        summary.step("naive line", || naive(workspace));
    } else {
        // This system's own probes, each with its control, against the sandbox of the reference.
        summary.step("sandbox", || {
            conformance::run(workspace, &conformance::Options::of("reference-launcher"))?;
            Ok(Ended::Passed("certified for what is covered".into()))
        });
        summary.step("reference", || {
            Ok(Ended::NotChecked(
                "the cases besides the probes have not been tried on this system yet".into(),
            ))
        });
    }
    summary.finish()
}

/// A suite that certifies the naive line certifies anything: it must fail there.
fn naive(workspace: &Workspace) -> Result<Ended, Failure> {
    match conformance::run(workspace, &conformance::Options::of("bwrap-naive")) {
        Ok(()) => {
            Err(Failure::check("the naive bubblewrap line was certified: the suite is blind"))
        }
        Err(failure) if failure.code() == 1 => {
            Ok(Ended::Passed("not certified, as it must be".into()))
        }
        Err(failure) => Err(failure),
    }
}
