//! What a scenario found: legs set from observations, with the evidence for each.
//! It must never know a target's words: only what a sensor saw is evidence.

use crate::driver::DriverError;
use crate::target::world::WorldError;
use crate::verdict::{Leg, Legs};

/// What a scenario saw. A leg that is never set stays missing, and the case inconclusive.
///
/// Setting a leg twice is *and*: once fallen, it stays fallen.
#[derive(Clone, Debug)]
pub struct Finding {
    legs: Legs,
    evidence: Vec<String>,
    first_fall: Option<String>,
}

impl Default for Finding {
    fn default() -> Self {
        Self::new()
    }
}

impl Finding {
    /// A finding of which no leg is set.
    #[must_use]
    pub fn new() -> Self {
        let missing = Leg::Missing;
        let legs = Legs { reached: missing, twin: missing, no_effect: missing, control: missing };
        Self { legs, evidence: Vec::new(), first_fall: None }
    }

    /// The attack arrived where the defence stands (`false`: it was seen not to arrive).
    pub fn reached(&mut self, stood: bool, evidence: impl Into<String>) -> &mut Self {
        self.set(|legs| &mut legs.reached, "reached", stood, evidence.into())
    }

    /// The benign twin worked (`false`: over-blocking, which fails the case).
    pub fn twin(&mut self, stood: bool, evidence: impl Into<String>) -> &mut Self {
        self.set(|legs| &mut legs.twin, "twin", stood, evidence.into())
    }

    /// The attack had no effect (`false`: the effect was seen, which fails the case).
    pub fn no_effect(&mut self, stood: bool, evidence: impl Into<String>) -> &mut Self {
        self.set(|legs| &mut legs.no_effect, "no effect", stood, evidence.into())
    }

    /// The same attack had its effect where the defence is missing, seen in this run. A scenario
    /// that cannot show this itself leaves it: the engine asks the kill matrix.
    pub fn control(&mut self, stood: bool, evidence: impl Into<String>) -> &mut Self {
        self.set(|legs| &mut legs.control, "control", stood, evidence.into())
    }

    /// Adds a line of evidence that sets no leg.
    pub fn note(&mut self, evidence: impl Into<String>) -> &mut Self {
        self.evidence.push(evidence.into());
        self
    }

    /// The legs as they stand now.
    #[must_use]
    pub fn legs(&self) -> Legs {
        self.legs
    }

    /// What was seen, in order.
    #[must_use]
    pub fn evidence(&self) -> &[String] {
        &self.evidence
    }

    /// The evidence of the first leg that fell.
    #[must_use]
    pub fn first_fall(&self) -> Option<&str> {
        self.first_fall.as_deref()
    }

    fn set(
        &mut self,
        pick: impl Fn(&mut Legs) -> &mut Leg,
        name: &str,
        stood: bool,
        evidence: String,
    ) -> &mut Self {
        let leg = pick(&mut self.legs);
        if !stood {
            *leg = Leg::Fell;
            self.first_fall.get_or_insert_with(|| evidence.clone());
        } else if *leg == Leg::Missing {
            *leg = Leg::Stood;
        }
        let word = if stood { "stood" } else { "fell" };
        self.evidence.push(format!("{name} {word}: {evidence}"));
        self
    }
}

/// Why a scenario has no finding. `?` turns the errors of targets and drivers into one of these.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The manifest says that the target does not do this: verdict `unsupported`.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The case has no meaning here (platform, filesystem): verdict `not-applicable`.
    #[error("not applicable: {0}")]
    NotApplicable(String),
    /// The target did not start, answer or stay alive where it had to: verdict `fail`.
    #[error("{0}")]
    Target(String),
    /// A sensor or control is missing: verdict `inconclusive`.
    #[error("{0}")]
    Inconclusive(String),
    /// The suite itself failed: verdict `harness-error`.
    #[error("the suite failed: {0}")]
    Harness(String),
}

impl Trouble {
    /// The suite's plugin cannot be played on this system.
    #[must_use]
    pub fn no_plugins() -> Self {
        Self::NotApplicable("the suite's plugin speaks over a Unix socket".to_owned())
    }
}

impl From<DriverError> for Trouble {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Unsupported(what) => {
                Self::Unsupported(format!("the manifest has no {what}"))
            }
            DriverError::Harness(cause) => Self::Harness(cause),
            DriverError::Refused(_) | DriverError::Timeout(_) | DriverError::Died(_) => {
                Self::Target(error.to_string())
            }
        }
    }
}

impl From<WorldError> for Trouble {
    fn from(error: WorldError) -> Self {
        Self::Harness(error.to_string())
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Harness(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    #[test]
    fn a_fallen_leg_stays_fallen() {
        let mut finding = Finding::new();
        finding.no_effect(false, "the canary was read").no_effect(true, "the file is unchanged");
        assert_eq!(finding.legs().no_effect, Leg::Fell);
        assert_eq!(finding.legs().verdict(), Verdict::Fail);
    }

    #[test]
    fn an_unset_leg_is_never_a_pass() {
        let mut finding = Finding::new();
        finding.reached(true, "").twin(true, "").no_effect(true, "");
        assert_eq!(finding.legs().verdict(), Verdict::Inconclusive);
    }
}
