//! Room: explore. Generated attacks against a target: drawn from a grammar, played like any case,
//! and made as small as they can be where one succeeds. It must never believe a case that does not
//! fail twice.

mod grammar;
mod regression;

use std::sync::Mutex;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::runtime::Handle;

use crate::corpus::payload::Vars;
use crate::corpus::{Case, Decision, Expect, Kind};
use crate::oracle::{Outcome, meets};
use crate::scenario::corpus::{Played, play};
use crate::scenario::{Lab, Options, Target, Trouble};

pub use grammar::{Generated, Grammar};
pub use regression::record;

/// How often a failing input is tried smaller.
const SHRINKS: u32 = 400;

/// What a target fell to.
#[derive(Clone, Debug)]
pub struct Found {
    /// The grammar.
    pub grammar: Grammar,
    /// The smallest input that still fails.
    pub smallest: Generated,
    /// What became of it.
    pub outcome: Outcome,
    /// What the sensors saw.
    pub evidence: Vec<String>,
    /// How many inputs were played until it failed, and until it was smallest.
    pub played: usize,
}

/// What came of one grammar.
#[derive(Clone, Debug)]
pub enum Explored {
    /// So many inputs, and none failed.
    Held(usize),
    /// One failed.
    Fell(Box<Found>),
}

/// Plays up to `count` inputs of a grammar. The same seed draws the same inputs.
///
/// # Errors
/// The benign input fails, or the target cannot be started or asked at all.
pub async fn explore(
    lab: &Lab,
    grammar: Grammar,
    count: u32,
    seed: u64,
) -> Result<Explored, Trouble> {
    let lab = lab.clone();
    let handle = Handle::current();
    let walk = tokio::task::spawn_blocking(move || Walk::new(lab, grammar, handle).go(count, seed));
    walk.await.map_err(|error| Trouble::Harness(error.to_string()))?
}

struct Walk {
    lab: Lab,
    grammar: Grammar,
    handle: Handle,
    target: Mutex<Option<Target>>,
    played: Mutex<usize>,
    trouble: Mutex<Option<Trouble>>,
}

/// What is behind a lock that nobody else holds.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Walk {
    fn new(lab: Lab, grammar: Grammar, handle: Handle) -> Self {
        let (target, played, trouble) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { lab, grammar, handle, target, played, trouble }
    }

    fn go(self, count: u32, seed: u64) -> Result<Explored, Trouble> {
        let benign = self.handle.block_on(self.once(&self.grammar.benign()))?;
        if benign.outcome != Outcome::Accepted {
            let words = format!("the benign input was not accepted: {:?}", benign.evidence);
            return Err(Trouble::Inconclusive(words));
        }
        let config = Config {
            cases: count,
            max_shrink_iters: SHRINKS,
            failure_persistence: None,
            ..Config::default()
        };
        let mut bytes = [0_u8; 32];
        for (slot, byte) in bytes.iter_mut().zip(seed.to_le_bytes().iter().cycle()) {
            *slot = *byte;
        }
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let ended = runner.run(&self.grammar.strategy(), |input| self.holds(&input));
        if let Some(trouble) = locked(&self.trouble).take() {
            return Err(trouble);
        }
        match ended {
            Ok(()) => Ok(Explored::Held(*locked(&self.played))),
            Err(TestError::Abort(reason)) => Err(Trouble::Harness(reason.to_string())),
            Err(TestError::Fail(_, smallest)) => {
                // What is reported was seen once more on its own.
                let again = self.handle.block_on(self.once(&smallest))?;
                let played = *locked(&self.played);
                let (outcome, evidence) = (again.outcome, again.evidence);
                let grammar = self.grammar;
                Ok(Explored::Fell(Box::new(Found { grammar, smallest, outcome, evidence, played })))
            }
        }
    }

    fn holds(&self, input: &Generated) -> Result<(), TestCaseError> {
        match self.handle.block_on(self.once(input)) {
            Ok(played) => {
                let (_, surface, _) = self.grammar.place();
                let broken = meets(surface, input.decision, played.outcome) == Some(false);
                let words = format!("{:?}", played.outcome);
                if broken { Err(TestCaseError::fail(words)) } else { Ok(()) }
            }
            Err(trouble) => {
                let words = trouble.to_string();
                locked(&self.trouble).get_or_insert(trouble);
                Err(TestCaseError::fail(words))
            }
        }
    }

    /// Plays one input, on a fresh target where the last one died.
    async fn once(&self, input: &Generated) -> Result<Played, Trouble> {
        let known = locked(&self.target).clone();
        let target = match known {
            Some(target) => target,
            None => self.lab.instance(Options::default()).await?,
        };
        *locked(&self.played) += 1;
        let played = play(&target, &case(self.grammar, input)).await;
        let alive = played.as_ref().is_ok_and(|it| it.outcome != Outcome::Died);
        *locked(&self.target) = alive.then_some(target);
        played
    }
}

/// A generated input as a case.
pub(crate) fn case(grammar: Grammar, input: &Generated) -> Case {
    let (_, surface, _) = grammar.place();
    let kind = if input.decision == Decision::Accept { Kind::Benign } else { Kind::Attack };
    Case {
        id: "X.001".to_owned(),
        kind,
        surface,
        twin: None,
        note: String::new(),
        requirement: Vec::new(),
        requires: Vec::new(),
        setup: input.setup.clone(),
        payload: input.payload.clone(),
        raw: false,
        scenario: None,
        here_alone: false,
        role: None,
        expect: Expect {
            verdict: input.decision,
            by_os: std::collections::BTreeMap::new(),
            reason: String::new(),
        },
    }
}

/// A generated input in a line, with sample values for what is random.
#[must_use]
pub fn shown(input: &Generated) -> String {
    let bytes = input.payload.build(&Vars::sample()).unwrap_or_default();
    crate::driver::excerpt(&bytes, 200)
}
