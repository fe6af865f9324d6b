//! The runtime's command: one match that names every mode. It must never hold logic of its own.

mod command;

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser as _;
use clawproof_runtime::sandbox;
use zeroizing_alloc::ZeroAlloc;

use command::{AuditMode, Cli, ConfigMode, Failure, Mode, SandboxMode};

/// Memory is wiped as it is given back: what a parser, a buffer or a library copied of a secret does
/// not outlive its use either.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    // The sandbox shim comes first: it runs inside the sandbox, before any thread exists.
    if let Some(code) = sandbox::shim::dispatch() {
        return code;
    }
    if let Some(code) = sandbox::launch::dispatch() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return command::usage(&error),
    };
    match command::knock_out(&cli).and_then(|()| run(cli)) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let passwords = command::password::source(cli.password_fd, cli.second_password_fd)?;
    match cli.mode {
        Mode::Serve(arguments) => command::serve::run(arguments, passwords.master),
        Mode::Chat(arguments) => command::chat::run(arguments, passwords.master),
        Mode::Token { mode } => command::token::run(mode),
        Mode::Vault { mode } => command::vault::run(mode, passwords),
        Mode::Audit { mode: AuditMode::Verify(state) } => command::audit::verify(&state),
        Mode::Audit { mode: AuditMode::Tail(arguments) } => command::audit::tail(&arguments),
        Mode::Doctor(arguments) => command::doctor::run(&arguments),
        Mode::Config { mode: ConfigMode::Check { file } } => command::config::check(&file),
        Mode::Config { mode: ConfigMode::Schema } => command::config::schema(),
        Mode::Plugin { mode } => command::plugin::run(&mode),
        Mode::Sandbox { mode: SandboxMode::Run(arguments) } => Ok(sandbox::launch::run(&arguments)),
        #[cfg(feature = "knockout")]
        Mode::Knockouts => {
            command::knockouts();
            Ok(ExitCode::SUCCESS)
        }
    }
}
