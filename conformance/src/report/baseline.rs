//! Known failures: they keep a pipeline green while someone works on them, and end by themselves.
//! Every case is still played. A baseline must never change a verdict, nor the exit code that a
//! certificate asks for: it only decides how the process ends.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::json::Report;
use super::judgement::Judgement;
use crate::run::RequirementResult;
use crate::spec::Level;
use crate::verdict::{CaseResult, Exit, Verdict};

/// A known failure is looked at again after a year at the latest.
const LONGEST_DAYS: i32 = 366;

/// The known failures of one target, as their TOML file holds them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// One entry for each case.
    #[serde(default)]
    pub known: Vec<Known>,
}

/// One known failure.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The case id.
    pub case: String,
    /// Why it fails and why that is borne for now.
    pub reason: String,
    /// Where the work on it is followed.
    pub link: String,
    /// The last day on which the entry counts, as `2027-01-31`.
    pub expires: String,
    /// The failure itself; see [`fingerprint`].
    pub fingerprint: String,
}

/// Why a file is no baseline, in one sentence.
#[derive(Debug, thiserror::Error)]
#[error("the baseline {path}: {message}")]
pub struct BaselineError {
    path: String,
    message: String,
}

/// What makes a failure the one that is known: the case as it is defined, its verdict and which of
/// its legs stood. Random values of a run are not part of it.
#[must_use]
pub fn fingerprint(report: &Report, case: &CaseResult) -> String {
    let definition = report.digests.get(&case.case).map_or("", String::as_str);
    let legs = serde_json::to_string(&case.legs).unwrap_or_default();
    let verdict = super::json::word(Some(case.verdict));
    let text = format!("{}\n{definition}\n{verdict}\n{legs}", case.case);
    hex::encode(Sha256::digest(text)).chars().take(16).collect()
}

/// Whether a case with this verdict keeps a run from a certificate and can be known.
fn is_failure(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Fail | Verdict::Inconclusive | Verdict::Unsupported)
}

impl Baseline {
    /// Reads a baseline; `today` decides how far ahead an entry may expire.
    ///
    /// # Errors
    /// The file is unreadable, or an entry is not what it must be.
    pub fn load(path: &Path, today: Date) -> Result<Self, BaselineError> {
        let name = path.display().to_string();
        let wrong = |message: String| BaselineError { path: name.clone(), message };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Self::parse(&text, today).map_err(wrong)
    }

    /// Reads a baseline's text.
    ///
    /// # Errors
    /// One sentence about the first entry that is not what it must be.
    pub fn parse(text: &str, today: Date) -> Result<Self, String> {
        let baseline: Self =
            toml::from_str(text).map_err(|error| error.message().trim().to_owned())?;
        let mut seen = std::collections::BTreeSet::new();
        for known in &baseline.known {
            let case = &known.case;
            if !seen.insert(case) {
                return Err(format!("`{case}` stands twice"));
            }
            if known.reason.trim().len() < 10 || known.reason.contains("CHANGE ME") {
                return Err(format!("`{case}` needs a reason that others understand"));
            }
            if !known.link.starts_with("https://") && !known.link.starts_with("http://") {
                return Err(format!("`{case}` needs a link to where the work is followed"));
            }
            let expires = known.expires()?;
            let days = today.until(expires).map_or(i32::MAX, |span| span.get_days());
            if days > LONGEST_DAYS {
                return Err(format!("`{case}` expires more than a year from today"));
            }
        }
        Ok(baseline)
    }

    /// One entry for each case of a report that keeps it from a certificate, for a person to fill
    /// in and to put into the file.
    #[must_use]
    pub fn draft(report: &Report) -> Self {
        let failing = report.cases.iter().filter(|case| is_failure(case.verdict));
        let needed = failing.filter(|case| bears(report, case));
        let known = needed.map(|case| Known {
            case: case.case.clone(),
            reason: format!("CHANGE ME: {}", super::terminal::safe(&case.reason)),
            link: "CHANGE ME".to_owned(),
            expires: "CHANGE ME".to_owned(),
            fingerprint: fingerprint(report, case),
        });
        Self { known: known.collect() }
    }

    /// How a report stands against the known failures on that day.
    #[must_use]
    pub fn judge(&self, report: &Report, today: Date) -> Judgement {
        let mut known = BTreeMap::new();
        let mut wrong = Vec::new();
        for entry in &self.known {
            match entry.holds(report, today) {
                Ok(true) => {
                    known.insert(entry.case.clone(), format!("{} {}", entry.reason, entry.link));
                }
                // A run of some cases says nothing about the others.
                Ok(false) if report.partial => {}
                Ok(false) => wrong.push(format!("{}: there is no such case any more", entry.case)),
                Err(words) => wrong.push(format!("{}: {words}", entry.case)),
            }
        }
        let other = others(report, &known);
        let (exit, sentence) = ending(report, &known, &wrong, &other);
        let other = other.into_iter().map(|(name, _)| name).collect();
        Judgement { exit: exit as u8, sentence, known, wrong, other }
    }
}

impl Known {
    fn expires(&self) -> Result<Date, String> {
        self.expires.parse::<Date>().map_err(|_| {
            format!("`{}`: `{}` is no date such as 2027-01-31", self.case, self.expires)
        })
    }

    /// Whether the entry speaks of a failure of this report; `false` where the case is not there.
    fn holds(&self, report: &Report, today: Date) -> Result<bool, String> {
        let expires = self.expires()?;
        if expires < today {
            return Err(format!("the entry expired on {expires}"));
        }
        let Some(case) = report.cases.iter().find(|case| case.case == self.case) else {
            return Ok(false);
        };
        if !is_failure(case.verdict) {
            let word = super::json::word(Some(case.verdict));
            return Err(format!("it is `{word}` now: take the entry out"));
        }
        let now = fingerprint(report, case);
        if now != self.fingerprint {
            return Err(format!("it fails in another way than is known (fingerprint {now})"));
        }
        Ok(true)
    }
}

/// Whether a case weighs on a MUST that is not certified, or on anything in a run of some cases.
fn bears(report: &Report, case: &CaseResult) -> bool {
    report.partial
        || report.requirements.iter().any(|row| {
            row.level == Level::Must
                && row.verdict.is_some_and(is_failure)
                && row.verdict == Some(case.verdict)
                && case.requirements.contains(&row.id)
        })
}

/// What keeps the run from a certificate and is not known, with the verdict of each.
fn others(report: &Report, known: &BTreeMap<String, String>) -> Vec<(String, Verdict)> {
    if report.partial {
        let bad = report.cases.iter().filter(|case| {
            (is_failure(case.verdict) || case.verdict == Verdict::HarnessError)
                && !known.contains_key(&case.case)
        });
        return bad.map(|case| (case.case.clone(), case.verdict)).collect();
    }
    let musts = report.requirements.iter().filter(|row| row.level == Level::Must);
    musts.filter_map(|row| Some((row.id.clone(), unknown(report, row, known)?))).collect()
}

/// The verdict that remains of a requirement when its known failures are set aside.
fn unknown(
    report: &Report,
    row: &RequirementResult,
    known: &BTreeMap<String, String>,
) -> Option<Verdict> {
    let verdict = row.verdict?;
    if matches!(verdict, Verdict::Pass | Verdict::NotApplicable) {
        return None;
    }
    let cases = report.cases.iter().filter(|case| case.requirements.contains(&row.id));
    let cases: Vec<_> = cases.collect();
    let left = |wanted: Verdict| {
        cases.iter().any(|case| case.verdict == wanted && !known.contains_key(&case.case))
    };
    let aside = cases.iter().any(|case| known.contains_key(&case.case));
    if left(Verdict::HarnessError) {
        return Some(Verdict::HarnessError);
    }
    if left(Verdict::Fail) || !aside {
        return Some(verdict);
    }
    let passed = cases.iter().any(|case| case.verdict == Verdict::Pass);
    // What the known failure leaves open is open because of it only if the rest is shown or known.
    (!passed && left(Verdict::Inconclusive) && verdict == Verdict::Inconclusive).then_some(verdict)
}

fn ending(
    report: &Report,
    known: &BTreeMap<String, String>,
    wrong: &[String],
    other: &[(String, Verdict)],
) -> (Exit, String) {
    let has = |wanted: &[Verdict]| other.iter().any(|(_, verdict)| wanted.contains(verdict));
    let list = |names: Vec<&str>| names.join(", ");
    if !wrong.is_empty() {
        return (Exit::Failed, format!("the baseline is out of date: {}", wrong.join("; ")));
    }
    if !other.is_empty() {
        let names = list(other.iter().take(6).map(|(name, _)| name.as_str()).collect());
        let exit = if has(&[Verdict::Fail, Verdict::Unsupported]) {
            Exit::Failed
        } else if has(&[Verdict::HarnessError]) {
            Exit::Harness
        } else {
            Exit::Inconclusive
        };
        return (exit, format!("beyond the known failures: {names}"));
    }
    if report.summary.exit == Exit::Certified as u8 {
        return (Exit::Certified, "nothing needs the baseline".to_owned());
    }
    if known.is_empty() {
        return (Exit::Inconclusive, "nothing is known and nothing is certified".to_owned());
    }
    let count = known.len();
    (Exit::Certified, format!("not certified; {count} known failures and no other"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{case, report};

    const TODAY: Date = jiff::civil::date(2026, 11, 24);

    /// A report of which one case of one requirement fails.
    fn failing() -> Report {
        let mut report = report();
        report.cases.push(case("PT-001.001", "path.traversal", Verdict::Fail));
        report.requirements[0].id = "path.traversal".to_owned();
        report.requirements[0].verdict = Some(Verdict::Fail);
        report.summary.exit = Exit::Failed as u8;
        report
    }

    fn entry(report: &Report, expires: &str) -> Baseline {
        let failed = report.cases.iter().find(|case| case.case == "PT-001.001").unwrap();
        let text = format!(
            "[[known]]\ncase = 'PT-001.001'\nreason = 'being rewritten'\n\
             link = 'https://example.org/1'\nexpires = '{expires}'\nfingerprint = '{}'\n",
            fingerprint(report, failed)
        );
        Baseline::parse(&text, TODAY).unwrap()
    }

    #[test]
    fn a_known_failure_ends_green_and_the_report_still_says_failed() {
        let report = failing();
        let judged = entry(&report, "2027-01-31").judge(&report, TODAY);
        assert_eq!((judged.exit, judged.other.len()), (0, 0), "{judged:?}");
        assert_eq!(report.summary.exit, 1, "a certificate asks for this one");
    }

    #[test]
    fn an_entry_expires_by_itself() {
        let report = failing();
        let judged = entry(&report, "2026-11-23").judge(&report, TODAY);
        assert_eq!(judged.exit, 1);
        assert!(judged.sentence.contains("expired on 2026-11-23"), "{judged:?}");
    }

    #[test]
    fn an_entry_whose_case_passes_again_fails_the_run() {
        let baseline = entry(&failing(), "2027-01-31");
        let mut mended = failing();
        mended.cases.last_mut().unwrap().verdict = Verdict::Pass;
        mended.requirements[0].verdict = Some(Verdict::Pass);
        mended.summary.exit = 0;
        let judged = baseline.judge(&mended, TODAY);
        assert_eq!(judged.exit, 1);
        assert!(judged.sentence.contains("`pass` now: take the entry out"), "{judged:?}");
        mended.cases.pop();
        assert!(baseline.judge(&mended, TODAY).sentence.contains("no such case"));
    }

    #[test]
    fn another_failure_of_the_same_case_is_not_the_known_one() {
        let baseline = entry(&failing(), "2027-01-31");
        let mut other = failing();
        let legs = other.cases.last_mut().unwrap().legs.as_mut().unwrap();
        legs.twin = crate::verdict::Leg::Fell;
        let judged = baseline.judge(&other, TODAY);
        assert!(judged.exit == 1 && judged.sentence.contains("another way"), "{judged:?}");
    }

    #[test]
    fn a_second_failure_of_the_same_requirement_is_not_covered() {
        let mut report = failing();
        let baseline = entry(&report, "2027-01-31");
        report.cases.push(case("PT-002.001", "path.traversal", Verdict::Fail));
        let judged = baseline.judge(&report, TODAY);
        assert_eq!((judged.exit, judged.other), (1, vec!["path.traversal".to_owned()]));
    }

    #[test]
    fn an_error_of_the_suite_is_never_known() {
        let mut report = failing();
        let baseline = entry(&report, "2027-01-31");
        report.cases.push(case("PT-002.001", "path.traversal", Verdict::HarnessError));
        assert_eq!(baseline.judge(&report, TODAY).exit, 3);
    }

    #[test]
    fn an_entry_says_why_where_and_until_when() {
        let good = "[[known]]\ncase = 'A'\nreason = 'being rewritten'\nlink = 'https://e.org'\n\
                    expires = '2027-01-31'\nfingerprint = 'f'\n";
        assert!(Baseline::parse(good, TODAY).is_ok());
        for (from, to, words) in [
            ("being rewritten", "later", "needs a reason"),
            ("https://e.org", "CHANGE ME", "needs a link"),
            ("2027-01-31", "soon", "is no date"),
            ("2027-01-31", "2028-01-31", "more than a year"),
            ("fingerprint = 'f'", "", "missing field `fingerprint`"),
        ] {
            let error = Baseline::parse(&good.replace(from, to), TODAY).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(Baseline::parse(&good.repeat(2), TODAY).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_draft_names_what_fails_and_is_refused_until_it_is_filled_in() {
        let draft = Baseline::draft(&failing());
        assert_eq!(draft.known.len(), 1);
        let text = toml::to_string(&draft).unwrap();
        assert!(Baseline::parse(&text, TODAY).unwrap_err().contains("reason"));
    }
}
