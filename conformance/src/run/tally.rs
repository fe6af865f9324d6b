//! From what was played to verdicts: of cases by their legs, of requirements by their cases.
//! Pure: it must never look at the target again.

use std::collections::{BTreeMap, BTreeSet};

use crate::corpus::{Case, Decision, Kind, Os, Record, Status};
use crate::oracle::{Outcome, Support, attack_legs, benign_legs, meets};
use crate::scenario::corpus::Played;
use crate::scenario::{Finding, Trouble};
use crate::verdict::{CaseResult, Leg, Legs, Verdict};

use super::raw::Raw;
use super::requirements::{Judged, requirements};
use super::select::Selection;
use super::{Item, Plan, Results};

pub(super) fn tally(plan: &Plan, selection: &Selection, raw: &BTreeMap<String, Raw>) -> Results {
    let known = raw.keys().chain(&selection.wanted);
    let digests: BTreeMap<String, String> =
        known.filter_map(|id| Some((id.clone(), selection.items.get(id)?.digest()))).collect();
    let proven = plan.matrix.proven(&digests);
    let by_heart = raw
        .iter()
        .filter_map(|(id, raw)| match (selection.items.get(id)?, raw) {
            (Item::Case { record, .. }, Raw::Played { played, .. }) if played.by_heart => {
                Some(record.id.as_str())
            }
            _ => None,
        })
        .collect();
    let bench = Bench { selection, raw, proven, by_heart };
    let cases: Vec<CaseResult> = selection
        .wanted
        .iter()
        .filter_map(|id| {
            let item = selection.items.get(id)?;
            let player = item.player().unwrap_or(id);
            match raw.get(player) {
                Some(raw) => Some(bench.case(id, item, raw)),
                None if selection.items.contains_key(player) => None,
                None => Some(bench.case(id, item, &nobody(player))),
            }
        })
        .collect();
    let cut_short = raw.len() < selection.to_play.len();
    let partial = !plan.only.is_empty() || plan.shard.is_some() || cut_short;
    let judged = Judged {
        spec: &plan.spec,
        required: &selection.required,
        unsupported: &plan.manifest.unsupported,
        partial,
    };
    let requirements = requirements(&judged, &cases);
    Results {
        cases,
        requirements,
        digests,
        partial,
        left_out: selection.left_out.clone(),
        whole: selection.whole.clone(),
        cut_short,
        milliseconds: 0,
    }
}

/// How the reason of a case begins that is played and never counts.
const DISPUTED: &str = "disputed, does not count";

/// Gives a benign case the control that another part of its run has seen: an attack that was stopped
/// on the same surface. Nothing else can change by joining parts.
pub fn control_of_benign(case: &mut CaseResult) {
    let Some(legs) = case.legs.as_mut() else { return };
    if case.kind == Some(Kind::Benign)
        && legs.control == Leg::Missing
        && !case.reason.starts_with(DISPUTED)
    {
        legs.control = Leg::Stood;
        case.verdict = legs.verdict();
        if case.verdict == Verdict::Pass {
            "the benign input arrived whole, as it must be accepted".clone_into(&mut case.reason);
        }
    }
}

/// Why an attack that was withstood as published does not count.
const BY_HEART: &str = "not shown: that it is more than known by heart, as another of its class \
                        falls when it is written another way";

/// The requirement that no input ends the target.
const DEATH: &str = "error.no-panic";

/// A case that names a scenario which there is not, or not on this system.
fn nobody(player: &str) -> Raw {
    let trouble = if cfg!(not(unix)) && player.starts_with("scenario:plugin.") {
        Trouble::no_plugins()
    } else {
        Trouble::Harness(format!("there is no `{player}` to play it"))
    };
    Raw::Troubled { trouble, milliseconds: 0 }
}

struct Bench<'a> {
    selection: &'a Selection,
    raw: &'a BTreeMap<String, Raw>,
    proven: BTreeSet<&'a str>,
    /// The classes of which an attack was withstood only as it is published.
    by_heart: BTreeSet<&'a str>,
}

/// Whether this is an attack that arrived, and no sensor saw more than that.
fn arrived(item: &Item, raw: &Raw) -> bool {
    matches!((item, raw), (Item::Case { case, .. }, Raw::Played { played, .. })
        if case.kind == Kind::Attack
            && matches!(played.outcome, Outcome::Accepted | Outcome::Neutralised))
}

/// What a case says.
struct Said {
    verdict: Verdict,
    legs: Option<Legs>,
    reason: String,
    evidence: Vec<String>,
}

impl Bench<'_> {
    fn case(&self, id: &str, item: &Item, raw: &Raw) -> CaseResult {
        let said = match (item, raw) {
            (Item::Case { record, case, .. }, Raw::Played { played, .. }) => {
                self.played(record, case, played)
            }
            (Item::Case { case, .. }, Raw::Found { finding, .. }) if case.kind == Kind::Benign => {
                benign_part(finding)
            }
            (_, Raw::Found { finding, .. }) => {
                self.found(&[id, item.player().unwrap_or(id)], finding)
            }
            (_, Raw::Troubled { trouble, .. }) => troubled(trouble),
            (Item::Unit(_), Raw::Played { .. }) => {
                troubled(&Trouble::Harness("a scenario was played as a case".to_owned()))
            }
        };
        CaseResult {
            case: id.to_owned(),
            requirements: self.witnessed(item, raw),
            surface: item.surface().to_owned(),
            kind: match item {
                Item::Case { case, .. } => Some(case.kind),
                Item::Unit(_) => None,
            },
            stopped: self.stopped(id),
            harmless: said.verdict == Verdict::Fail && arrived(item, raw),
            verdict: said.verdict,
            legs: said.legs,
            reason: said.reason,
            evidence: said.evidence,
            milliseconds: raw.milliseconds(),
        }
    }

    /// What a case speaks about. An input that ends the target says nothing about the check that
    /// it was written for: the death is a failure of its own, of whatever input it came.
    fn witnessed(&self, item: &Item, raw: &Raw) -> Vec<String> {
        let died = matches!(raw, Raw::Played { played, .. } if played.outcome == Outcome::Died);
        if died && self.selection.required.contains(DEATH) {
            return vec![DEATH.to_owned()];
        }
        item.requirements().to_vec()
    }

    fn played(&self, record: &Record, case: &Case, played: &Played) -> Said {
        let met = met(case, played);
        let mut evidence = played.evidence.clone();
        let legs = match case.kind {
            Kind::Attack => {
                let support = Support {
                    twin: case.twin.as_deref().and_then(|twin| self.twin_met(twin)),
                    delivered: played.delivered,
                    control: self.proven.contains(case.id.as_str()),
                };
                if let (Some(twin), Some(false)) = (&case.twin, support.twin) {
                    evidence.push(format!("its benign twin {twin} did not succeed"));
                }
                attack_legs(met, played.outcome, support)
            }
            Kind::Benign => benign_legs(met, self.refusals_show(case)),
        };
        let mut verdict = legs.verdict();
        let decision = case.expect.on(Os::current());
        let mut reason = reason(case, decision, played.outcome, legs, &evidence);
        if verdict == Verdict::Pass
            && case.kind == Kind::Attack
            && self.by_heart.contains(record.id.as_str())
        {
            verdict = Verdict::Inconclusive;
            reason = format!("{reason}; {BY_HEART}");
        }
        if record.status == Status::Disputed && verdict != Verdict::HarnessError {
            verdict = Verdict::Inconclusive;
            reason = format!("{DISPUTED}: {reason}");
        }
        Said { verdict, legs: Some(legs), reason, evidence }
    }

    fn twin_met(&self, id: &str) -> Option<bool> {
        match (self.selection.items.get(id), self.raw.get(id)) {
            (Some(Item::Case { case, .. }), Some(Raw::Played { played, .. })) => met(case, played),
            _ => None,
        }
    }

    /// Whether a refusal on this case's surface was seen in this run.
    fn refusals_show(&self, benign: &Case) -> bool {
        self.raw.keys().any(|id| {
            matches!(self.selection.items.get(id), Some(Item::Case { case, .. })
                if case.surface == benign.surface)
                && self.stopped(id)
        })
    }

    /// Whether this is an attack that met its expectation and was refused or changed, or that the
    /// kill matrix knows to be able to fail.
    fn stopped(&self, id: &str) -> bool {
        let Some(Item::Case { record, case, .. }) = self.selection.items.get(id) else {
            return false;
        };
        if self.by_heart.contains(record.id.as_str()) {
            return false;
        }
        let Some(Raw::Played { played, .. }) = self.raw.get(id) else { return false };
        let strict =
            matches!(case.expect.on(Os::current()), Decision::Reject | Decision::Neutralise);
        let stopped = matches!(played.outcome, Outcome::Refused | Outcome::Neutralised);
        case.kind == Kind::Attack
            && played.delivered
            && (strict && stopped || self.proven.contains(id))
            && met(case, played) == Some(true)
    }

    fn found(&self, names: &[&str], finding: &Finding) -> Said {
        let mut legs = finding.legs();
        let proven = names.iter().any(|name| self.proven.contains(name));
        if legs.control == Leg::Missing && proven {
            legs.control = Leg::Stood;
        }
        let verdict = legs.verdict();
        let reason = match (verdict, finding.first_fall()) {
            (Verdict::Pass, _) => "held on all four legs".to_owned(),
            (_, Some(fall)) => fall.to_owned(),
            _ => missing(legs),
        };
        Said { verdict, legs: Some(legs), reason, evidence: finding.evidence().to_vec() }
    }
}

/// What a scenario says of the benign input in it; that the attack in it was stopped is its control.
fn benign_part(finding: &Finding) -> Said {
    let seen = finding.legs();
    let twin = match seen.twin {
        Leg::Stood => Some(true),
        Leg::Fell => Some(false),
        Leg::Missing => None,
    };
    let legs = benign_legs(twin, seen.reached == Leg::Stood && seen.no_effect == Leg::Stood);
    let reason = match legs.verdict() {
        Verdict::Pass => "the benign input of the scenario was accepted".to_owned(),
        Verdict::Fail => "the benign input of the scenario was not accepted".to_owned(),
        _ => missing(legs),
    };
    Said {
        verdict: legs.verdict(),
        legs: Some(legs),
        reason,
        evidence: finding.evidence().to_vec(),
    }
}

pub(super) fn met(case: &Case, played: &Played) -> Option<bool> {
    meets(case.surface, case.expect.on(Os::current()), played.outcome)
}

fn troubled(trouble: &Trouble) -> Said {
    let verdict = match trouble {
        Trouble::Unsupported(_) => Verdict::Unsupported,
        Trouble::NotApplicable(_) => Verdict::NotApplicable,
        Trouble::Target(_) => Verdict::Fail,
        Trouble::Inconclusive(_) => Verdict::Inconclusive,
        Trouble::Harness(_) => Verdict::HarnessError,
    };
    Said { verdict, legs: None, reason: trouble.to_string(), evidence: Vec::new() }
}

fn reason(
    case: &Case,
    decision: Decision,
    outcome: Outcome,
    legs: Legs,
    evidence: &[String],
) -> String {
    let was = match outcome {
        Outcome::Refused => "was refused",
        Outcome::Neutralised => "arrived changed or as plain data",
        Outcome::Accepted => "arrived whole",
        Outcome::Effect => "had its effect",
        Outcome::NoAnswer => "got no answer",
        Outcome::Died => "ended the target",
    };
    let must = match decision {
        Decision::Reject => "be refused",
        Decision::Accept => "be accepted",
        Decision::Neutralise => "have no effect",
        Decision::Either => "have no effect",
    };
    let what = if case.kind == Kind::Attack { "the attack" } else { "the benign input" };
    match legs.verdict() {
        Verdict::Pass => format!("{what} {was}, as it must {must}"),
        Verdict::Fail if legs.no_effect == Leg::Fell => {
            let last = match outcome {
                Outcome::Effect | Outcome::Died => evidence.last().cloned().unwrap_or_default(),
                _ => String::new(),
            };
            let colon = if last.is_empty() { "" } else { ": " };
            format!("{what} {was}, and must {must}{colon}{last}")
        }
        Verdict::Fail => format!("{what} {was}, but its benign twin does not succeed either"),
        _ => format!("{what} {was}; {}", missing(legs)),
    }
}

fn missing(legs: Legs) -> String {
    let names = [
        (legs.reached, "that it arrived where the defence stands"),
        (legs.twin, "that its benign twin succeeds"),
        (legs.no_effect, "whether it had an effect"),
        (legs.control, "that it can fail where the defence is missing"),
    ];
    let missing: Vec<&str> =
        names.into_iter().filter(|(leg, _)| *leg != Leg::Stood).map(|(_, name)| name).collect();
    format!("not shown: {}", missing.join("; "))
}
