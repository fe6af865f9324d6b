//! The one place of this crate that starts processes. Knows no command; a program that is missing
//! is a sentence, an exit code is handed on, and nothing goes through a shell.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::Failure;

/// A program with its arguments, about to be run.
#[derive(Debug)]
pub(crate) struct Program {
    command: Command,
    shown: String,
}

/// What a program that was listened to said.
#[derive(Debug)]
pub(crate) struct Heard {
    /// The exit code; 128 or more for a signal.
    pub(crate) code: u8,
    /// Standard output, lossily as UTF-8.
    pub(crate) out: String,
    /// Standard error, lossily as UTF-8.
    pub(crate) err: String,
}

impl Program {
    /// A program by name (found on PATH) or path.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where the project's commands start programs: cargo, the two \
                      binaries and the installers"
        )]
        let command = Command::new(program);
        Self { command, shown: program.to_string_lossy().into_owned() }
    }

    /// The cargo that runs this command, free of the variables that `cargo run` sets for us: build
    /// scripts watch some of them and would build again.
    pub(crate) fn cargo() -> Self {
        let mut cargo =
            Self::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        "cargo".clone_into(&mut cargo.shown);
        cargo.without_cargo_run()
    }

    /// Cargo as rustup's front door knows it, so that `+nightly` works.
    pub(crate) fn rustup_cargo() -> Self {
        let mut cargo = Self::new("cargo").without_cargo_run();
        cargo.command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        cargo
    }

    fn without_cargo_run(mut self) -> Self {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let set_by_run = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
            if set_by_run.iter().any(|prefix| text.starts_with(prefix)) {
                self.command.env_remove(&name);
            }
        }
        self
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&argument.as_ref().to_string_lossy());
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable for the child alone.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes a variable away from the child alone.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// The folder that the child starts in.
    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs it on this terminal, showing the line first.
    ///
    /// # Errors
    /// The program is missing, or its exit code (handed on).
    pub(crate) fn run(self) -> Result<(), Failure> {
        eprintln!("$ {}", self.shown);
        match self.status()? {
            0 => Ok(()),
            code => Err(Failure::handed_on(code)),
        }
    }

    /// Runs it on this terminal and returns its exit code.
    ///
    /// # Errors
    /// The program is missing.
    pub(crate) fn status(mut self) -> Result<u8, Failure> {
        let status = self.command.status().map_err(|error| missing(&self.shown, &error))?;
        Ok(code_of(status))
    }

    /// Runs it with nothing on the terminal; a failure is told with its last line.
    ///
    /// # Errors
    /// The program is missing, or failed at `deed`.
    pub(crate) fn told(self, deed: &str) -> Result<(), Failure> {
        let heard = self.hear()?;
        if heard.code == 0 {
            return Ok(());
        }
        Err(Failure::machine(format!("could not {deed}: {}", heard.last_line())))
    }

    /// Runs it with nothing on the terminal and returns what it said.
    ///
    /// # Errors
    /// The program is missing.
    pub(crate) fn hear(mut self) -> Result<Heard, Failure> {
        let output = self
            .command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| missing(&self.shown, &error))?;
        Ok(Heard {
            code: code_of(output.status),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Heard {
    /// The last line that is not empty of standard error, else of standard output.
    pub(crate) fn last_line(&self) -> &str {
        let last = |text: &'_ str| text.trim_end().rfind('\n').map_or(0, |at| at + 1);
        let text = if self.err.trim().is_empty() { &self.out } else { &self.err };
        text.get(last(text)..).unwrap_or_default().trim()
    }
}

/// Where `program` stands: in `extra` first, then on PATH.
pub(crate) fn find(program: &str, extra: &[&Path]) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    extra
        .iter()
        .map(|folder| folder.to_path_buf())
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(&named))
        .find(|candidate| candidate.is_file())
}

fn missing(shown: &str, error: &std::io::Error) -> Failure {
    Failure::machine(format!("could not start `{shown}`: {error}"))
}

fn code_of(status: std::process::ExitStatus) -> u8 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let code = status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(3);
    u8::try_from(code).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_a_sentence_and_exit_3() {
        let failure = Program::new("no-such-program-here").arg("x").status().unwrap_err();
        assert_eq!(failure.code(), 3);
        let sentence = failure.sentence().unwrap();
        assert!(sentence.starts_with("could not start `no-such-program-here x`: "), "{sentence}");
    }

    #[test]
    fn an_exit_code_is_handed_on() {
        let failure = Program::new(std::env::current_exe().unwrap())
            .arg("--no-such-flag-of-a-test-binary")
            .run()
            .unwrap_err();
        assert_eq!(failure.sentence(), None);
        assert_ne!(failure.code(), 0);
    }

    #[test]
    fn the_last_line_is_the_one_worth_showing() {
        let heard = Heard { code: 1, out: "fine".into(), err: "one\nE: two\n\n".into() };
        assert_eq!(heard.last_line(), "E: two");
    }
}
