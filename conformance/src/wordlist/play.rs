//! A whole list against a target: several targets side by side, volleys as large as the target takes,
//! and a volley in which something happened played again in halves until the line is known. It must
//! never pass a list whose benign calls did not work.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::try_join_all;

use super::aim::{Marks, aimed, reached};
use super::volley::{Seen, Shot, volley};
use super::{Entry, List};
use crate::corpus::Surface;
use crate::driver::excerpt;
use crate::scenario::corpus::reset;
use crate::scenario::{Lab, Options, Target, Trouble};

/// How many lines go into one answer of the model, the largest first that the target takes.
const SIZES: [usize; 5] = [31, 15, 7, 3, 1];
/// So many ends of the target, each by one line alone, and the rest is not played.
const MOST_ENDS: usize = 10;

/// A line that led outside.
#[derive(Clone, Debug)]
pub struct Escape {
    /// Where it stands in the list, from 1.
    pub line: usize,
    /// `X-<list>-<hash>`.
    pub id: String,
    /// The line, printable.
    pub shown: String,
    /// What was seen.
    pub evidence: String,
}

/// What came of a list.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// How many lines were handed to the target, each behind working benign calls.
    pub played: usize,
    /// How many of them were aimed at the canary.
    pub aimed: usize,
    /// How many of them lead outside where a program without any defence opens them.
    pub reachable: usize,
    /// Lines that were not played, because a write to where they point would be one to the host.
    pub left_out: usize,
    /// Lines at which the target gave up the whole answer: nothing came back, not even benign.
    pub stopped: Vec<usize>,
    /// Lines that ended the target.
    pub ended: Vec<usize>,
    /// The lines that led outside, in the order of the list.
    pub escapes: Vec<Escape>,
    /// Whether it ended early, with as many escapes or ends as were asked for.
    pub cut_short: bool,
    /// How many lines went into one answer.
    pub at_once: usize,
    /// Wall time in milliseconds, with the starts of the targets.
    pub milliseconds: u128,
}

struct Shared<'a> {
    lab: &'a Lab,
    list: &'a List,
    surface: Surface,
    most: usize,
    queue: Mutex<VecDeque<Vec<usize>>>,
    played: Mutex<Played>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays a list on one path surface with `jobs` targets side by side; after `most` escapes the rest
/// is left.
///
/// # Errors
/// The target cannot be started, lacks the tool, or its benign calls do not work.
pub async fn play(
    lab: &Lab,
    list: &List,
    surface: Surface,
    jobs: usize,
    most: usize,
) -> Result<Played, Trouble> {
    let begun = Instant::now();
    let first = lab.instance(Options::default()).await?;
    let at_once = size(&first, surface).await?;
    let places: Vec<usize> = (0..list.entries.len()).collect();
    let shared = Shared {
        lab,
        list,
        surface,
        most,
        queue: Mutex::new(places.chunks(at_once).map(<[usize]>::to_vec).collect()),
        played: Mutex::new(Played { at_once, ..Played::default() }),
    };
    let lanes = (0..jobs.max(1)).map(|lane| {
        let target = (lane == 0).then(|| first.clone());
        Lane { shared: &shared, target, marks: Marks::default(), calibrated: false }.go()
    });
    try_join_all(lanes).await?;
    drop(first);
    let mut played = locked(&shared.played).clone();
    played.escapes.sort_by_key(|escape| escape.line);
    played.stopped.sort_unstable();
    played.ended.sort_unstable();
    played.milliseconds = begun.elapsed().as_millis();
    Ok(played)
}

/// The largest volley of benign calls that the target plays to its end.
async fn size(target: &Target, surface: Surface) -> Result<usize, Trouble> {
    for size in SIZES {
        let shot = |place| Shot { entry: place, payload: format!("there-is-none-{place}").into() };
        let shots: Vec<Shot> = (0..size).map(shot).collect();
        let seen = volley(target, surface, &shots, &Marks::default()).await?;
        reset(target)?;
        if seen.twin {
            return Ok(size);
        }
    }
    Err(Trouble::Inconclusive("the benign call does not work: nothing can be shown".to_owned()))
}

/// One target and what is known of its world.
struct Lane<'a> {
    shared: &'a Shared<'a>,
    target: Option<Target>,
    marks: Marks,
    calibrated: bool,
}

impl Lane<'_> {
    async fn go(mut self) -> Result<(), Trouble> {
        loop {
            let Some(places) = locked(&self.shared.queue).pop_front() else { return Ok(()) };
            let target = self.target().await?;
            let shots = self.aim(&target, &places);
            self.sift(shots).await?;
            if self.full() {
                locked(&self.shared.played).cut_short = true;
                return Ok(());
            }
        }
    }

    fn full(&self) -> bool {
        let played = locked(&self.shared.played);
        played.escapes.len() >= self.shared.most || played.ended.len() >= MOST_ENDS
    }

    async fn target(&mut self) -> Result<Target, Trouble> {
        let target = match self.target.take() {
            Some(target) => target,
            None => {
                self.calibrated = false;
                self.shared.lab.instance(Options::default()).await?
            }
        };
        if !self.calibrated {
            reset(&target)?;
            let workspace = target.world().workspace();
            let entries = self.shared.list.entries.iter();
            let found: Vec<PathBuf> =
                entries.filter_map(|entry| reached(&workspace, &entry.payload)).collect();
            self.marks = Marks::of(&found, target.world().root());
            self.calibrated = true;
        }
        self.target = Some(target.clone());
        Ok(target)
    }

    /// The lines as they are delivered to this target; a write is aimed or left out.
    fn aim(&self, target: &Target, places: &[usize]) -> Vec<Shot> {
        let world = target.world();
        let (canary, workspace) = (world.canary_file(), world.workspace());
        let mut shots = Vec::new();
        let mut played = locked(&self.shared.played);
        for place in places {
            let Some(entry) = self.shared.list.entries.get(*place) else { continue };
            let aimed = aimed(&entry.payload, &canary);
            if aimed.is_none() && self.shared.surface == Surface::ToolPathWrite {
                played.left_out += 1;
                continue;
            }
            played.played += 1;
            played.aimed += usize::from(aimed.is_some());
            let payload = aimed.unwrap_or_else(|| entry.payload.clone());
            played.reachable += usize::from(reached(&workspace, &payload).is_some());
            shots.push(Shot { entry: *place, payload });
        }
        shots
    }

    /// Plays a volley, and in halves where what happened is not known to be one line's doing.
    async fn sift(&mut self, shots: Vec<Shot>) -> Result<(), Trouble> {
        let mut pending = vec![shots];
        while let Some(part) = pending.pop() {
            if part.is_empty() || self.full() {
                continue;
            }
            let target = self.target().await?;
            let seen = volley(&target, self.shared.surface, &part, &self.marks).await?;
            if self.shared.surface == Surface::ToolPathWrite || !seen.outside.is_empty() {
                reset(&target)?;
            }
            if !seen.alive {
                self.target = None;
            }
            let quiet = seen.twin && seen.alive && seen.outside.is_empty();
            if let [shot] = part.as_slice() {
                self.alone(shot, &seen).await?;
                continue;
            }
            let told: Vec<usize> = seen.told.iter().map(|(place, _)| *place).collect();
            for (place, evidence) in &seen.told {
                if let Some(shot) = part.get(*place) {
                    self.escape(shot, evidence.clone());
                }
            }
            if !quiet {
                let rest = part.into_iter().enumerate().filter(|(place, _)| !told.contains(place));
                let rest: Vec<Shot> = rest.map(|(_, shot)| shot).collect();
                let (left, right) = rest.split_at(rest.len() / 2);
                pending.extend([right.to_vec(), left.to_vec()]);
            }
        }
        Ok(())
    }

    /// What a line did that was alone.
    async fn alone(&mut self, shot: &Shot, seen: &Seen) -> Result<(), Trouble> {
        let evidence = seen.told.iter().map(|(_, words)| words).chain(&seen.outside);
        let evidence: Vec<&str> = evidence.map(String::as_str).collect();
        if !evidence.is_empty() {
            self.escape(shot, evidence.join("; "));
        } else if !seen.alive {
            let line = self.entry(shot).line;
            locked(&self.shared.played).ended.push(line);
        } else if !seen.twin {
            // Refused with all that stood beside it; but does the benign call still work?
            let target = self.target().await?;
            let again = volley(&target, self.shared.surface, &[], &self.marks).await?;
            if !again.twin {
                let words =
                    format!("line {}: the benign call works no more", self.entry(shot).line);
                return Err(Trouble::Inconclusive(words));
            }
            let line = self.entry(shot).line;
            locked(&self.shared.played).stopped.push(line);
        }
        Ok(())
    }

    fn entry(&self, shot: &Shot) -> Entry {
        let known = self.shared.list.entries.get(shot.entry).cloned();
        known.unwrap_or(Entry { line: 0, payload: Vec::new() })
    }

    fn escape(&self, shot: &Shot, evidence: String) {
        let entry = self.entry(shot);
        let escape = Escape {
            line: entry.line,
            id: self.shared.list.id(&entry),
            shown: excerpt(&entry.payload, 120),
            evidence,
        };
        locked(&self.shared.played).escapes.push(escape);
    }
}
