//! Plays the selected cases: several lanes side by side, each with a target of its own on which
//! corpus cases follow one another. A target that dies is replaced once, and the case that killed
//! it is played again alone; a target that answers nothing costs a bounded time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::corpus::{Case, Kind};
use crate::oracle::Outcome;
use crate::scenario::corpus::{Kept, Played, play, play_fresh, play_twisted};
use crate::scenario::{Finding, Lab, Lent, Options, Target, Trouble, Unit};
use crate::verdict::Verdict;

use super::raw::Raw;
use super::select::Selection;
use super::tally::met;
use super::{Item, Plan, Progress, RunError};

/// The longest that a scenario or probe may take.
const UNIT_LIMIT: Duration = Duration::from_secs(240);
/// So many cases in a row without any answer, and the rest is not tried.
const SILENCE_LIMIT: usize = 4;
/// So many deaths, each confirmed, and the rest is not tried.
const DEATH_LIMIT: usize = 10;

struct Shared<'a> {
    lab: &'a Lab,
    selection: &'a Selection,
    progress: &'a dyn Progress,
    queue: Mutex<VecDeque<String>>,
    done: Mutex<BTreeMap<String, Raw>>,
    failed: Mutex<Option<Trouble>>,
    started: AtomicBool,
    silent: AtomicUsize,
    deaths: AtomicUsize,
    /// End at the first failure, and whether there was one.
    fail_fast: bool,
    fell: AtomicBool,
    /// Play every attack in another form too; else one of each class.
    every_form: bool,
    /// The classes of which one was or is being played in another form.
    twisted: Mutex<BTreeSet<String>>,
}

pub(super) async fn play_all(
    plan: &Plan,
    lab: &Lab,
    selection: &Selection,
    progress: &dyn Progress,
) -> Result<BTreeMap<String, Raw>, RunError> {
    let alone = |id: &&String| selection.items.get(*id).is_some_and(Item::alone);
    let beside: VecDeque<String> =
        selection.to_play.iter().filter(|id| !alone(id)).cloned().collect();
    let lanes = plan.jobs.clamp(1, 64).min(beside.len().max(1));
    let shared = Shared {
        lab,
        selection,
        progress,
        queue: Mutex::new(beside),
        done: Mutex::default(),
        failed: Mutex::default(),
        started: AtomicBool::new(false),
        silent: AtomicUsize::new(0),
        deaths: AtomicUsize::new(0),
        fail_fast: plan.fail_fast,
        fell: AtomicBool::new(false),
        every_form: plan.every_form,
        twisted: Mutex::default(),
    };
    join_all((0..lanes).map(|_| shared.lane())).await;
    *lock(&shared.queue) = selection.to_play.iter().filter(alone).cloned().collect();
    shared.lane().await;
    if let Some(trouble) = lock(&shared.failed).take() {
        let usage = matches!(trouble, Trouble::Harness(_) | Trouble::Unsupported(_));
        let name = plan.manifest.name.clone();
        return Err(RunError::Start { name, words: trouble.to_string(), usage });
    }
    Ok(shared.done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_> {
    /// Plays from the queue until it is empty.
    async fn lane(&self) {
        let mut target: Option<Target> = None;
        let mut kept = Kept::default();
        loop {
            let next = lock(&self.queue).pop_front();
            let Some(id) = next else { return };
            if lock(&self.failed).is_some() || self.fell.load(Ordering::Relaxed) {
                return;
            }
            let begun = Instant::now();
            let outcome = match self.selection.items.get(&id) {
                None => continue,
                Some(Item::Unit(unit)) => unit_once(unit).await.map(Either::Found),
                Some(Item::Case { record, case, .. }) => {
                    let played = self.case(&mut target, &mut kept, &record.id, case).await;
                    played.map(Either::Played)
                }
            };
            let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let raw = match outcome {
                Ok(Either::Played(played)) => Raw::Played { played, milliseconds },
                Ok(Either::Found(finding)) => Raw::Found { finding, milliseconds },
                Err(trouble) => Raw::Troubled { trouble, milliseconds },
            };
            if self.fail_fast && self.falls(&id, &raw) {
                self.fell.store(true, Ordering::Relaxed);
            }
            self.progress.ended(&id, milliseconds);
            lock(&self.done).insert(id, raw);
        }
    }

    /// Whether this alone fails its case, whatever becomes of its twin.
    fn falls(&self, id: &str, raw: &Raw) -> bool {
        match (raw, self.selection.items.get(id)) {
            (Raw::Played { played, .. }, Some(Item::Case { case, .. })) => {
                met(case, played) == Some(false)
            }
            (Raw::Found { finding, .. }, _) => finding.legs().verdict() == Verdict::Fail,
            (Raw::Troubled { trouble, .. }, _) => matches!(trouble, Trouble::Target(_)),
            (Raw::Played { .. }, _) => false,
        }
    }

    /// The lane's target: if there is none, one that scenarios are done with, or a new one.
    async fn target(&self, slot: &mut Option<Target>) -> Result<Target, Trouble> {
        match slot {
            Some(target) => Ok(target.clone()),
            None => self.taken(slot, self.lab.lent(Options::default()).await.map(Lent::kept)),
        }
    }

    /// Puts a target that was started into the lane. The first start of a run that fails ends it.
    fn taken(
        &self,
        slot: &mut Option<Target>,
        started: Result<Target, Trouble>,
    ) -> Result<Target, Trouble> {
        match started {
            Ok(target) => {
                self.started.store(true, Ordering::Relaxed);
                Ok(slot.insert(target).clone())
            }
            Err(trouble) if self.started.load(Ordering::Relaxed) => {
                Err(Trouble::Target(format!("the target does not start any more: {trouble}")))
            }
            Err(trouble) => {
                let words = trouble.to_string();
                lock(&self.failed).get_or_insert(trouble);
                Err(Trouble::Target(words))
            }
        }
    }

    /// Plays a case and, if it is an attack that did not fall and none of its class was tried so
    /// before (which one is first, the seed of the order says), once more in another form. What falls
    /// in either form falls: to know the public corpora by heart is no defence.
    async fn both_forms(
        &self,
        target: &Target,
        class: &str,
        case: &Case,
    ) -> Result<Played, Trouble> {
        let mut played = play(target, case).await?;
        if case.kind != Kind::Attack || !played.delivered || met(case, &played) != Some(true) {
            return Ok(played);
        }
        let first = lock(&self.twisted).insert(class.to_owned());
        if !first && !self.every_form {
            return Ok(played);
        }
        let Some(mut other) = play_twisted(target, case).await? else {
            if first {
                lock(&self.twisted).remove(class);
            }
            return Ok(played);
        };
        if met(case, &other) == Some(false) {
            let words = "withstood as published; falls when it is written another way";
            played.evidence.push(words.to_owned());
            played.evidence.append(&mut other.evidence);
            played.outcome = other.outcome;
            played.by_heart = true;
        } else {
            played.evidence.push("withstood written another way too".to_owned());
        }
        Ok(played)
    }

    async fn case(
        &self,
        slot: &mut Option<Target>,
        kept: &mut Kept,
        class: &str,
        case: &Case,
    ) -> Result<Played, Trouble> {
        if self.silent.load(Ordering::Relaxed) >= SILENCE_LIMIT {
            let words = format!("not tried: {SILENCE_LIMIT} cases in a row got no answer");
            return Err(Trouble::Inconclusive(words));
        }
        if self.deaths.load(Ordering::Relaxed) >= DEATH_LIMIT {
            let words = format!("not tried: the target died of {DEATH_LIMIT} cases before");
            return Err(Trouble::Inconclusive(words));
        }
        if case.surface.is_fresh() {
            return guarded(play_fresh(self.lab, kept, case)).await;
        }
        let target = self.target(slot).await?;
        let played = guarded(self.both_forms(&target, class, case)).await;
        drop(target);
        let played = match played {
            Ok(played) => played,
            // Nothing was done to the target.
            Err(trouble @ (Trouble::NotApplicable(_) | Trouble::Unsupported(_))) => {
                return Err(trouble);
            }
            // What state it is in is unknown.
            Err(trouble) => {
                *slot = None;
                return Err(trouble);
            }
        };
        if played.outcome == Outcome::NoAnswer {
            self.silent.fetch_add(1, Ordering::Relaxed);
        } else {
            self.silent.store(0, Ordering::Relaxed);
        }
        if played.outcome != Outcome::Died {
            return Ok(played);
        }
        let fresh = self.taken(slot, self.lab.instance(Options::default()).await)?;
        let mut again = guarded(play(&fresh, case)).await?;
        drop(fresh);
        if again.outcome == Outcome::Died {
            *slot = None;
            self.deaths.fetch_add(1, Ordering::Relaxed);
            again.evidence.push("confirmed: a fresh target died of this case alone".to_owned());
        } else {
            let words = "a target that had played other cases died here, a fresh one did not";
            again.evidence.push(words.to_owned());
        }
        Ok(again)
    }
}

enum Either {
    Played(Played),
    Found(Finding),
}

async fn unit_once(unit: &Unit) -> Result<Finding, Trouble> {
    match tokio::time::timeout(UNIT_LIMIT, guarded((unit.run)())).await {
        Ok(found) => found,
        Err(_) => {
            let seconds = UNIT_LIMIT.as_secs();
            Err(Trouble::Harness(format!("{} did not end within {seconds} s", unit.id)))
        }
    }
}

/// A panic of the suite's own is a harness error of that case, not the end of the run.
async fn guarded<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Trouble::Harness(words.unwrap_or_else(|| "a panic".to_owned())))
    })
}
