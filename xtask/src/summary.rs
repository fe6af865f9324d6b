//! A table of steps and how each ended. Knows neither what a step does nor who asked for it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It ran and everything held; a note where there is one.
    Passed(String),
    /// It ran and something did not hold.
    Failed(String),
    /// It was not done, and why; never shown as passed.
    NotChecked(String),
}

/// The steps so far, in order.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    rows: Vec<(&'static str, Ended, Duration)>,
}

impl Summary {
    /// Runs a step and notes how it ended; a failure is shown now and told again in the table.
    pub(crate) fn step(
        &mut self,
        name: &'static str,
        act: impl FnOnce() -> Result<Ended, Failure>,
    ) {
        eprintln!("\n== {name}");
        let began = Instant::now();
        let ended = act().unwrap_or_else(|failure| {
            let sentence = failure
                .sentence()
                .map_or_else(|| format!("exit {}", failure.code()), str::to_owned);
            Ended::Failed(sentence)
        });
        if let Ended::Failed(why) = &ended {
            eprintln!("{name}: {why}");
        }
        self.rows.push((name, ended, began.elapsed()));
    }

    /// Prints the table.
    ///
    /// # Errors
    /// At least one step failed.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        println!("\n{self}");
        let failed: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, ended, _)| matches!(ended, Ended::Failed(_)))
            .map(|(name, ..)| *name)
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(Failure::check(format!("failed: {}", failed.join(", "))))
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, ended, took) in &self.rows {
            let (word, note) = match ended {
                Ended::Passed(note) => ("passed", note),
                Ended::Failed(note) => ("FAILED", note),
                Ended::NotChecked(note) => ("not checked", note),
            };
            writeln!(f, "{name:<14} {word:<12} {:>6.1} s  {note}", took.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_whole_and_later_steps_still_run() {
        let mut summary = Summary::default();
        summary.step("first", || Err(Failure::handed_on(101)));
        summary.step("second", || Ok(Ended::Passed("3 files".into())));
        summary.step("third", || Ok(Ended::NotChecked("no database".into())));
        let table = summary.to_string();
        assert!(table.contains("first          FAILED"), "{table}");
        assert!(table.contains("exit 101") && table.contains("3 files"), "{table}");
        assert!(table.contains("third          not checked"), "{table}");
        assert_eq!(summary.finish().unwrap_err().sentence(), Some("failed: first"));
    }
}
