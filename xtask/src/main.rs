//! The project's own commands, one module each. They call cargo and the two programs as anyone
//! would; this crate must never know how a check of the runtime or the suite works inside.

mod attacks;
mod bench;
mod bubblewrap;
mod cargo_tool;
mod ci;
mod conformance;
mod cross;
mod deny;
mod failure;
mod fuzz;
mod knockouts;
mod process;
mod sdk;
mod serve;
mod setup;
mod soak;
mod subjects;
mod summary;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::workspace::Workspace;

/// The project's own commands. Exit codes: 0 done, 1 a check failed, 2 wrong use, 3 the machine
/// lacks something that is needed (the sentence says what). `conformance` hands on the suite's.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything and certify a target (the reference runtime where none is named).
    Conformance(conformance::Options),
    /// Format, lints, tests, documents, corpora, house rules and dependencies: all checks.
    Test(test::Options),
    /// Switch each defence off in turn and show that the suite notices exactly that one.
    Knockouts(knockouts::Options),
    /// Check the macOS or Windows build from Linux, and run the Windows tests under Wine.
    Cross(cross::Options),
    /// What the CI of every operating system runs.
    Ci(ci::Options),
    /// Install what the other commands need, or say the one command that does.
    Setup,
    /// Start the reference runtime in a scratch folder and print how to talk to it.
    Serve(serve::Options),
    /// Install and run implementations that others published.
    #[command(subcommand)]
    Subjects(subjects::Action),
    /// Run every installed subject, or those that are named, and compare what was seen.
    League(subjects::League),
    /// Work with the attack corpora.
    #[command(subcommand)]
    Attacks(attacks::Action),
    /// Run the fuzz targets (nightly toolchain).
    Fuzz(fuzz::Options),
    /// Run the benches and print their ratios.
    Bench(bench::Options),
    /// Compile the TypeScript SDK of plugins, compare, and run its example.
    Sdk(sdk::Options),
    /// Launch the reference's sandbox 500 times, kill one launch in ten, and look what is left.
    Soak,
    /// Check the house rules: room order, first lines, file length, words that may not stand here.
    Tidy,
    /// Check dependencies: bans, licences, sources, advisories.
    Deny(deny::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = Workspace::find().and_then(|workspace| run(&workspace, arguments.command));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(sentence) = failure.sentence() {
                eprintln!("xtask: {sentence}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn run(workspace: &Workspace, command: Command) -> Result<(), Failure> {
    match command {
        Command::Conformance(options) => conformance::run(workspace, &options),
        Command::Test(options) => test::run(workspace, &options),
        Command::Knockouts(options) => knockouts::run(workspace, &options),
        Command::Cross(options) => cross::run(workspace, &options),
        Command::Ci(options) => ci::run(workspace, &options),
        Command::Setup => setup::run(workspace),
        Command::Serve(options) => serve::run(workspace, &options),
        Command::Subjects(action) => subjects::run(workspace, &action),
        Command::League(options) => subjects::league(workspace, &options),
        Command::Attacks(action) => attacks::run(workspace, &action),
        Command::Fuzz(options) => fuzz::run(workspace, &options),
        Command::Bench(options) => bench::run(workspace, &options),
        Command::Sdk(options) => sdk::run(workspace, &options),
        Command::Soak => soak::run(workspace),
        Command::Tidy => tidy::run(workspace),
        Command::Deny(options) => deny::run(workspace, &options),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
