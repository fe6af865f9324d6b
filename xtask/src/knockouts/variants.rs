//! Forms that mean the same: the runtime says the same in other words, orders, spaces and statuses,
//! and the suite must notice none of it. What falls is a false alarm of the suite.

use std::collections::BTreeMap;

use clawproof::report::html::Table;
use clawproof::verdict::Verdict;

use super::verdicts::Report;
use super::{Bench, FACES, each, page};
use crate::failure::{Failure, io};

/// What the variants are called when all are in force at once.
const TOGETHER: &str = "all of them together";

/// Plays the whole suite with each form changed, and with all of them.
pub(super) fn run(bench: &mut Bench<'_>, variants: Vec<String>) -> Result<(), Failure> {
    bench.face_all(|asked| asked("variant."))?;
    let Some(subject) = bench.subjects.first() else {
        return Err(Failure::machine("there is nothing to compare with"));
    };
    let mut words = variants.clone();
    if variants.len() > 1 {
        words.push(variants.join(","));
    }
    let found = each(&words, bench.jobs, |word| {
        let noticed = noticed(bench, word, &subject.baseline)?;
        let name = if word.contains(',') { TOGETHER } else { word };
        eprintln!("{name:<28} {}", if noticed.is_empty() { "not noticed" } else { "NOTICED" });
        Ok::<_, Failure>((name.to_owned(), noticed))
    });
    let found = found.into_iter().collect::<Result<BTreeMap<_, _>, _>>()?;
    let tables = [table(&found)];
    let file = |name: &str| bench.folder.join(name);
    let json = serde_json::to_string_pretty(&found).unwrap_or_default();
    std::fs::write(file("variants.json"), json).map_err(io("write variants.json"))?;
    std::fs::write(file("variants.md"), page::markdown(&tables))
        .map_err(io("write variants.md"))?;
    let words = "The same behaviour in other forms. A case that notices is a false alarm.";
    let html = page::page("Variants", words, &tables)?;
    std::fs::write(file("variants.html"), html).map_err(io("write variants.html"))?;
    println!("{}", page::markdown(&tables));
    judge(&found)
}

/// The cases that are worse than without the variant, twice, and how.
fn noticed(
    bench: &Bench<'_>,
    word: &str,
    baseline: &Report,
) -> Result<BTreeMap<String, String>, Failure> {
    let target = FACES[0].0;
    let name = if word.contains(',') { "variants" } else { word };
    let report = bench.suite(target, Some(word), name, &[])?;
    let worse = |report: &Report| -> BTreeMap<String, String> {
        let cases = report.cases().iter();
        let worse = cases.filter(|case| is_worse(case.verdict, baseline.verdict(&case.case)));
        worse.map(|case| (case.case.clone(), format!("{:?}", case.verdict))).collect()
    };
    let first = worse(&report);
    if first.is_empty() {
        return Ok(first);
    }
    let cases: Vec<_> = first.keys().cloned().collect();
    Ok(worse(&bench.suite(target, Some(word), &format!("{name}.again"), &cases)?))
}

/// Whether a verdict says less for the runtime than the one before.
fn is_worse(now: Verdict, before: Option<Verdict>) -> bool {
    let bad = |verdict| !matches!(verdict, Verdict::Pass | Verdict::NotApplicable);
    Some(now) != before && bad(now) && before != Some(Verdict::Fail)
}

fn table(found: &BTreeMap<String, BTreeMap<String, String>>) -> Table {
    let row = |(name, noticed): (&String, &BTreeMap<String, String>)| {
        let cases = noticed.iter().map(|(case, verdict)| format!("{case} ({verdict})"));
        let word = if noticed.is_empty() { "not noticed" } else { "NOTICED" };
        vec![name.clone(), word.to_owned(), cases.collect::<Vec<_>>().join(" ")]
    };
    Table {
        heading: "Forms that mean the same".to_owned(),
        words:
            "Each row: the reference saying the same in another form. The suite must notice none."
                .to_owned(),
        columns: ["form", "result", "by"].map(str::to_owned).into(),
        rows: found.iter().map(row).collect(),
    }
}

fn judge(found: &BTreeMap<String, BTreeMap<String, String>>) -> Result<(), Failure> {
    let bad: Vec<_> =
        found.iter().filter(|(_, cases)| !cases.is_empty()).map(|(id, _)| id.as_str()).collect();
    if found.is_empty() {
        return Err(Failure::check("no variant was played: nothing is shown"));
    }
    if bad.is_empty() {
        return Ok(());
    }
    Err(Failure::check(format!("the suite takes offence at a mere form: {}", bad.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_says_less_than_before_is_a_false_alarm() {
        use Verdict::{Fail, HarnessError, Inconclusive, Pass};
        assert!(is_worse(Fail, Some(Pass)) && is_worse(Inconclusive, Some(Pass)));
        assert!(is_worse(Fail, Some(Inconclusive)) && is_worse(HarnessError, None));
        assert!(!is_worse(Pass, Some(Inconclusive)) && !is_worse(Inconclusive, Some(Inconclusive)));
        let noticed = BTreeMap::from([("PT-001.002".to_owned(), "Fail".to_owned())]);
        let found = BTreeMap::from([("variant.words".to_owned(), noticed)]);
        assert_eq!(judge(&found).unwrap_err().code(), 1);
        assert_eq!(judge(&BTreeMap::new()).unwrap_err().code(), 1);
        assert!(judge(&BTreeMap::from([("variant.words".to_owned(), BTreeMap::new())])).is_ok());
    }
}
