//! The kill matrix: which cases were seen to fail where a defence was missing. It is the fourth
//! leg of every case that has no control in the same run. It must never be filled by a run of a
//! third-party target: only knocked-out builds of the reference and the project's own naive
//! subjects write it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The matrix that this suite was released with.
pub const SHIPPED: &str = include_str!("../../spec/kill-matrix.json");

/// What the naive subjects fell to, in the same form; its keys are `naive` and `naive:MODE`.
pub const NAIVE: &str = include_str!("../../spec/naive-kills.json");

/// The matrix as its file holds it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillMatrix {
    /// The format's version: 1.
    pub version: u32,
    /// By knockout id: what failed with that defence missing.
    pub kills: BTreeMap<String, Kills>,
    /// By case id: the digest of the case as it was when it killed; see [`digest`].
    pub cases: BTreeMap<String, String>,
}

/// What one knockout made fail.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kills {
    /// The requirements that failed.
    pub requirements: Vec<String>,
    /// The cases that failed, without the knockout they pass.
    pub cases: Vec<String>,
}

/// Why a file is no kill matrix.
#[derive(Debug, thiserror::Error)]
#[error("the kill matrix {path}: {message}")]
pub struct MatrixError {
    path: String,
    message: String,
}

impl KillMatrix {
    /// The matrix of this release.
    ///
    /// # Errors
    /// The shipped text is no matrix of version 1.
    pub fn shipped() -> Result<Self, MatrixError> {
        let knockouts = Self::parse(SHIPPED, "shipped with the suite")?;
        Ok(knockouts.beside(Self::parse(NAIVE, "of the naive subjects")?))
    }

    /// The digest of what [`KillMatrix::shipped`] reads.
    #[must_use]
    pub fn shipped_digest() -> String {
        digest([SHIPPED, NAIVE].concat().as_bytes())
    }

    /// This matrix with the rows of another beside its own. Where the two knew a case in different
    /// forms, this one's counts.
    #[must_use]
    pub fn beside(mut self, other: Self) -> Self {
        for (case, digest) in other.cases {
            self.cases.entry(case).or_insert(digest);
        }
        for (id, kills) in other.kills {
            self.kills.entry(id).or_insert(kills);
        }
        self
    }

    /// Reads a matrix file.
    ///
    /// # Errors
    /// The file is unreadable or no matrix of version 1.
    pub fn load(path: &Path) -> Result<Self, MatrixError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| MatrixError { path: name.clone(), message: error.to_string() })?;
        Self::parse(&text, &name)
    }

    fn parse(text: &str, name: &str) -> Result<Self, MatrixError> {
        let wrong = |message: String| MatrixError { path: name.to_owned(), message };
        let matrix: Self = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if matrix.version != 1 {
            return Err(wrong(format!("version {} is not 1", matrix.version)));
        }
        Ok(matrix)
    }

    /// The cases that some knockout makes fail and that are still what they were then.
    #[must_use]
    pub fn proven<'a>(&'a self, digests: &BTreeMap<String, String>) -> BTreeSet<&'a str> {
        self.kills
            .values()
            .flat_map(|kills| kills.cases.iter())
            .filter(|case| {
                let then = self.cases.get(*case);
                then.is_some() && then == digests.get(*case)
            })
            .map(String::as_str)
            .collect()
    }
}

/// The digest of a case: SHA-256 of what defines it, in hexadecimal. For a corpus case that is the
/// compact JSON of its record, for a scenario or probe its id.
#[must_use]
pub fn digest(definition: &[u8]) -> String {
    hex::encode(Sha256::digest(definition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_matrix_reads() {
        KillMatrix::shipped().unwrap();
    }

    #[test]
    fn a_case_that_changed_since_it_killed_is_not_proven() {
        let text = r#"{"version":1,"kills":{"path.link":{"requirements":["path.link"],
            "cases":["PT-025.001","PT-026.001"]}},"cases":{"PT-025.001":"aa","PT-026.001":"bb"}}"#;
        let matrix = KillMatrix::parse(text, "t").unwrap();
        let now = BTreeMap::from([
            ("PT-025.001".to_owned(), "aa".to_owned()),
            ("PT-026.001".to_owned(), "cc".to_owned()),
        ]);
        assert_eq!(matrix.proven(&now).into_iter().collect::<Vec<_>>(), ["PT-025.001"]);
    }
}
