//! What a tool may do, as a small set. It must never know how the limits are enforced.

use serde::{Serialize, Serializer};

pub use crate::config::Capability;

/// A set of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities(u8);

impl Capabilities {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(0b1111);

    /// The set of these capabilities.
    #[must_use]
    pub const fn of(list: &[Capability]) -> Self {
        let mut bits = 0;
        let mut rest = list;
        while let [first, tail @ ..] = rest {
            bits |= 1 << *first as u8;
            rest = tail;
        }
        Self(bits)
    }

    /// Whether the set holds a capability.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// What both sets hold.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The capabilities of the set, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        [Capability::Read, Capability::Write, Capability::Network, Capability::Process]
            .into_iter()
            .filter(move |capability| self.has(*capability))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(iter: I) -> Self {
        iter.into_iter().fold(Self::NONE, |set, one| Self(set.0 | Self::of(&[one]).0))
    }
}

impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_it_was_made_of_and_nothing_else() {
        let set = Capabilities::of(&[Capability::Read, Capability::Process]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Capability::Read, Capability::Process]);
        assert!(!set.has(Capability::Write) && !set.has(Capability::Network));
        assert_eq!(
            set.and(Capabilities::of(&[Capability::Read, Capability::Write])).iter().count(),
            1
        );
        assert_eq!(Capabilities::ALL.iter().count(), 4);
        assert_eq!(Capabilities::NONE.iter().count(), 0);
        assert_eq!(serde_json::to_string(&set).unwrap(), r#"["read","process"]"#);
    }
}
