//! Whole layers missing: which attacks on a layer does another one still catch? Writes the second
//! matrix. It must never take what a target says for evidence of safety: who caught an attack is told
//! from its words, whether it was caught from the sensors.

use std::collections::{BTreeMap, BTreeSet};

use clawproof::report::html::Table;
use clawproof::spec::{Layer, Spec};
use clawproof::verdict::{Leg, Verdict};
use serde::{Deserialize, Serialize};

use super::verdicts::{Case, Report};
use super::{Bench, FACES, PROBES, each, page};
use crate::failure::{Failure, io};
use crate::workspace::Workspace;

/// The committed answer, and its page.
const FILE: &str = "conformance/spec/redundancy.json";
const PAGE: &str = "docs/redundancy.md";

/// The face that is attacked.
const TARGET: &str = FACES[0].0;

const TITLE: &str = "Redundancy";
const INTRO: &str = "The reference runtime with one whole layer missing, attacked by the corpora, the probes and the scenarios about callers, plugins, \
    logs and errors. \
    An attack on that layer that is still caught is caught by another one: that is what \"deliberately \
    redundant\" means. One that has its effect shows that the layer bears load by itself.";

/// Said where an attack was not refused by name and had no effect all the same.
const NO_EFFECT: &str = "no effect";
/// Said where the evidence names nobody.
const NOT_TOLD: &str = "not told";

/// What is attacked besides the probes (through the runtime's own tool): the corpora, and the
/// scenarios that say what a caller, a plugin, a log or an error shows.
const PLAYED: [&str; 17] = [
    "PT",
    "CI",
    "JS",
    "UC",
    "OP",
    "TC",
    "SX",
    "RL",
    "CS",
    "LI",
    "IP",
    "scenario:auth",
    "scenario:audit",
    "scenario:error",
    "scenario:plugin",
    "scenario:registry",
    "scenario:secret",
];

/// What was seen with each layer missing.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Redundancy {
    version: u32,
    revision: String,
    layers: BTreeMap<String, Missing>,
}

/// What was seen with one layer missing.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Missing {
    /// By requirement of the layer: what became of the attacks that it withstands else.
    own: BTreeMap<String, Count>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Count {
    /// Still caught, by the layer that says so.
    caught: BTreeMap<String, usize>,
    /// Arrived, and no sensor saw more.
    arrived: usize,
    /// Had their effect.
    effect: usize,
    /// A leg is missing.
    unclear: usize,
}

impl Count {
    fn total(&self) -> usize {
        self.caught.values().sum::<usize>() + self.arrived + self.effect + self.unclear
    }

    fn add(&mut self, other: &Self) {
        for (layer, count) in &other.caught {
            *self.caught.entry(layer.clone()).or_default() += count;
        }
        self.arrived += other.arrived;
        self.effect += other.effect;
        self.unclear += other.unclear;
    }

    fn cells(&self) -> [String; 5] {
        let by: Vec<_> =
            self.caught.iter().map(|(layer, count)| format!("{layer} {count}")).collect();
        let number = |count: usize| if count == 0 { String::new() } else { count.to_string() };
        let (total, by) = (self.total().to_string(), by.join(", "));
        [total, by, number(self.arrived), number(self.effect), number(self.unclear)]
    }
}

/// Plays the whole suite without each layer in turn.
pub(super) fn run(bench: &Bench<'_>, words: Vec<String>) -> Result<(), Failure> {
    let played: Vec<String> = PLAYED.into_iter().chain(PROBES).map(str::to_owned).collect();
    let baseline = bench.baseline(TARGET, "layers.baseline", &played)?;
    let found = each(&words, bench.jobs, |word| {
        let missing = without(bench, word, &baseline)?;
        eprintln!("{word}: {} requirements of its own", missing.own.len());
        Ok::<_, Failure>(missing)
    });
    let revision = bench.spec.revision.clone();
    let mut all = Redundancy { version: 1, revision, layers: BTreeMap::new() };
    for (word, missing) in words.iter().zip(found) {
        all.layers.insert(word.trim_start_matches("layer:").to_owned(), missing?);
    }
    let whole = words.len() == bench.layers()?;
    let (tables, json) = (all.tables(), all.json());
    let file = |name: &str| bench.folder.join(name);
    std::fs::write(file("layers.md"), all.markdown()).map_err(io("write layers.md"))?;
    std::fs::write(file("layers.json"), &json).map_err(io("write layers.json"))?;
    let html = page::page(TITLE, INTRO, &tables)?;
    std::fs::write(file("layers.html"), html).map_err(io("write layers.html"))?;
    if whole {
        let workspace = bench.workspace;
        std::fs::write(workspace.at(FILE), json).map_err(io("write redundancy.json"))?;
        std::fs::write(workspace.at(PAGE), all.markdown()).map_err(io("write redundancy.md"))?;
    }
    println!("{}", page::markdown(tables.get(..1).unwrap_or_default()));
    Ok(())
}

/// The attacks on a layer that are withstood, once more without it.
fn without(bench: &Bench<'_>, word: &str, baseline: &Report) -> Result<Missing, Failure> {
    let layer = word.trim_start_matches("layer:");
    let mut missing = Missing::default();
    let of_layer = |id: &&String| layer_of(&bench.spec, id).as_deref() == Some(layer);
    let own: BTreeMap<&str, Vec<&String>> = baseline
        .cases()
        .iter()
        .filter(|case| case.verdict == Verdict::Pass && !bench.is_benign(&case.case))
        .map(|case| (case.case.as_str(), case.requirements.iter().filter(of_layer).collect()))
        .filter(|(_, requirements): &(&str, Vec<_>)| !requirements.is_empty())
        .collect();
    if own.is_empty() {
        return Ok(missing);
    }
    let cases: Vec<String> = own.keys().map(|case| (*case).to_owned()).collect();
    let report = bench.once(TARGET, Some(word), word, &cases)?;
    for (case, requirements) in own {
        for id in requirements {
            count(&bench.spec, report.case(case), missing.own.entry(id.clone()).or_default());
        }
    }
    Ok(missing)
}

fn count(spec: &Spec, case: Option<&Case>, count: &mut Count) {
    let fell = |case: &Case| case.legs.is_some_and(|legs| legs.no_effect == Leg::Fell);
    match case {
        Some(case) if case.verdict == Verdict::Pass => {
            *count.caught.entry(catcher(spec, &case.evidence)).or_default() += 1;
        }
        // It ran without its layer, and the user that it ran as may not do this anyway.
        Some(case) if case.verdict == Verdict::NotApplicable => {
            *count.caught.entry(NO_EFFECT.to_owned()).or_default() += 1;
        }
        Some(case) if case.verdict == Verdict::Fail && case.harmless => count.arrived += 1,
        Some(case) if case.verdict == Verdict::Fail && fell(case) => count.effect += 1,
        _ => count.unclear += 1,
    }
}

/// The layer that caught an attack, as the last words of the evidence tell it.
fn catcher(spec: &Spec, evidence: &[String]) -> String {
    let named = |line: &String| {
        let places = [("\"requirement\":\"", '"'), ("refused (", ')')];
        places.iter().find_map(|(before, end)| {
            let (_, rest) = line.split_once(before)?;
            layer_of(spec, rest.split(*end).next()?)
        })
    };
    let ran = || evidence.iter().any(|line| line.starts_with("tool result: "));
    match evidence.iter().rev().find_map(named) {
        Some(layer) => layer,
        None if ran() => NO_EFFECT.to_owned(),
        None => NOT_TOLD.to_owned(),
    }
}

/// The layer of a requirement, or of the family that an id heads.
fn layer_of(spec: &Spec, id: &str) -> Option<String> {
    let head = format!("{id}.");
    let family = || spec.requirements.iter().find(|row| row.id.starts_with(&head));
    spec.get(id).or_else(family).map(|row| slug(row.layer))
}

fn slug(layer: Layer) -> String {
    let name = serde_json::to_value(layer).ok();
    name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

impl Redundancy {
    fn json(&self) -> String {
        format!("{}\n", serde_json::to_string_pretty(self).unwrap_or_default())
    }

    fn markdown(&self) -> String {
        format!(
            "# {TITLE}\n\n{INTRO}\n\nGenerated by `cargo xtask knockouts --layers` from a run with \
             the requirements of {}; do not edit.\n{}",
            self.revision,
            page::markdown(&self.tables())
        )
    }

    /// The sum first, then a table for each layer.
    fn tables(&self) -> Vec<Table> {
        let names = ["attacks", "still caught, by", "arrived", "effect", "unclear"];
        let columns = |first: &str| {
            std::iter::once(first).chain(names).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut sum = Table {
            heading: "All layers".to_owned(),
            words: "`arrived`: it got where it must not, and no sensor saw more. `effect`: a sensor saw \
                    its effect. `no effect`: nobody refused it by name, and it had none, as the tool or \
                    the system would not do it. `not told`: the evidence names nobody. A layer in its \
                    own row: what is no JSON or no path at all fails in its name. `gateway` holds \
                    tokens and rates."
                .to_owned(),
            columns: columns("layer missing"),
            rows: Vec::new(),
        };
        let mut tables = Vec::new();
        for (layer, missing) in &self.layers {
            let mut whole = Count::default();
            missing.own.values().for_each(|count| whole.add(count));
            let row = |name: &str, count: &Count| {
                std::iter::once(format!("`{name}`")).chain(count.cells()).collect::<Vec<_>>()
            };
            sum.rows.push(row(layer, &whole));
            tables.push(Table {
                heading: format!("Without `{layer}`"),
                words: String::new(),
                columns: columns("requirement"),
                rows: missing.own.iter().map(|(id, count)| row(id, count)).collect(),
            });
        }
        tables.insert(0, sum);
        tables
    }
}

impl Bench<'_> {
    /// How many layers the runtime knows.
    fn layers(&self) -> Result<usize, Failure> {
        let known = super::known(self.workspace, self.profiles.1)?;
        Ok(super::with_head(&known, "layer:").len())
    }
}

/// Whether the published page is what the committed answer says.
///
/// # Errors
/// A file is missing, not ours, or out of step.
pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let text = std::fs::read_to_string(workspace.at(FILE)).map_err(io("read redundancy.json"))?;
    let all: Redundancy =
        serde_json::from_str(&text).map_err(|error| Failure::usage(format!("{FILE}: {error}")))?;
    let spec = Spec::load().map_err(|error| Failure::usage(error.to_string()))?;
    let page = std::fs::read_to_string(workspace.at(PAGE)).map_err(io("read redundancy.md"))?;
    let mut wrong = BTreeSet::new();
    for (layer, missing) in &all.layers {
        let own = missing.own.keys();
        let strangers = own.filter(|id| layer_of(&spec, id).as_deref() != Some(layer.as_str()));
        wrong.extend(strangers.map(String::as_str));
    }
    if page != all.markdown() || all.revision != spec.revision || !wrong.is_empty() {
        let wrong: Vec<_> = wrong.into_iter().collect();
        return Err(Failure::check(format!(
            "{PAGE} is out of step with {FILE} or the requirements ({}): `cargo xtask knockouts \
             --layers` writes both",
            wrong.join(", ")
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(verdict: &str, harmless: bool, evidence: &[&str]) -> Case {
        serde_json::from_value(serde_json::json!({
            "case": "PT-001.002", "requirements": ["path.traversal"], "verdict": verdict,
            "harmless": harmless, "evidence": evidence,
            "legs": {"reached": "stood", "twin": "stood", "no_effect": "fell", "control": "stood"},
        }))
        .unwrap()
    }

    #[test]
    fn what_became_of_an_attack_is_told_by_its_verdict_and_who_caught_it_by_its_words() {
        let spec = Spec::load().unwrap();
        let mut total = Count::default();
        for case in [
            case("pass", false, &["tool result: refused (registry.schema): no"]),
            case("pass", false, &["answer: {\"data\":{\"requirement\":\"sandbox.fs\"}}"]),
            case("pass", false, &["tool result: failed: not found"]),
            case("pass", false, &[]),
            case("fail", true, &[]),
            case("fail", false, &[]),
            case("inconclusive", false, &[]),
            case("not-applicable", false, &[]),
            Case { legs: None, ..case("fail", false, &["the target did not start"]) },
        ] {
            count(&spec, Some(&case), &mut total);
        }
        count(&spec, None, &mut total);
        let by: Vec<_> = total.caught.iter().map(|(layer, n)| format!("{layer} {n}")).collect();
        assert_eq!(by, ["no effect 2", "not told 1", "registry 1", "sandbox 1"]);
        assert_eq!((total.arrived, total.effect, total.unclear, total.total()), (1, 1, 3, 10));
    }

    #[test]
    fn the_published_page_is_in_step_with_the_answer_and_the_requirements() {
        check(&Workspace::find().unwrap()).unwrap();
    }
}
