//! How a command of this crate ends badly: one sentence and an exit code. Knows no command.

/// A sentence for the person at the terminal and the exit code that goes with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    sentence: Option<String>,
    code: u8,
}

impl Failure {
    /// A check was made and did not hold: exit 1.
    pub(crate) fn check(sentence: impl Into<String>) -> Self {
        Self { sentence: Some(sentence.into()), code: 1 }
    }

    /// The command line or a file given was wrong: exit 2.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self { sentence: Some(sentence.into()), code: 2 }
    }

    /// The machine lacks something, so that nothing was checked: exit 3.
    pub(crate) fn machine(sentence: impl Into<String>) -> Self {
        Self { sentence: Some(sentence.into()), code: 3 }
    }

    /// A program that has already said why ended with `code`, which is handed on.
    pub(crate) fn handed_on(code: u8) -> Self {
        Self { sentence: None, code }
    }

    /// What to print, where the program that failed has not said it.
    pub(crate) fn sentence(&self) -> Option<&str> {
        self.sentence.as_deref()
    }

    /// The exit code; never 0.
    pub(crate) fn code(&self) -> u8 {
        self.code.max(1)
    }
}

/// Turns an error of the file system into a sentence: `could not <deed>: <error>`.
pub(crate) fn io(deed: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Failure {
    move |error| Failure::machine(format!("could not {deed}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_never_exit_0() {
        assert_eq!(Failure::handed_on(0).code(), 1);
        assert_eq!(Failure::machine("no bwrap").code(), 3);
    }
}
