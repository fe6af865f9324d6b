//! The frozen requirements: what an agent runtime must do, as data. Knows no case, target or verdict.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The catalogue of revision 2026-11 as it is shipped.
pub const EMBEDDED: &str = include_str!("../spec/2026-11.toml");

/// The newest revision.
pub const NEWEST: &str = "2026-11";

/// Every frozen set of requirements by its revision, oldest first.
pub const REVISIONS: &[(&str, &str)] = &[(NEWEST, EMBEDDED)];

/// The text of a frozen set.
#[must_use]
pub fn text(revision: &str) -> Option<&'static str> {
    REVISIONS.iter().find(|(name, _)| *name == revision).map(|(_, text)| *text)
}

/// The catalogue of one revision.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The revision, such as `2026-11`.
    pub revision: String,
    /// The profiles that a target can claim.
    #[serde(rename = "profile")]
    pub profiles: Vec<Profile>,
    /// The places where a requirement can be witnessed.
    #[serde(rename = "surface")]
    pub surfaces: Vec<SurfaceRow>,
    /// Every requirement, sorted by layer.
    #[serde(rename = "requirement")]
    pub requirements: Vec<Requirement>,
    /// What the page says and this catalogue leaves out, with the reason.
    #[serde(rename = "exclusion")]
    pub exclusions: Vec<Exclusion>,
}

/// A set of requirements that a target claims as a whole.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The permanent id, such as `boundary`.
    pub id: String,
    /// What a target that claims it says of itself.
    pub claim: String,
    /// Whether every requirement belongs to it, named there or not.
    #[serde(default)]
    pub everything: bool,
}

/// A place where a requirement can be witnessed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SurfaceRow {
    /// The permanent id, such as `message.text`.
    pub id: String,
    /// What is delivered or observed there.
    pub what: String,
}

/// One requirement.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// The permanent id, such as `input.json-depth`; never renamed, never used again.
    pub id: String,
    /// The layer it belongs to.
    pub layer: Layer,
    /// Whether it fails a certificate or warns.
    pub level: Level,
    /// What the target must do.
    pub sentence: String,
    /// The sentence of the security page that promises it.
    pub promise: String,
    /// The ids of the surfaces that can witness it.
    pub surfaces: Vec<String>,
    /// The ids of the profiles that require it; `full` requires all and is not named.
    pub profiles: Vec<String>,
    /// What a boundary probe must see at each level; only probes have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<Boundary>,
    /// The one operating system that its probe is written for; see [`Requirement::system`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system: Option<System>,
    /// Public identifiers of the flaw that a probe repeats, such as `CVE-2019-5736`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// The requirements, or heads of them, that this one rests on: where one of those is not met,
    /// this one cannot be, or cannot be shown. A level is what it says only where files and network
    /// are kept; what a vault wrote is read by another reader only where its tags are sound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rests_on: Vec<String>,
}

/// An operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is its own name")]
pub enum System {
    Linux,
    Macos,
    Windows,
}

impl System {
    /// The one that this is.
    #[must_use]
    pub const fn current() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::Macos
        } else {
            Self::Linux
        }
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::Macos => "macOS",
            Self::Windows => "Windows",
        }
    }
}

impl Requirement {
    /// The system that its probe is written for: probes are Linux's where no other is named. None:
    /// it holds on every system.
    #[must_use]
    pub fn system(&self) -> Option<System> {
        self.system.or(self.boundary.map(|_| System::Linux))
    }
}

/// The layer of a requirement, in the order of the catalogue.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Layer 1: input validation at every boundary.
    Input,
    /// Layer 2: capability-based tool registration.
    Registry,
    /// Layer 3: the platform sandbox.
    Sandbox,
    /// Layer 4: the encrypted credential store.
    Credentials,
    /// Layer 5: fail-secure errors and audit.
    Errors,
    /// Authentication and rates.
    Gateway,
    /// Plugins in processes of their own.
    Plugins,
    /// The project's own hygiene.
    Hygiene,
    /// That the layers bear load each by itself.
    Independence,
}

/// How binding a requirement is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Its failure fails a certificate.
    Must,
    /// Its failure warns.
    Should,
}

/// What a probe must see at each sandbox level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Boundary {
    /// At Relaxed: workspace-only writes, network allowed.
    pub relaxed: Expectation,
    /// At Strict: workspace-only writes, no network, namespaces of its own.
    pub strict: Expectation,
}

/// What one probe must see at one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// H: the boundary holds.
    Hold,
    /// A: the level allows the action.
    Allowed,
    /// D: it holds, or it holds in part and that is reported.
    HoldOrDegraded,
    /// X: a known residual, reported and never hidden.
    Residual,
}

/// A sentence of the page that is no requirement here.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// What the page says.
    pub promise: String,
    /// Why it is left out, and what is still looked at.
    pub reason: String,
}

/// Why a catalogue is not one.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The text is not the catalogue's TOML.
    #[error("the requirements do not parse: {0}")]
    Syntax(#[from] toml::de::Error),
    /// The rows contradict one another.
    #[error("requirement `{id}`: {message}")]
    Row {
        /// The row.
        id: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Spec {
    /// The shipped catalogue.
    ///
    /// # Errors
    /// When the shipped text is no catalogue; a test keeps that from happening.
    pub fn load() -> Result<Self, SpecError> {
        Self::parse(EMBEDDED)
    }

    /// Reads a catalogue and checks its rows against one another.
    ///
    /// # Errors
    /// The first row that is wrong, by id.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let spec: Self = toml::from_str(text)?;
        spec.check()?;
        Ok(spec)
    }

    /// The requirement with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Requirement> {
        self.requirements.iter().find(|row| row.id == id)
    }

    /// Whether this revision knows the profile.
    #[must_use]
    pub fn knows_profile(&self, profile: &str) -> bool {
        self.profiles.iter().any(|row| row.id == profile)
    }

    /// The requirements that a profile asks for, in catalogue order; none for an unknown profile.
    pub fn required_by<'a>(&'a self, profile: &'a str) -> impl Iterator<Item = &'a Requirement> {
        let everything = self.profiles.iter().any(|row| row.id == profile && row.everything);
        self.requirements
            .iter()
            .filter(move |row| everything || row.profiles.iter().any(|named| named == profile))
    }

    /// The requirement id that is closest in spelling, for error messages.
    #[must_use]
    pub fn nearest(&self, id: &str) -> Option<&str> {
        let ids = self.requirements.iter().map(|row| row.id.as_str());
        ids.map(|known| (strsim::damerau_levenshtein(known, id), known))
            .min()
            .filter(|(distance, _)| *distance <= 6)
            .map(|(_, known)| known)
    }

    /// One line for each requirement, sorted: the SHA-256 of what it says, then its id. What it says
    /// is the sentence, how binding it is, its layer, the promise behind it, what a probe must see at
    /// each level and the profiles that require it.
    #[must_use]
    pub fn hashes(&self) -> String {
        let mut lines: Vec<String> = self
            .requirements
            .iter()
            .map(|row| {
                let parts = (row.layer, row.level, &row.sentence, &row.promise);
                let parts = (parts, row.boundary, &row.profiles);
                let text = serde_json::to_vec(&parts).unwrap_or_default();
                format!("{}  {}\n", hex::encode(Sha256::digest(text)), row.id)
            })
            .collect();
        lines.sort_by(|one, two| one.get(66..).cmp(&two.get(66..)));
        lines.concat()
    }

    fn check(&self) -> Result<(), SpecError> {
        let mut seen = BTreeSet::new();
        let mut last = Layer::Input;
        for row in &self.requirements {
            let fail = |message: String| SpecError::Row { id: row.id.clone(), message };
            if !seen.insert(row.id.as_str()) {
                return Err(fail("the id stands twice".into()));
            }
            if row.layer < last {
                return Err(fail(format!("layer {:?} comes after {last:?}", row.layer)));
            }
            last = row.layer;
            if let Some(profile) = row.profiles.iter().find(|id| !self.knows_profile(id)) {
                return Err(fail(format!("unknown profile `{profile}`")));
            }
            let known = |id: &String| self.surfaces.iter().any(|surface| surface.id == *id);
            if let Some(surface) = row.surfaces.iter().find(|id| !known(id)) {
                return Err(fail(format!("unknown surface `{surface}`")));
            }
            let below = |head: &str, id: &str| {
                id.strip_prefix(head).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let unknown = |head: &&String| !self.requirements.iter().any(|it| below(head, &it.id));
            if let Some(head) = row.rests_on.iter().find(unknown) {
                return Err(fail(format!("rests on `{head}`, which is no requirement")));
            }
            if row.system.is_some() && row.boundary.is_none() {
                return Err(fail("names a system and is no probe".into()));
            }
            if row.surfaces.is_empty() || row.sentence.is_empty() || row.promise.is_empty() {
                return Err(fail("needs a sentence, a promise and at least one surface".into()));
            }
        }
        Ok(())
    }
}
