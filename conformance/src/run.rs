//! The run: which cases, in which order, on which targets, and what they come to. It must never
//! know how a report looks.

mod lanes;
mod raw;
mod requirements;
mod select;
mod tally;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::corpus::Corpus;
use crate::oracle::matrix::KillMatrix;
use crate::scenario::{Lab, Unit};
use crate::spec::{Layer, Level, Spec};
use crate::target::manifest::Manifest;
use crate::verdict::{CaseResult, Exit, Verdict};

pub use requirements::{Judged, requirements};
pub use select::whole;
pub use tally::control_of_benign;

/// What to run.
#[derive(Clone)]
pub struct Plan {
    /// The target.
    pub manifest: Arc<Manifest>,
    /// Its program, where its uid can reach it.
    pub binary: PathBuf,
    /// The check to knock out.
    pub knockout: Option<String>,
    /// The catalogue.
    pub spec: Spec,
    /// The corpus.
    pub corpus: Corpus,
    /// Which cases are known to be able to fail.
    pub matrix: KillMatrix,
    /// The profiles to certify.
    pub profiles: Vec<String>,
    /// Only these cases, where there are any: a partial run.
    pub only: Vec<String>,
    /// The seed of the order.
    pub seed: u64,
    /// How many targets run side by side.
    pub jobs: usize,
    /// Whether the cases that take longer than half a minute by their nature are played too.
    pub slow: bool,
    /// Play this part of the run only.
    pub shard: Option<Shard>,
    /// End at the first case that fails.
    pub fail_fast: bool,
    /// Play every attack in another form too, not one of each class alone.
    pub every_form: bool,
}

/// One part of a run that is split over several machines. A record's cases stay together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shard {
    /// Which part, from 1.
    pub index: u32,
    /// How many parts there are.
    pub of: u32,
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(index, of)| {
            let shard = Self { index: index.parse().ok()?, of: of.parse().ok()? };
            (1 <= shard.index && shard.index <= shard.of && shard.of <= 1000).then_some(shard)
        });
        parsed.ok_or_else(|| format!("`{text}` is no part such as 2/4 (from 1/N to N/N)"))
    }
}

/// Why there are no results.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The call names something that there is not: exit 2.
    #[error("{0}")]
    Usage(String),
    /// The target did not start: exit 2 where the manifest is at fault, else 3.
    #[error("the target `{name}` did not start: {words}")]
    Start {
        /// The target's name.
        name: String,
        /// Its last words, or ours.
        words: String,
        /// Whether the manifest or the call is at fault.
        usage: bool,
    },
    /// Nothing was executed: exit 3.
    #[error("no case was executed, so nothing is known: {0}")]
    Nothing(String),
}

impl RunError {
    /// The exit code that says so.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Start { usage: true, .. } => Exit::Usage,
            Self::Start { .. } | Self::Nothing(_) => Exit::Harness,
        }
    }
}

/// What all cases of one requirement come to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RequirementResult {
    /// The requirement's id.
    pub id: String,
    /// Its layer.
    pub layer: Layer,
    /// How binding it is.
    pub level: Level,
    /// What the catalogue asks for.
    #[serde(default)]
    pub sentence: String,
    /// The verdict; `null` where no case of this suite witnesses it (uncovered).
    pub verdict: Option<Verdict>,
    /// Why, in one sentence.
    pub reason: String,
    /// How many cases witness it, and how many of them passed on all four legs.
    pub cases: usize,
    /// See `cases`.
    pub passed: usize,
}

/// How the reason begins of a requirement whose probe is another operating system's.
pub(crate) const NOT_RUN: &str = "not run: ";

impl RequirementResult {
    /// Whether its probe is written for another operating system. It is shown as not run, is never
    /// a pass, and no certificate of this system is about it.
    #[must_use]
    pub fn not_run(&self) -> bool {
        self.verdict == Some(Verdict::NotApplicable) && self.reason.starts_with(NOT_RUN)
    }
}

/// The results of a run.
#[derive(Clone, Debug)]
pub struct Results {
    /// Every case in the order of the ids.
    pub cases: Vec<CaseResult>,
    /// Every requirement of the profiles, in the order of the catalogue.
    pub requirements: Vec<RequirementResult>,
    /// By case id: the digest of what defines it.
    pub digests: BTreeMap<String, String>,
    /// Whether only named cases ran: such a run certifies nothing.
    pub partial: bool,
    /// The slow cases that were left out.
    pub left_out: Vec<String>,
    /// SHA-256 of the sorted ids of all cases of the whole run, one a line: parts of one run share
    /// it, and together must hold exactly these ids.
    pub whole: String,
    /// Whether the run ended at its first failure.
    pub cut_short: bool,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

impl Results {
    /// How many MUST requirements are certified, and how many there are in the profiles.
    #[must_use]
    pub fn musts(&self) -> (usize, usize) {
        let musts =
            || self.requirements.iter().filter(|it| it.level == Level::Must && !it.not_run());
        (musts().filter(|it| it.verdict == Some(Verdict::Pass)).count(), musts().count())
    }

    /// How the run ends. A partial run is judged by its cases, a full one by its MUSTs.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let verdicts: Vec<Verdict> = if self.partial {
            self.cases.iter().map(|case| case.verdict).collect()
        } else {
            let musts = self.requirements.iter().filter(|it| it.level == Level::Must);
            musts.filter_map(|it| it.verdict).collect()
        };
        let any = |wanted: &[Verdict]| verdicts.iter().any(|verdict| wanted.contains(verdict));
        if any(&[Verdict::Fail, Verdict::Unsupported]) {
            Exit::Failed
        } else if any(&[Verdict::HarnessError]) {
            Exit::Harness
        } else if any(&[Verdict::Inconclusive]) || !any(&[Verdict::Pass]) {
            Exit::Inconclusive
        } else {
            Exit::Certified
        }
    }
}

/// Is told how a run goes on.
pub trait Progress: Send + Sync {
    /// So many cases will be run.
    fn begin(&self, total: usize);
    /// A case has ended; corpus cases get their verdict when all have.
    fn ended(&self, case: &str, milliseconds: u64);
}

/// Runs a plan to its end. Everything that it starts ends with it, also when it is dropped.
///
/// # Errors
/// See [`RunError`].
pub async fn run(plan: &Plan, progress: &dyn Progress) -> Result<Results, RunError> {
    let begun = Instant::now();
    #[cfg(target_os = "linux")]
    if let Some(words) = crate::driver::launcher::Launcher::missing(&plan.manifest) {
        return Err(RunError::Usage(words));
    }
    let manifest = Arc::clone(&plan.manifest);
    let lab = Lab::new(manifest, plan.binary.clone(), plan.knockout.clone());
    let units = crate::scenario::units(&lab);
    let selection = select::select(plan, units)?;
    progress.begin(selection.to_play.len());
    let raw = lanes::play_all(plan, &lab, &selection, progress).await?;
    let mut results = tally::tally(plan, &selection, &raw);
    if !raw.values().any(|raw| raw.executed()) {
        let first = results.cases.first().map(|case| case.reason.clone());
        return Err(RunError::Nothing(first.unwrap_or_else(|| "no case was selected".to_owned())));
    }
    results.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(results)
}

/// What can be run, by case id.
pub(crate) enum Item {
    /// A corpus case, and the unit that plays it where a scenario does.
    Case {
        record: Arc<crate::corpus::Record>,
        case: Arc<crate::corpus::Case>,
        player: Option<String>,
    },
    /// A scenario or probe.
    Unit(Unit),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(verdicts: &[Option<Verdict>]) -> Results {
        let requirements = verdicts
            .iter()
            .map(|verdict| RequirementResult {
                id: "x".into(),
                layer: Layer::Input,
                level: Level::Must,
                sentence: String::new(),
                verdict: *verdict,
                reason: String::new(),
                cases: 1,
                passed: 0,
            })
            .collect();
        let cases = Vec::new();
        let digests = BTreeMap::new();
        Results {
            cases,
            requirements,
            digests,
            partial: false,
            left_out: Vec::new(),
            whole: String::new(),
            cut_short: false,
            milliseconds: 0,
        }
    }

    #[test]
    fn the_worst_must_decides_the_exit_code() {
        use Verdict::{Fail, HarnessError, Inconclusive, Pass, Unsupported};
        let exit = |verdicts: &[Option<Verdict>]| results(verdicts).exit();
        assert_eq!(exit(&[Some(Pass), None]), Exit::Certified);
        assert_eq!(exit(&[Some(Pass), Some(Inconclusive)]), Exit::Inconclusive);
        assert_eq!(exit(&[Some(HarnessError), Some(Inconclusive)]), Exit::Harness);
        assert_eq!(exit(&[Some(HarnessError), Some(Fail)]), Exit::Failed);
        assert_eq!(exit(&[Some(Pass), Some(Unsupported)]), Exit::Failed);
    }

    #[test]
    fn without_a_single_pass_nothing_is_certified() {
        assert_eq!(results(&[None, Some(Verdict::NotApplicable)]).exit(), Exit::Inconclusive);
        assert_eq!(results(&[]).exit(), Exit::Inconclusive);
    }
}
