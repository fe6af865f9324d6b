//! The report as JUnit XML. A case that shows nothing is *skipped* there, never a success, and each
//! requirement is a test of its own, so that the file is red exactly when the run is.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::advice;
use super::json::{Report, word};
use super::terminal::safe;
use crate::spec::Level;
use crate::verdict::{CaseResult, Verdict};

/// The XML text.
///
/// # Errors
/// What the writer says.
pub fn render(report: &Report) -> Result<String, String> {
    let mut junit = Junit::new(format!("clawproof {}", safe(&report.target.name)));
    junit.set_time(Duration::from_millis(report.milliseconds));
    junit.add_test_suite(requirements(report));
    junit.add_test_suite(cases(report));
    junit.to_string().map_err(|error| error.to_string())
}

fn requirements(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("requirements");
    for row in &report.requirements {
        // What only warns, and what is known, does not turn a pipeline red.
        let borne = row.level == Level::Should || is_known(report, &row.id);
        let mut status = match row.verdict {
            Some(Verdict::Pass) => TestCaseStatus::success(),
            Some(Verdict::NotApplicable) | None => TestCaseStatus::skipped(),
            _ if borne => TestCaseStatus::skipped(),
            Some(Verdict::HarnessError) => TestCaseStatus::non_success(NonSuccessKind::Error),
            Some(_) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        };
        if row.verdict != Some(Verdict::Pass) {
            status.set_message(format!("{}: {}", word(row.verdict), safe(&row.reason)));
            status.set_type(word(row.verdict));
            status.set_description(row.sentence.clone());
        }
        let mut test = TestCase::new(row.id.clone(), status);
        test.set_classname(format!("requirements.{:?}", row.layer));
        suite.add_test_case(test);
    }
    suite
}

/// Whether a baseline explains this requirement: one was given, and it is not among the others.
fn is_known(report: &Report, requirement: &str) -> bool {
    let judged = report.baseline.as_ref().filter(|judged| judged.wrong.is_empty());
    judged.is_some_and(|judged| !judged.other.iter().any(|other| other == requirement))
}

fn cases(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("cases");
    for case in &report.cases {
        let known = report.baseline.as_ref().and_then(|judged| judged.known.get(&case.case));
        let mut test = TestCase::new(case.case.clone(), status(case, known));
        test.set_classname(case.requirements.first().map_or("none", String::as_str));
        test.set_time(Duration::from_millis(case.milliseconds));
        test.add_property(("surface", case.surface.as_str()));
        if case.verdict != Verdict::Pass {
            let lines: Vec<String> = case.evidence.iter().map(|line| safe(line)).collect();
            test.set_system_out(lines.join("\n"));
        }
        suite.add_test_case(test);
    }
    suite
}

fn status(case: &CaseResult, known: Option<&String>) -> TestCaseStatus {
    let mut status = match case.verdict {
        Verdict::Pass => return TestCaseStatus::success(),
        _ if known.is_some() => TestCaseStatus::skipped(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::HarnessError => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Inconclusive | Verdict::Unsupported | Verdict::NotApplicable => {
            TestCaseStatus::skipped()
        }
    };
    let reason = safe(&case.reason);
    status.set_message(match known {
        Some(words) => format!("known failure ({}): {reason}", safe(words)),
        None => format!("{}: {reason}", word(Some(case.verdict))),
    });
    status.set_type(word(Some(case.verdict)));
    status.set_description(advice::about(case));
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::judgement::Judgement;
    use crate::report::sample::{case, report};

    #[test]
    fn the_file_reads_back_and_is_red_where_a_case_failed() {
        let mut failed = report();
        let mut bad = case("PT-001.001", "path.traversal", Verdict::Fail);
        bad.evidence = vec!["</system-out><evil> & \u{1b}[2J \u{0}".to_owned()];
        failed.cases.push(bad);
        failed.cases.push(case("PT-002.001", "path.traversal", Verdict::Inconclusive));
        let xml = render(&failed).unwrap();
        let read = Junit::deserialize_from_str(&xml).unwrap();
        let (tests, failures) = (read.tests, read.failures);
        assert_eq!((tests, failures), (5, 1), "{xml}");
        assert!(!xml.contains("<evil>") && !xml.contains('\u{1b}'));
    }

    #[test]
    fn a_known_failure_is_skipped_and_says_so() {
        let mut known = report();
        known.cases.push(case("PT-001.001", "path.traversal", Verdict::Fail));
        known.baseline = Some(Judgement {
            known: [("PT-001.001".to_owned(), "being rewritten".to_owned())].into(),
            ..Judgement::default()
        });
        let xml = render(&known).unwrap();
        assert!(xml.contains("known failure (being rewritten)"), "{xml}");
        assert_eq!(Junit::deserialize_from_str(&xml).unwrap().failures, 0);
    }
}
