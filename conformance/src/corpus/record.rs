//! One attack record: a technique class with its cases, as it stands in `attacks/<family>/<ID>.json`.
//! Must never know a target, a run or what a case ended in.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::payload::{Expr, Role};
use super::surface::Surface;

/// One technique class with its cases.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The permanent id, such as `PT-013`; never used again.
    pub id: String,
    /// The family, equal to the letters of the id.
    pub family: Family,
    /// A short name of the technique.
    pub title: String,
    /// What the technique does and why it works where it works.
    pub definition: String,
    /// Whether the record counts.
    pub status: Status,
    /// The corpus version that first held it, such as `2026.1`.
    pub since: String,
    /// How bad a success is.
    pub severity: Severity,
    /// The requirements that the cases witness.
    pub requirement: Vec<String>,
    /// Public names of the technique.
    #[serde(default)]
    pub refs: Refs,
    /// The SPDX licence of this file.
    pub licence: String,
    /// Where it comes from.
    pub provenance: Provenance,
    /// Why no subject can be seen to fall to it, where none can: such attacks never count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<String>,
    /// Further surfaces on which each case is played whose own surface takes the same shape of
    /// payload, as `<case>@<surface>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Surface>,
    /// Attacks, each with a benign twin.
    pub cases: Vec<Case>,
}

/// One attack or one benign twin.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The permanent id, such as `PT-013.001`.
    pub id: String,
    /// Attack or benign.
    pub kind: Kind,
    /// Where the payload is delivered.
    pub surface: Surface,
    /// For an attack: the benign case on the same surface that must succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<String>,
    /// What this case shows that its neighbours do not.
    pub note: String,
    /// The requirements of this case where they are fewer than the record's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirement: Vec<String>,
    /// What the host must be able to do; where it cannot, the case is not applicable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Capability>,
    /// What is put into place before, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub setup: Vec<Setup>,
    /// The bytes delivered.
    pub payload: Expr,
    /// `message.text`: splice the payload into the JSON string without escaping it. `plugin.frame`:
    /// the bytes are no message, they stand on the connection as they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub raw: bool,
    /// The conversation that plays this case where a payload alone cannot: the id of a scenario,
    /// such as `vault.crash-safe-kill`. An attack stands or falls with it, a benign case with its
    /// benign part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// Whether the case has a meaning on its own surface alone, whatever the record says.
    #[serde(default, skip_serializing_if = "is_false")]
    pub here_alone: bool,
    /// `tool.arguments` alone: the tool that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What must be seen.
    pub expect: Expect,
}

impl Case {
    /// The requirements that this case witnesses: its own, else its record's.
    #[must_use]
    pub fn requirements<'a>(&'a self, record: &'a Record) -> &'a [String] {
        if self.requirement.is_empty() { &record.requirement } else { &self.requirement }
    }

    /// This case on another surface, if it can be played there: the same payload, and the twin
    /// there too.
    #[must_use]
    pub fn on(&self, surface: Surface) -> Option<Self> {
        let shape = self.surface.shape()?;
        let fits = self.surface != surface && surface.shape() == Some(shape);
        if !fits || self.here_alone || self.raw || self.scenario.is_some() {
            return None;
        }
        let moved = |id: &str| format!("{id}@{}", surface.id());
        let (id, twin) = (moved(&self.id), self.twin.as_deref().map(moved));
        Some(Self { id, twin, surface, ..self.clone() })
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// The family of a technique.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Deserialize,
    Serialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[clap(rename_all = "UPPER")]
pub enum Family {
    /// Path traversal.
    PT,
    /// Command and argument injection.
    CI,
    /// JSON.
    JS,
    /// Unicode and control characters.
    UC,
    /// Oversize.
    OP,
    /// Secret exfiltration.
    SX,
    /// Tool-call conjuring.
    TC,
    /// Rates.
    RL,
    /// Plugin inter-process communication.
    IP,
    /// The credential store.
    CS,
    /// Log injection.
    LI,
}

/// Whether a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It counts.
    Active,
    /// Its verdict is under discussion: it is played and shown, and does not count.
    Disputed,
    /// It is kept so that its id is not used again, and is not played.
    Withdrawn,
}

/// How bad a success is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Confuses.
    Low,
    /// Weakens a defence or denies service.
    Medium,
    /// Breaks one layer.
    High,
    /// Reads, writes or runs outside the boundary.
    Critical,
}

/// Public names of a technique.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refs {
    /// Weaknesses, such as `CWE-22`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cwe: Vec<String>,
    /// Known flaws, such as `CVE-2024-24576`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cve: Vec<String>,
    /// Attack patterns, such as `CAPEC-126`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capec: Vec<String>,
    /// Techniques, such as `T1059`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attack: Vec<String>,
    /// Entries of a published list, such as `LLM01:2025`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owasp: Vec<String>,
}

/// Where a record comes from.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// How it came to be.
    pub kind: Origin,
    /// Who wrote it.
    pub author: String,
    /// When, as `YYYY-MM-DD`.
    pub date: String,
    /// What it was drawn from: names of public documents; empty for own work.
    #[serde(default)]
    pub sources: Vec<String>,
}

/// How a record came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Written for this corpus.
    Own,
    /// Handed in by somebody from outside.
    Submitted,
    /// Converted from a list under another licence.
    Imported,
    /// Found by generated attacks and shrunk.
    Explored,
}

/// Attack or benign twin.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Must have no effect.
    Attack,
    /// Must succeed.
    Benign,
}

/// What a host must be able to do for a case to have a meaning.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// The host is Linux.
    Linux,
    /// The host is macOS.
    Macos,
    /// The host is Windows.
    Windows,
    /// Symbolic links can be made.
    Symlink,
    /// Hard links can be made.
    Hardlink,
    /// Named pipes can be made in a folder.
    Fifo,
    /// Junctions can be made.
    Junction,
    /// `/proc` is there.
    Procfs,
    /// File names are found in another case than they were made in.
    Casefold,
    /// File names are found in another Unicode normalisation than they were made in.
    Normalising,
    /// File names have 8.3 aliases.
    ShortNames,
}

impl Capability {
    /// The one system that has it, for those that name a system.
    #[must_use]
    pub const fn system(self) -> Option<Os> {
        match self {
            Self::Linux => Some(Os::Linux),
            Self::Macos => Some(Os::Macos),
            Self::Windows => Some(Os::Windows),
            _ => None,
        }
    }
}

/// Something put into place before a case. Paths are relative to the workspace or begin with
/// ROOT or OUTSIDE; the one who materialises them refuses any that leave the case's own world.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Setup {
    /// A folder, with those above it.
    Dir {
        /// Where.
        path: Expr,
    },
    /// A file, with the folders above it.
    File {
        /// Where.
        path: Expr,
        /// Its bytes.
        content: Expr,
        /// Whether it may be executed.
        #[serde(default, skip_serializing_if = "is_false")]
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Where the link stands.
        path: Expr,
        /// What it says, byte for byte.
        target: Expr,
    },
    /// A hard link.
    Hardlink {
        /// Where the new name stands.
        path: Expr,
        /// The file that gets it.
        target: Expr,
    },
    /// A named pipe.
    Fifo {
        /// Where.
        path: Expr,
    },
    /// A Windows junction.
    Junction {
        /// Where.
        path: Expr,
        /// The folder it leads to.
        target: Expr,
    },
}

/// What must be seen.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The decision where no other is named for the system.
    pub verdict: Decision,
    /// Where a system differs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_os: BTreeMap<Os, Decision>,
    /// Why that is the right answer.
    pub reason: String,
}

impl Expect {
    /// The decision on one system.
    #[must_use]
    pub fn on(&self, os: Os) -> Decision {
        self.by_os.get(&os).copied().unwrap_or(self.verdict)
    }
}

/// What a target may do with a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Refused.
    Reject,
    /// Accepted and intact.
    Accept,
    /// Without effect: taken as plain data, changed until harmless, or refused.
    Neutralise,
    /// Anything but an effect or a dead target.
    Either,
}

/// The system a target runs on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Os {
    /// Linux.
    Linux,
    /// macOS.
    Macos,
    /// Windows.
    Windows,
}

impl Os {
    /// The system that this program runs on; every other Unix counts as Linux.
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
}
