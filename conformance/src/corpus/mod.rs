//! The attack corpora as data: records, payload expressions, lint, schema, manifest, statistics.
//! Must never know how an attack is delivered or what it ended in.

mod catalogue;
mod lint;
pub mod payload;
mod places;
mod record;
mod scaffold;
mod surface;

pub use catalogue::{Stats, manifest, schema, stats};
pub use lint::{Finding, lint};
pub use payload::{Expr, Role, Var, Vars};
pub use record::{
    Capability, Case, Decision, Expect, Family, Kind, Origin, Os, Provenance, Record, Refs, Setup,
    Severity, Status,
};
pub(crate) use scaffold::ascii;
pub use scaffold::{Outline, scaffold, today};
pub use surface::{Shape, Surface};

use std::path::{Path, PathBuf};

/// The version of the corpus that this suite ships.
pub const VERSION: &str = "2026.1";

/// Folders of the corpus that hold none of it: lists that were imported, and what was found by
/// generated attacks.
const BESIDE: [&str; 2] = ["imported", "regressions"];

/// Every record of a folder, in the order of their ids.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// The records.
    pub records: Vec<Record>,
}

/// Why a folder is no corpus.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A folder or file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not a record.
    #[error("{}:{line}: {message}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The folder holds no record.
    #[error("no record under {}", .0.display())]
    Empty(PathBuf),
}

impl Corpus {
    /// Reads every `<family>/<ID>.json` under a folder.
    ///
    /// # Errors
    /// The first file that cannot be read or is no record, with its line; an empty folder.
    pub fn load(dir: &Path) -> Result<Self, CorpusError> {
        let mut records = Vec::new();
        for path in files(dir)? {
            let text = std::fs::read(&path)
                .map_err(|source| CorpusError::Unreadable { path: path.clone(), source })?;
            let record: Record = serde_json::from_slice(&text).map_err(|error| {
                CorpusError::Malformed { path, line: error.line(), message: error.to_string() }
            })?;
            records.push(record);
        }
        if records.is_empty() {
            return Err(CorpusError::Empty(dir.to_owned()));
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Self { records })
    }

    /// Every case with its record, in the order of the ids; withdrawn records are left out.
    pub fn cases(&self) -> impl Iterator<Item = (&Record, &Case)> {
        self.records
            .iter()
            .filter(|record| record.status != Status::Withdrawn)
            .flat_map(|record| record.cases.iter().map(move |case| (record, case)))
    }

    /// The case with this id, withdrawn or not.
    #[must_use]
    pub fn case(&self, id: &str) -> Option<(&Record, &Case)> {
        let all = self.records.iter();
        all.flat_map(|record| record.cases.iter().map(move |case| (record, case)))
            .find(|(_, case)| case.id == id)
    }
}

/// The record files under a folder, sorted: every `.json` file one folder down.
fn files(dir: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| CorpusError::Unreadable { path, source }
    };
    let mut found = Vec::new();
    for family in std::fs::read_dir(dir).map_err(unreadable(dir))? {
        let family = family.map_err(unreadable(dir))?.path();
        let beside = family.file_name().is_some_and(|name| BESIDE.iter().any(|it| name == *it));
        if !family.is_dir() || beside {
            continue;
        }
        for file in std::fs::read_dir(&family).map_err(unreadable(&family))? {
            let file = file.map_err(unreadable(&family))?.path();
            if file.extension().is_some_and(|extension| extension == "json") {
                found.push(file);
            }
        }
    }
    found.sort();
    Ok(found)
}
