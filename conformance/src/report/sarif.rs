//! The report as SARIF 2.1.0, for code scanning: each requirement is a rule, each case that is not
//! a plain pass a result. It must never carry evidence beyond its message: such files are uploaded.

use std::collections::BTreeMap;

use serde_json::json;
use serde_sarif::sarif::{
    ArtifactLocation, Location, LogicalLocation, Message, MultiformatMessageString,
    PhysicalLocation, PropertyBag, ReportingDescriptor, Result as Finding, ResultKind, ResultLevel,
    Run, Sarif, Suppression, Tool, ToolComponent,
};

use super::advice;
use super::baseline::fingerprint;
use super::json::{Report, word};
use super::terminal::safe;
use crate::verdict::{CaseResult, Verdict};

/// Where the format's schema stands.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The document; `manifest` is the path under which results are shown, for a target has no lines of
/// its own that could be pointed at.
#[must_use]
pub fn render(report: &Report, manifest: &str) -> Sarif {
    let rules: Vec<ReportingDescriptor> = report.requirements.iter().map(rule).collect();
    let driver = ToolComponent::builder()
        .name("clawproof")
        .semantic_version(report.suite.as_str())
        .rules(rules)
        .build();
    let shown = report.cases.iter().filter(|case| case.verdict != Verdict::Pass);
    let results: Vec<Finding> = shown.map(|case| finding(report, case, manifest)).collect();
    let run = Run::builder().tool(Tool::builder().driver(driver).build()).results(results).build();
    Sarif::builder().schema(SCHEMA).version(json!("2.1.0")).runs(vec![run]).build()
}

fn rule(row: &crate::run::RequirementResult) -> ReportingDescriptor {
    let text = |text: &str| MultiformatMessageString::builder().text(text).build();
    ReportingDescriptor::builder()
        .id(row.id.as_str())
        .name(row.id.as_str())
        .short_description(text(&row.sentence))
        .build()
}

fn finding(report: &Report, case: &CaseResult, manifest: &str) -> Finding {
    let (kind, level) = match case.verdict {
        Verdict::Fail => (ResultKind::Fail, ResultLevel::Error),
        Verdict::NotApplicable => (ResultKind::NotApplicable, ResultLevel::None),
        Verdict::Pass => (ResultKind::Pass, ResultLevel::None),
        Verdict::Inconclusive | Verdict::Unsupported | Verdict::HarnessError => {
            (ResultKind::Open, ResultLevel::None)
        }
    };
    let advice = advice::about(case);
    let end = if advice.is_empty() { String::new() } else { format!(" Next: {advice}.") };
    let words = format!(
        "{} ({}): {}.{end}",
        case.case,
        word(Some(case.verdict)),
        safe(&case.reason).trim_end_matches('.')
    );
    let place = Location::builder()
        .physical_location(
            PhysicalLocation::builder()
                .artifact_location(ArtifactLocation::builder().uri(manifest).build())
                .build(),
        )
        .logical_locations(vec![
            LogicalLocation::builder().name(case.surface.as_str()).kind("surface").build(),
        ])
        .build();
    let known = report.baseline.as_ref().and_then(|judged| judged.known.get(&case.case));
    let suppressions: Vec<Suppression> = known
        .map(|words| {
            Suppression::builder().kind(json!("external")).justification(safe(words)).build()
        })
        .into_iter()
        .collect();
    let fingerprints = BTreeMap::from([("clawproof/v1".to_owned(), fingerprint(report, case))]);
    let others = BTreeMap::from([
        ("case".to_owned(), json!(case.case)),
        ("requirements".to_owned(), json!(case.requirements)),
        ("verdict".to_owned(), json!(word(Some(case.verdict)))),
    ]);
    Finding::builder()
        .rule_id(case.requirements.first().map_or("none", String::as_str))
        .kind(kind)
        .level(level)
        .message(Message::builder().text(words).build())
        .locations(vec![place])
        .partial_fingerprints(fingerprints)
        .suppressions(suppressions)
        .properties(PropertyBag::builder().additional_properties(others).build())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{case, report};

    #[test]
    fn failures_are_errors_and_what_is_open_is_not() {
        let mut failed = report();
        failed.cases.push(case("PT-001.001", "path.traversal", Verdict::Fail));
        failed.cases.push(case("PT-002.001", "path.traversal", Verdict::Inconclusive));
        let sarif = serde_json::to_value(render(&failed, "mine.toml")).unwrap();
        let results = &sarif["runs"][0]["results"];
        assert_eq!(results.as_array().unwrap().len(), 2, "{sarif:#}");
        assert_eq!(results[0]["level"], "error");
        assert_eq!((&results[1]["kind"], &results[1]["level"]), (&json!("open"), &json!("none")));
        let place = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(place, "mine.toml");
        assert_eq!(sarif["version"], "2.1.0");
        let text = sarif.to_string();
        assert!(!text.contains("what was seen"), "evidence is not uploaded");
    }
}
