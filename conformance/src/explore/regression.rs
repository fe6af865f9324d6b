//! A finding as a record: ready to be read, linted, replayed and moved into the corpus. It must
//! never overwrite one.

use std::path::{Path, PathBuf};

use super::{Found, case};
use crate::corpus::{
    Corpus, CorpusError, Kind, Origin, Provenance, Record, Refs, Severity, Status, VERSION, ascii,
    today,
};

/// The first number of records that were found by generated attacks, until somebody gives them one
/// of the corpus.
const FIRST: u32 = 901;

/// The file of a finding under a folder of regressions, and its text. The seed and the count draw
/// the same inputs again.
///
/// # Errors
/// The folder holds something that is no record.
pub fn record(
    folder: &Path,
    found: &Found,
    seed: u64,
    count: u32,
    target: &str,
) -> Result<(PathBuf, String), CorpusError> {
    let (family, _, requirement) = found.grammar.place();
    let name = format!("{family:?}");
    let known = match Corpus::load(folder) {
        Ok(corpus) => corpus.records,
        Err(CorpusError::Empty(_) | CorpusError::Unreadable { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let taken = |number: u32| known.iter().any(|it| it.id == format!("{name}-{number:03}"));
    let number = (FIRST..1_000).find(|number| !taken(*number)).unwrap_or(FIRST);
    let id = format!("{name}-{number:03}");
    let mut benign = case(found.grammar, &found.grammar.benign());
    let mut fallen = case(found.grammar, &found.smallest);
    benign.id = format!("{id}.001");
    fallen.id = format!("{id}.002");
    benign.note = "An ordinary input on the same way.".to_owned();
    benign.expect.reason = "An ordinary input must work.".to_owned();
    fallen.note = format!("The smallest of {} generated inputs that fails.", found.played);
    fallen.expect.reason = format!("What was seen: {:?}.", found.outcome);
    if fallen.kind == Kind::Attack {
        fallen.twin = Some(benign.id.clone());
    }
    let grammar = format!("{:?}", found.grammar).to_lowercase();
    let record = Record {
        id: id.clone(),
        family,
        title: format!("Found by the {grammar} grammar"),
        definition: format!(
            "Generated, played on `{target}`, and made smaller until nothing less fails."
        ),
        status: Status::Active,
        since: VERSION.to_owned(),
        severity: Severity::High,
        requirement: vec![requirement.to_owned()],
        refs: Refs::default(),
        licence: "CC0-1.0".to_owned(),
        provenance: Provenance {
            kind: Origin::Explored,
            author: "clawproof run --explore".to_owned(),
            date: today(),
            sources: vec![format!("grammar {grammar}, seed {seed}, {count} inputs")],
        },
        unproven: None,
        also: Vec::new(),
        cases: vec![benign, fallen],
    };
    let path = folder.join(&name).join(format!("{id}.json"));
    let text = serde_json::to_string_pretty(&record).map_err(|error| CorpusError::Malformed {
        path: path.clone(),
        line: 1,
        message: error.to_string(),
    })?;
    Ok((path, ascii(&text) + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Decision, lint};
    use crate::explore::{Generated, Grammar};
    use crate::oracle::Outcome;
    use crate::spec::Spec;

    #[test]
    fn a_finding_becomes_a_record_that_lint_accepts_and_takes_the_next_number() {
        let folder = tempfile::tempdir().unwrap();
        for (grammar, decision) in Grammar::ALL.iter().zip([
            Decision::Either,
            Decision::Reject,
            Decision::Reject,
            Decision::Neutralise,
            Decision::Reject,
        ]) {
            let smallest = Generated { decision, ..grammar.benign() };
            let (outcome, evidence) = (Outcome::Effect, Vec::new());
            let found = Found { grammar: *grammar, smallest, outcome, evidence, played: 7 };
            for number in [901, 902] {
                let (path, text) = record(folder.path(), &found, 5, 100, "naive").unwrap();
                assert!(path.to_string_lossy().contains(&number.to_string()), "{path:?}");
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
        }
        let findings = lint(folder.path(), &Spec::load().unwrap());
        let own = findings.iter().filter(|it| !it.file.ends_with("MANIFEST.json"));
        let own: Vec<_> = own.filter(|it| !it.file.ends_with("schema.json")).collect();
        assert!(own.is_empty(), "{own:#?}");
    }
}
