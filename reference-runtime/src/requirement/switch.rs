//! The switch of the suite's self-test. It exists in `knockout` builds only. It must never be asked
//! but through `Requirement::enforced` and `Variant::on`.

use std::sync::OnceLock;

use super::Requirement;

/// What is another in this process than it should be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) missing: Vec<Requirement>,
    /// The ids of variants.
    pub(super) varied: Vec<&'static str>,
    pub(super) words: String,
}

static TOLD: OnceLock<Told> = OnceLock::new();

/// For the life of this process; the first call wins.
pub(super) fn set(told: Told) {
    TOLD.get_or_init(|| told);
}

pub(super) fn words() -> Option<String> {
    TOLD.get().map(|told| told.words.clone())
}

pub(super) fn missing(requirement: Requirement) -> bool {
    TOLD.get().is_some_and(|told| told.missing.contains(&requirement))
}

pub(super) fn varied(variant: &'static str) -> bool {
    TOLD.get().is_some_and(|told| told.varied.contains(&variant))
}
