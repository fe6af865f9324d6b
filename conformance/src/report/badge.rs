//! The verdict as a badge: an SVG, and the JSON of shields' endpoint. It must never say more than
//! the run: a part, a knocked-out build or a run of named cases has no badge of its own.

use askama::Template;
use serde::Serialize;

use super::json::Report;
use crate::verdict::Exit;

/// What shields' endpoint badge reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The format's version: 1.
    pub schema_version: u8,
    /// The left half.
    pub label: String,
    /// The right half.
    pub message: String,
    /// Its colour, by shields' names.
    pub color: &'static str,
    /// Whether shields draws it as an error.
    pub is_error: bool,
}

#[derive(Template)]
#[template(path = "badge.svg", escape = "html")]
struct Badge<'a> {
    label: &'a str,
    message: &'a str,
    fill: &'static str,
    left: usize,
    right: usize,
}

/// The badge as shields' endpoint asks for it.
#[must_use]
pub fn endpoint(report: &Report) -> Endpoint {
    let (message, color, is_error) = words(report);
    let label = format!("ClawProof {}", report.revision);
    Endpoint { schema_version: 1, label, message, color, is_error }
}

/// The badge as SVG.
///
/// # Errors
/// What the template says.
pub fn svg(report: &Report) -> Result<String, String> {
    let Endpoint { label, message, color, .. } = endpoint(report);
    let fill = match color {
        "brightgreen" => "#2e7d32",
        "red" => "#b3261e",
        _ => "#5f6368",
    };
    let width = |text: &str| text.chars().count() * 7 + 14;
    let (left, right) = (width(&label), width(&message));
    let badge = Badge { label: &label, message: &message, fill, left, right };
    badge.render().map_err(|error| error.to_string())
}

fn words(report: &Report) -> (String, &'static str, bool) {
    let summary = &report.summary;
    let whole = !report.partial && report.knockout.is_none();
    let of = format!("{} of {} MUST", summary.musts_passed, summary.musts);
    match summary.exit {
        _ if !whole => ("part of a run".to_owned(), "lightgrey", false),
        code if code == Exit::Certified as u8 => (format!("certified, {of}"), "brightgreen", false),
        code if code == Exit::Failed as u8 => ("not certified".to_owned(), "red", true),
        code if code == Exit::Inconclusive as u8 => {
            (format!("not certified, {of} shown"), "lightgrey", false)
        }
        _ => ("could not run".to_owned(), "lightgrey", true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::report;

    #[test]
    fn only_a_whole_certified_run_is_green() {
        assert_eq!(endpoint(&report()).color, "brightgreen");
        let mut partial = report();
        partial.partial = true;
        let mut failed = report();
        failed.summary.exit = 1;
        let mut open = report();
        open.summary.exit = 4;
        let mut knocked = report();
        knocked.knockout = Some("x".to_owned());
        for other in [partial, failed, open, knocked] {
            assert_ne!(endpoint(&other).color, "brightgreen", "{:?}", other.summary);
        }
    }

    #[test]
    fn the_svg_has_a_title_and_escapes_its_words() {
        let mut odd = report();
        odd.revision = "<script>".to_owned();
        let svg = svg(&odd).unwrap();
        assert!(svg.contains("<title>") && !svg.contains("<script>"), "{svg}");
    }
}
