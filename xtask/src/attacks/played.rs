//! What one run of the suite saw, case by case, for the commands that ask who falls to an attack. It
//! must never count an attack whose benign twin failed as well: who does nothing right shows nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clawproof::verdict::{Leg, Legs};
use serde::Deserialize;

use crate::failure::Failure;
use crate::process::Program;

/// The part of the suite's report that is needed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Report {
    pub(super) cases: Vec<Played>,
    /// By case id: the digest of what defines the case.
    #[serde(default)]
    pub(super) digests: BTreeMap<String, String>,
}

/// One case as the suite saw it.
#[derive(Debug, Deserialize)]
pub(super) struct Played {
    pub(super) case: String,
    pub(super) requirements: Vec<String>,
    pub(super) legs: Option<Legs>,
}

impl Played {
    /// Whether it is one of these attacks, on whatever surface, and had its effect while its twin
    /// worked.
    pub(super) fn fell(&self, attacks: &BTreeSet<&str>) -> bool {
        let base = self.case.split('@').next().unwrap_or_default();
        let succeeded =
            self.legs.is_some_and(|legs| legs.no_effect == Leg::Fell && legs.twin == Leg::Stood);
        succeeded && attacks.contains(base)
    }
}

impl Report {
    /// Runs the suite with its words on this terminal, and reads its report: exit code and cases.
    /// A run that ends before there is a report has seen no case.
    ///
    /// # Errors
    /// The suite is missing, or its report is not one.
    pub(super) fn aloud(suite: Program, file: &Path) -> Result<(u8, Self), Failure> {
        let _ = std::fs::remove_file(file);
        let code = suite.arg("--json").arg(file).arg("--quiet").status()?;
        let report = if file.is_file() { Self::read(file)? } else { Self::default() };
        Ok((code, report))
    }

    /// Runs the suite without a word.
    ///
    /// # Errors
    /// It ended without a report though some case has a meaning here.
    pub(super) fn silent(suite: Program, file: &Path) -> Result<Self, Failure> {
        let _ = std::fs::remove_file(file);
        let heard = suite.arg("--json").arg(file).arg("--quiet").hear()?;
        if heard.err.contains("no case was executed") {
            // Nothing of it has a meaning on this host or at this subject.
            return Ok(Self::default());
        }
        if !file.is_file() {
            let words = format!("the suite left no report: {}", heard.last_line());
            return Err(Failure::machine(words));
        }
        Self::read(file)
    }

    fn read(file: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
        let report = text.and_then(|it| serde_json::from_str(&it).map_err(|it| it.to_string()));
        report.map_err(|error| Failure::machine(format!("{}: {error}", file.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_attack_that_succeeds_beside_its_twin_fell() {
        let case = |twin: &str, no_effect: &str| -> Played {
            serde_json::from_value(serde_json::json!({
                "case": "PT-001.003@attachment.name", "requirements": ["path.traversal"], "legs": {
                    "reached": "stood", "twin": twin, "no_effect": no_effect, "control": "missing"},
            }))
            .unwrap()
        };
        let attacks = BTreeSet::from(["PT-001.003"]);
        assert!(case("stood", "fell").fell(&attacks));
        assert!(!case("fell", "fell").fell(&attacks), "its twin fell too");
        assert!(!case("stood", "stood").fell(&attacks));
        assert!(!case("stood", "fell").fell(&BTreeSet::new()), "a benign case is no attack");
        assert!(!Played { legs: None, ..case("stood", "fell") }.fell(&attacks));
    }
}
