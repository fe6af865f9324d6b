//! What playing one case gave, before anything is made of it. It must never know what was expected.

use crate::scenario::corpus::Played;
use crate::scenario::{Finding, Trouble};

/// What playing one case gave.
pub(super) enum Raw {
    /// A corpus case.
    Played { played: Played, milliseconds: u64 },
    /// A scenario or probe.
    Found { finding: Finding, milliseconds: u64 },
    /// Nothing was seen.
    Troubled { trouble: Trouble, milliseconds: u64 },
}

impl Raw {
    /// Whether anything was executed.
    pub(super) fn executed(&self) -> bool {
        !matches!(
            self,
            Self::Troubled { trouble: Trouble::Unsupported(_) | Trouble::NotApplicable(_), .. }
        )
    }

    pub(super) fn milliseconds(&self) -> u64 {
        match self {
            Self::Played { milliseconds, .. }
            | Self::Found { milliseconds, .. }
            | Self::Troubled { milliseconds, .. } => *milliseconds,
        }
    }
}
