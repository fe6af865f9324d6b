//! The runtime's command.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = clawproof_runtime::sandbox::shim::dispatch() {
        return code;
    }
    ExitCode::SUCCESS
}
