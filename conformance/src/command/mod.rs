//! Rooms of the command alone, not of the library: what a person types and reads.

pub(crate) mod adapter;
pub(crate) mod certify;
pub(crate) mod disk;
pub(crate) mod explore;
pub(crate) mod files;
pub(crate) mod reports;
pub(crate) mod run;
pub(crate) mod wordlist;

use clawproof::spec::{REVISIONS, Spec, text};
use clawproof::verdict::Exit;

/// The frozen set of requirements that a person named.
pub(crate) fn spec(revision: &str) -> Result<Spec, (Exit, String)> {
    let Some(text) = text(revision) else {
        let known: Vec<&str> = REVISIONS.iter().map(|(name, _)| *name).collect();
        let list = known.join(", ");
        return Err(crate::usage(format!("no requirements `{revision}`; there are {list}")));
    };
    Spec::parse(text).map_err(|error| (Exit::Harness, error.to_string()))
}
