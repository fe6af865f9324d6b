//! Which cases a run plays, and in which order. It must never know a result.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::corpus::Status;
use crate::oracle::matrix::digest;
use crate::scenario::{SLOW, Unit};
use crate::target::manifest::DriverKind;
use crate::target::template::nearest;

use super::{Item, Plan, RunError, Shard};

/// What was selected.
pub(super) struct Selection {
    /// Everything that could be played on this target, by id.
    pub(super) items: BTreeMap<String, Item>,
    /// The ids to play, in the order of the seed; twins of selected cases are among them.
    pub(super) to_play: Vec<String>,
    /// The ids whose results were asked for.
    pub(super) wanted: BTreeSet<String>,
    /// The slow cases that were left out.
    pub(super) left_out: Vec<String>,
    /// See [`whole`].
    pub(super) whole: String,
    /// The requirement ids of the profiles.
    pub(super) required: BTreeSet<String>,
}

impl Item {
    /// The requirements that it witnesses.
    pub(super) fn requirements(&self) -> &[String] {
        match self {
            Self::Case { record, case, .. } => case.requirements(record),
            Self::Unit(unit) => &unit.requirements,
        }
    }

    /// Where it is delivered.
    pub(super) fn surface(&self) -> &str {
        match self {
            Self::Case { case, .. } => case.surface.id(),
            Self::Unit(unit) => &unit.surface,
        }
    }

    /// The digest of what defines it.
    pub(super) fn digest(&self) -> String {
        match self {
            Self::Case { record, .. } => {
                digest(&serde_json::to_vec(record.as_ref()).unwrap_or_default())
            }
            Self::Unit(unit) => digest(unit.id.as_bytes()),
        }
    }

    /// The unit that plays it, where it is a case that a scenario plays.
    pub(super) fn player(&self) -> Option<&str> {
        match self {
            Self::Case { player, .. } => player.as_deref(),
            Self::Unit(_) => None,
        }
    }

    /// Whether nothing else may run beside it.
    pub(super) fn alone(&self) -> bool {
        matches!(self, Self::Unit(Unit { alone: true, .. }))
    }
}

pub(super) fn select(plan: &Plan, units: Vec<Unit>) -> Result<Selection, RunError> {
    let required = required(plan)?;
    let items = items(plan, units);
    let unsupported = |item: &Item| {
        let mut ids = item.requirements().iter().filter(|id| required.contains(*id)).peekable();
        ids.peek().is_some() && ids.all(|id| plan.manifest.unsupported(id).is_some())
    };
    let mut wanted = BTreeSet::new();
    for id in &plan.only {
        let chosen: Vec<&String> =
            items.keys().filter(|known| *known == id || in_record(known, id)).collect();
        if chosen.is_empty() {
            return Err(RunError::Usage(unknown(id, &items)));
        }
        wanted.extend(chosen.into_iter().cloned());
    }
    if plan.only.is_empty() {
        let of_profile = items.iter().filter(|(_, item)| {
            item.requirements().iter().any(|id| required.contains(id)) && !unsupported(item)
        });
        wanted.extend(of_profile.map(|(id, _)| id.clone()));
    }
    let mut left_out = Vec::new();
    if plan.only.is_empty() && !plan.slow {
        let slow = |id: &String| {
            let player = items.get(id).and_then(Item::player).unwrap_or(id);
            SLOW.contains(&player)
        };
        left_out.extend(wanted.iter().filter(|id| slow(id)).cloned());
        wanted.retain(|id| !slow(id));
    }
    let whole = whole(&wanted);
    if let Some(shard) = plan.shard {
        wanted.retain(|id| part_of(id, shard.of) == shard.index);
        if wanted.is_empty() {
            let Shard { index, of } = shard;
            return Err(RunError::Usage(format!(
                "part {index}/{of} holds no case: use fewer parts"
            )));
        }
    }
    let twins = wanted.iter().filter_map(|id| match items.get(id) {
        Some(Item::Case { case, .. }) => case.twin.as_deref(),
        _ => None,
    });
    let all: BTreeSet<&str> = wanted.iter().map(String::as_str).chain(twins).collect();
    // What a scenario plays is played once, whatever names it.
    let played = all.into_iter().map(|id| items.get(id).and_then(Item::player).unwrap_or(id));
    let played: BTreeSet<String> = played.map(str::to_owned).collect();
    let mut to_play: Vec<String> = played.into_iter().filter(|id| items.contains_key(id)).collect();
    shuffle(&mut to_play, plan.seed);
    // What may take seconds begins first, so that short cases fill the lanes' ends; what must run
    // alone comes last, when the lanes have ended.
    to_play.sort_by_key(|id| match items.get(id) {
        Some(item) if item.alone() => 2,
        Some(Item::Unit(unit)) if unit.id.starts_with("scenario:") => 0,
        _ => 1,
    });
    Ok(Selection { items, to_play, wanted, left_out, whole, required })
}

/// The digest of the ids of a run; see [`super::Results::whole`].
#[must_use]
pub fn whole(ids: &BTreeSet<String>) -> String {
    digest(ids.iter().flat_map(|id| [id.as_bytes(), b"\n"]).collect::<Vec<_>>().concat().as_slice())
}

/// Which of `of` parts a case belongs to, from 1: by its name alone, so that it is the same on every
/// machine and under every seed. The cases of a record stay together, as attack and twin.
fn part_of(id: &str, of: u32) -> u32 {
    let named = id.contains(':');
    let head = id.split_once('.').filter(|_| !named).map_or(id, |(record, _)| record);
    let hash = digest(head.as_bytes());
    let number = hash.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
    number % of.max(1) + 1
}

/// `PT-013` names every case of that record, `scenario:rate` every scenario below that head.
fn in_record(known: &str, id: &str) -> bool {
    known.strip_prefix(id).is_some_and(|rest| rest.starts_with(['.', '-', '@']))
}

fn unknown(id: &str, items: &BTreeMap<String, Item>) -> String {
    let records = items.keys().filter_map(|known| known.split_once('.').map(|(head, _)| head));
    match nearest(id, items.keys().map(String::as_str).chain(records)) {
        Some(near) => format!("unknown case `{id}`; did you mean `{near}`?"),
        None => format!("unknown case `{id}`"),
    }
}

fn required(plan: &Plan) -> Result<BTreeSet<String>, RunError> {
    let mut required = BTreeSet::new();
    for profile in &plan.profiles {
        if !plan.spec.knows_profile(profile) {
            let known = plan.spec.profiles.iter().map(|row| row.id.as_str());
            let near = nearest(profile, known.clone());
            let list = known.collect::<Vec<_>>().join(", ");
            return Err(RunError::Usage(match near {
                Some(near) => format!("unknown profile `{profile}`; did you mean `{near}`?"),
                None => format!("unknown profile `{profile}`; there are {list}"),
            }));
        }
        required.extend(plan.spec.required_by(profile).map(|row| row.id.clone()));
    }
    Ok(required)
}

fn items(plan: &Plan, units: Vec<Unit>) -> BTreeMap<String, Item> {
    let mut items = BTreeMap::new();
    // A sandbox command has no surface on which a corpus case could be delivered.
    if plan.manifest.driver != DriverKind::Launcher {
        for record in &plan.corpus.records {
            if record.status == Status::Withdrawn {
                continue;
            }
            let shared = Arc::new(record.clone());
            let elsewhere = record
                .also
                .iter()
                .flat_map(|surface| record.cases.iter().filter_map(|case| case.on(*surface)));
            for case in record.cases.iter().cloned().chain(elsewhere) {
                let (record, case) = (Arc::clone(&shared), Arc::new(case));
                let player = case.scenario.as_ref().map(|id| format!("scenario:{id}"));
                items.insert(case.id.clone(), Item::Case { record, case, player });
            }
        }
    }
    items.extend(units.into_iter().map(|unit| (unit.id.clone(), Item::Unit(unit))));
    items
}

/// Fisher and Yates's shuffle on the numbers of `SplitMix64`: the same seed, the same order.
fn shuffle(ids: &mut [String], seed: u64) {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    for last in (1..ids.len()).rev() {
        let place = usize::try_from(next() % (last as u64 + 1)).unwrap_or(last);
        ids.swap(last, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_order() {
        let ids = || (0..50).map(|it| it.to_string()).collect::<Vec<_>>();
        let order = |seed| {
            let mut ids = ids();
            shuffle(&mut ids, seed);
            ids
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
        let mut sorted = order(7);
        sorted.sort_by_key(|it| it.parse::<u32>().unwrap());
        assert_eq!(sorted, ids());
    }

    #[test]
    fn a_record_stays_in_one_part_and_parts_are_about_equal() {
        assert_eq!(part_of("PT-013.001", 7), part_of("PT-013.002", 7));
        let mut counts = [0; 4];
        for record in 0..400 {
            counts[part_of(&format!("PT-{record:03}.001"), 4) as usize - 1] += 1;
        }
        assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
        assert_ne!(part_of("probe:fs.read", 1000), part_of("probe:fs.write", 1000));
    }

    #[test]
    fn a_record_names_all_of_its_cases() {
        assert!(in_record("PT-013.001", "PT-013"));
        assert!(!in_record("PT-0131.001", "PT-013"));
    }
}
