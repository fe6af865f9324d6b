//! `clawproof-contain`: closes a sandbox from inside before a program runs there. It starts with every
//! launch, so it is small. It must never do anything that the orders which it was given do not say.

use std::process::ExitCode;

fn main() -> ExitCode {
    clawproof_runtime::sandbox::shim::small()
}
