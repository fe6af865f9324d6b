//! `cross`: what can be said about the macOS and Windows builds from a Linux machine. Knows what
//! each check shows and says what it does not; must never show a check that was not run as passed.

mod debian;
mod place;
mod standard;
mod wine;

use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::summary::{Ended, Summary};
use crate::workspace::Workspace;

use place::Place;

/// The crates that are shipped; the project's own commands run on its developers' systems only.
const SHIPPED: [&str; 6] =
    ["--package", "clawproof-runtime", "--package", "clawproof", "--package", "clawproof-probe"];

/// The system that is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum System {
    /// Type-check and lint for both Windows targets; build, and run the tests under Wine
    Windows,
    /// Type-check and lint
    Macos,
}

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The other system
    system: System,
    /// Let rustup fetch the standard library where it is missing, in place of Debian's sources
    #[arg(long)]
    rustup: bool,
    /// Run only the tests that this filter names (as `cargo nextest run FILTER`)
    #[arg(long, value_name = "FILTER")]
    only: Option<String>,
    /// Stop after the lints: build and run nothing
    #[arg(long)]
    lint: bool,
}

/// A target triple, by what it is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The name that rustc has for it.
    pub(crate) triple: &'static str,
    /// Whether programs are made for it, beside metadata.
    pub(crate) builds: bool,
}

const MACOS: Target = Target { triple: "aarch64-apple-darwin", builds: false };
const GNU: Target = Target { triple: "x86_64-pc-windows-gnu", builds: true };
const MSVC: Target = Target { triple: "x86_64-pc-windows-msvc", builds: false };

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let native = match options.system {
        System::Windows => cfg!(windows),
        System::Macos => cfg!(target_os = "macos"),
    };
    if native {
        println!("this is that system: run `cargo xtask test` here");
        return Ok(());
    }
    let place = Place::find(workspace)?;
    let mut summary = Summary::default();
    match options.system {
        System::Macos => macos(&mut summary, workspace, &place, options),
        System::Windows => windows(&mut summary, workspace, &place, options),
    }
    summary.finish()
}

fn macos(summary: &mut Summary, workspace: &Workspace, place: &Place, options: &Options) {
    summary.step("std", || standard::ensure(place, MACOS, options.rustup));
    summary.step("clippy", || clippy(workspace, place, MACOS));
    summary.step("C code", || Ok(Ended::NotChecked(C_CODE.into())));
    summary.step("linking", || {
        Ok(Ended::NotChecked("not run: needs Apple's SDK, which may not be fetched here".into()))
    });
    summary.step("tests", || {
        Ok(Ended::NotChecked(
            "not run: nothing here runs macOS programs; the Seatbelt profile is judged by its \
             evaluator in the tests of every system, and really enforced in CI on macOS alone"
                .into(),
        ))
    });
}

const C_CODE: &str =
    "not run: the C parts of dependencies stand in as empty files, since only Rust is checked";

fn windows(summary: &mut Summary, workspace: &Workspace, place: &Place, options: &Options) {
    summary.step("linker", || debian::mingw(place));
    for (name, target) in [("std gnu", GNU), ("std msvc", MSVC)] {
        summary.step(name, || standard::ensure(place, target, options.rustup));
    }
    summary.step("clippy gnu", || clippy(workspace, place, GNU));
    summary.step("clippy msvc", || clippy(workspace, place, MSVC));
    summary.step("C code msvc", || Ok(Ended::NotChecked(C_CODE.into())));
    if options.lint {
        summary.step("tests", || Ok(Ended::NotChecked("not run: --lint".into())));
        return;
    }
    summary.step("build", || {
        place
            .cargo(workspace)
            .args(["build", "--locked", "--quiet", "--target", GNU.triple])
            .args(SHIPPED)
            .run()?;
        Ok(Ended::Passed(String::new()))
    });
    let mut wine = None;
    summary.step("wine", || {
        let found = wine::ensure(place)?;
        let note = found.version();
        wine = Some(found);
        Ok(Ended::Passed(note))
    });
    match wine {
        Some(wine) => {
            let only = options.only.as_deref();
            let mut heard = None;
            summary.step("tests", || {
                let said = heard.insert(wine.tests(workspace, place, only)?);
                Ok(wine::whole(said))
            });
            summary.step("job object", || {
                let said = heard.as_ref().map(|said| wine::job(said, only));
                Ok(said.unwrap_or_else(|| Ended::NotChecked("not run: see above".into())))
            });
            summary.step("refusal", || wine.refusal(workspace));
            for (name, why) in wine::NOT_SHOWN {
                summary.step(name, || Ok(Ended::NotChecked(format!("not shown by Wine: {why}"))));
            }
            wine.stop();
        }
        None => {
            summary.step("tests", || Ok(Ended::NotChecked("not run: there is no Wine".into())));
        }
    }
}

fn clippy(workspace: &Workspace, place: &Place, target: Target) -> Result<Ended, Failure> {
    place
        .cargo(workspace)
        .args(["clippy", "--locked", "--quiet", "--all-targets", "--target", target.triple])
        .args(SHIPPED)
        .args(["--", "-D", "warnings"])
        .run()?;
    Ok(Ended::Passed(String::new()))
}
