//! The program that runs inside the sandboxes under test. It must never know an expectation.

fn main() -> std::process::ExitCode {
    clawproof_probe::main()
}
