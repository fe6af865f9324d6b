//! The kill matrix: which case notices which missing defence. Pure but for reading the committed
//! file; the judgement stands here alone, so that the printed and the written form agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use clawproof::oracle::matrix::{KillMatrix, Kills};

use super::lines::Lines;
use crate::failure::Failure;

/// What one knockout brought down.
#[derive(Debug)]
pub(super) struct Row {
    /// The requirement that was knocked out.
    pub(super) id: String,
    /// The cases of that requirement (or its family) that newly fail.
    pub(super) cases: BTreeSet<String>,
    /// Cases of requirements that rest on it: they cannot hold where it does not.
    pub(super) resting: BTreeSet<String>,
    /// Cases that newly fail, twice, and have nothing to do with it.
    pub(super) stray: BTreeSet<String>,
    /// The requirements of the family that newly fail.
    pub(super) requirements: BTreeSet<String>,
    /// Why nothing is known, where the suite gave no report.
    pub(super) trouble: Option<String>,
}

impl Row {
    pub(super) fn new(id: &str) -> Self {
        let none = BTreeSet::new;
        let (cases, resting, stray, requirements) = (none(), none(), none(), none());
        Self { id: id.to_owned(), cases, resting, stray, requirements, trouble: None }
    }

    pub(super) fn troubled(id: &str, failure: &Failure) -> Self {
        let trouble = failure.sentence().unwrap_or("the suite did not start").to_owned();
        Self { trouble: Some(trouble), ..Self::new(id) }
    }

    fn word(&self) -> &'static str {
        if self.trouble.is_some() {
            return "UNKNOWN";
        }
        match (self.cases.is_empty(), self.stray.is_empty()) {
            (true, _) => "SURVIVES",
            (false, true) => "killed",
            (false, false) => "NOT ALONE",
        }
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let named: Vec<_> = self.cases.iter().take(3).cloned().collect();
        let more = self.cases.len().saturating_sub(named.len());
        let mut line = format!("{:<28} {:<9} {}", self.id, self.word(), named.join(" "));
        if more > 0 {
            line.push_str(&format!(" and {more} more"));
        }
        if let Some(trouble) = &self.trouble {
            line.push_str(trouble);
        }
        if !self.resting.is_empty() {
            let resting: Vec<_> = self.resting.iter().cloned().collect();
            line.push_str(&format!(" | with what rests on it: {}", resting.join(" ")));
        }
        if !self.stray.is_empty() {
            let stray: Vec<_> = self.stray.iter().cloned().collect();
            line.push_str(&format!(" | also fails: {}", stray.join(" ")));
        }
        line
    }
}

/// All rows, the knockouts that no attack covers on this system, and the digests of the cases.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) rows: Vec<Row>,
    pub(super) uncovered: Vec<String>,
    pub(super) cases: BTreeMap<String, String>,
}

impl Matrix {
    /// Whether every row is known: else the file would lose what it has.
    pub(super) fn is_whole(&self) -> bool {
        self.rows.iter().all(|row| row.trouble.is_none())
    }

    /// The file in which the suite looks up the fourth leg of its cases.
    fn document(&self) -> KillMatrix {
        let kills: BTreeMap<_, _> = self
            .rows
            .iter()
            .filter(|row| !row.cases.is_empty())
            .map(|row| {
                let requirements = row.requirements.iter().cloned().collect();
                let kill = Kills { requirements, cases: row.cases.iter().cloned().collect() };
                (row.id.clone(), kill)
            })
            .collect();
        // Only the cases that some knockout kills: what is not here is inconclusive.
        let killing: BTreeSet<_> = kills.values().flat_map(|kill| kill.cases.iter()).collect();
        let cases = self.cases.iter().filter(|(case, _)| killing.contains(case));
        let cases = cases.map(|(case, digest)| (case.clone(), digest.clone())).collect();
        KillMatrix { version: 1, kills, cases }
    }

    /// The file as it is committed.
    pub(super) fn json(&self) -> String {
        let text = serde_json::to_string_pretty(&self.document()).unwrap_or_default();
        format!("{text}\n")
    }

    /// The matrix as a page with a plot; the lines of the sandbox's plan stand beside the rest.
    ///
    /// # Errors
    /// What the template says.
    pub(super) fn html(&self, lines: &Lines) -> Result<String, Failure> {
        let mut document = self.document();
        document.kills.extend(lines.kills());
        clawproof::report::html::matrix(&document).map_err(Failure::machine)
    }

    /// Whether the committed file still tells the truth: each knockout that it lists is noticed by
    /// one of the cases that it names, each that is noticed is listed, and no case has changed since.
    /// Which further cases notice may differ: where a server falls over, the first ones meet it.
    ///
    /// # Errors
    /// The file is missing or is not ours, or the sentence names what differs.
    pub(super) fn compare(&self, file: &Path) -> Result<(), Failure> {
        let committed =
            KillMatrix::load(file).map_err(|error| Failure::usage(error.to_string()))?;
        let mut differing: Vec<_> = self
            .rows
            .iter()
            .filter(|row| {
                let then = committed.kills.get(&row.id).map(|kill| kill.cases.as_slice());
                let same = |case: &String| row.cases.contains(case);
                !then.unwrap_or_default().iter().any(same)
            })
            .map(|row| row.id.clone())
            .collect();
        let changed =
            |case: &String, then: &String| self.cases.get(case).is_some_and(|now| now != then);
        let cases = committed.cases.iter().filter(|(case, then)| changed(case, then));
        differing.extend(cases.map(|(case, _)| case.clone()));
        if differing.is_empty() {
            return Ok(());
        }
        Err(Failure::check(format!(
            "the committed matrix differs for: {}; run `cargo xtask knockouts` and commit it",
            differing.join(", ")
        )))
    }

    /// The matrix as a page.
    pub(super) fn markdown(&self) -> String {
        let mut page = String::from(
            "# Kill matrix\n\nEach row: the reference runtime with that one defence missing.\n\n\
             | missing | result | noticed by | requirements that fall |\n|---|---|---|---|\n",
        );
        let listed = |set: &BTreeSet<String>| {
            set.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(" ")
        };
        for row in &self.rows {
            let (id, word) = (&row.id, row.word());
            let (cases, requirements) = (listed(&row.cases), listed(&row.requirements));
            page.push_str(&format!("| `{id}` | {word} | {cases} | {requirements} |\n"));
            if !row.stray.is_empty() {
                page.push_str(&format!("| | also fails | {} | |\n", listed(&row.stray)));
            }
        }
        for id in &self.uncovered {
            page.push_str(&format!("| `{id}` | no attack of this system | | |\n"));
        }
        page
    }

    /// The judgement of the whole.
    ///
    /// # Errors
    /// A missing defence went unnoticed, or brought down what has nothing to do with it.
    pub(super) fn judge(&self) -> Result<(), Failure> {
        let bad: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.word() != "killed")
            .map(|row| row.id.as_str())
            .collect();
        if self.rows.is_empty() {
            return Err(Failure::check("no knockout was run: nothing is shown"));
        }
        if bad.is_empty() {
            return Ok(());
        }
        Err(Failure::check(format!("not killed alone and by name: {}", bad.join(", "))))
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "{}", row.line())?;
        }
        let killed = self.rows.iter().filter(|row| row.word() == "killed").count();
        writeln!(f, "{killed} of {} killed alone and by name", self.rows.len())?;
        if !self.uncovered.is_empty() {
            writeln!(f, "no attack of this system for: {}", self.uncovered.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn matrix(cases: &[&str], stray: &[&str]) -> Matrix {
        let row = Row {
            id: "path.link".into(),
            cases: set(cases),
            resting: set(&[]),
            stray: set(stray),
            requirements: set(&["path.link"]),
            trouble: None,
        };
        let digests = [("PT-025.001", "aa"), ("PT-001.001", "bb")];
        let cases = digests.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Matrix { rows: vec![row], uncovered: Vec::new(), cases }
    }

    #[test]
    fn a_survivor_and_a_stray_failure_are_both_judged_bad() {
        assert!(matrix(&["PT-025.001"], &[]).judge().is_ok());
        assert_eq!(matrix(&[], &[]).judge().unwrap_err().code(), 1);
        assert_eq!(matrix(&["PT-025.001"], &["JS-001.001"]).judge().unwrap_err().code(), 1);
        let mut unknown = matrix(&["PT-025.001"], &[]);
        unknown.rows[0] = Row::troubled("path.link", &Failure::machine("no report"));
        assert_eq!((unknown.is_whole(), unknown.judge().unwrap_err().code()), (false, 1));
        let nothing = Matrix { rows: vec![], uncovered: vec![], cases: BTreeMap::new() };
        assert_eq!(nothing.judge().unwrap_err().code(), 1);
    }

    #[test]
    fn the_file_holds_only_cases_that_kill_and_comes_back_equal() {
        let matrix = matrix(&["PT-025.001"], &[]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), matrix.json()).unwrap();
        assert!(!matrix.json().contains("PT-001.001"));
        matrix.compare(file.path()).unwrap();
        let mut changed = self::matrix(&["PT-025.001", "PT-001.001"], &[]);
        changed.compare(file.path()).unwrap();
        changed.cases.insert("PT-025.001".into(), "cc".into());
        assert_eq!(changed.compare(file.path()).unwrap_err().code(), 1);
        let other = self::matrix(&["PT-001.001"], &[]);
        assert_eq!(other.compare(file.path()).unwrap_err().code(), 1);
    }
}
