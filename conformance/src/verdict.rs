//! The words of a result: outcome of a case, legs, verdict, exit code. Pure values; no I/O.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::corpus::Kind;

/// What a case ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every leg stood and the defence held.
    Pass,
    /// A sensor saw the attack's effect, or the benign twin was blocked.
    Fail,
    /// A leg is missing: no control, no sensor, no twin.
    Inconclusive,
    /// The target says that it does not do this; fails a profile that requires it.
    Unsupported,
    /// The case has no meaning here; the reason says why.
    NotApplicable,
    /// The suite itself failed; says nothing about the target.
    HarnessError,
}

/// Whether one of the four legs stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Leg {
    /// Seen by a sensor.
    Stood,
    /// Looked for and not seen.
    Fell,
    /// Not looked for, or the sensor is missing.
    Missing,
}

/// The four legs of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Legs {
    /// The attack reached the enforcement point.
    pub reached: Leg,
    /// The benign twin succeeded on the same surface.
    pub twin: Leg,
    /// The attack had no effect.
    pub no_effect: Leg,
    /// The same attack does have its effect where the defence is missing.
    pub control: Leg,
}

impl Legs {
    /// The verdict of four legs: a fallen twin or effect fails; a missing leg is inconclusive.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        let all = [self.reached, self.twin, self.no_effect, self.control];
        if self.no_effect == Leg::Fell || self.twin == Leg::Fell {
            Verdict::Fail
        } else if all.iter().all(|leg| *leg == Leg::Stood) {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        }
    }
}

/// How a run ends, as the process says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Certified for what is covered.
    Certified = 0,
    /// A required check failed.
    Failed = 1,
    /// The call, the manifest or a file given was wrong.
    Usage = 2,
    /// The suite itself failed.
    Harness = 3,
    /// A required check is inconclusive.
    Inconclusive = 4,
}

/// One case's result as it stands in the report.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CaseResult {
    /// The case's permanent id, such as `PT-001.001`, `probe:net.tcp4` or `scenario:rate.client`.
    pub case: String,
    /// The requirements that this case witnesses.
    pub requirements: Vec<String>,
    /// Where the attack was delivered.
    pub surface: String,
    /// Attack or benign twin; a scenario or probe has both in itself and says neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Of an attack: it was seen to be stopped, which is the control of the benign cases on its
    /// surface.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Of an attack that fails: it arrived where it must not, and had no effect besides.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub harmless: bool,
    /// What it ended in.
    pub verdict: Verdict,
    /// The legs, where the case has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legs: Option<Legs>,
    /// One sentence: what was seen, or why it was not looked at.
    pub reason: String,
    /// What the sensors saw, in order; secrets and canaries of this run may stand here.
    pub evidence: Vec<String>,
    /// How long the case took, in milliseconds.
    pub milliseconds: u64,
}
