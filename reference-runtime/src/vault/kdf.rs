//! From the master password to a key: Argon2id. It must never run with parameters that it has not
//! held against floor and ceiling first.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::MasterPassword;
use crate::requirement;

/// A 256-bit key, wiped on drop.
pub(super) type Key = Zeroizing<[u8; 32]>;

/// The cost of one derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cost {
    /// Memory in KiB.
    pub(super) memory: u32,
    /// Passes over it.
    pub(super) passes: u32,
    /// Lanes.
    pub(super) lanes: u32,
}

/// The least that is accepted, and what is written.
const FLOOR: Cost = Cost { memory: 65_536, passes: 3, lanes: 4 };
/// The most that is accepted, so that a file cannot ask for all memory or time.
const CEILING: Cost = Cost { memory: 1 << 20, passes: 16, lanes: 16 };
/// What is written where `vault.kdf` is knocked out.
const WEAK: Cost = Cost { memory: 8192, passes: 1, lanes: 1 };

impl Cost {
    /// What this program writes.
    pub(super) fn written() -> Self {
        if requirement::VAULT_KDF.enforced() { FLOOR } else { WEAK }
    }

    /// Why a record with this cost is not opened; none if it may be.
    pub(super) fn refused(self) -> Option<&'static str> {
        let below = |floor: Self| {
            self.memory < floor.memory || self.passes < floor.passes || self.lanes < floor.lanes
        };
        let above = self.memory > CEILING.memory
            || self.passes > CEILING.passes
            || self.lanes > CEILING.lanes;
        if above {
            Some("key derivation above the ceiling")
        } else if below(FLOOR) && self != Self::written() && requirement::VAULT_DOWNGRADE.enforced()
        {
            Some("key derivation below the floor")
        } else {
            None
        }
    }
}

/// Derives the key. Takes a large part of a second and `cost.memory` KiB, which are wiped.
pub(super) fn derive(
    password: &MasterPassword,
    salt: &[u8; 16],
    cost: Cost,
) -> Result<Key, String> {
    let params = Params::new(cost.memory, cost.passes, cost.lanes, Some(32))
        .map_err(|error| error.to_string())?;
    let blocks = params.block_count();
    let mut memory: Zeroizing<Vec<Block>> = Zeroizing::new(Vec::new());
    memory.try_reserve_exact(blocks).map_err(|error| error.to_string())?;
    memory.resize(blocks, Block::default());
    let mut key = Key::default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(
            password.expose(),
            salt,
            key.as_mut_slice(),
            memory.as_mut_slice(),
        )
        .map_err(|error| error.to_string())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_and_ceiling_are_exact() {
        assert_eq!(FLOOR.refused(), None);
        assert_eq!(CEILING.refused(), None);
        for weak in [
            Cost { memory: FLOOR.memory - 1, ..FLOOR },
            Cost { passes: FLOOR.passes - 1, ..FLOOR },
            Cost { lanes: FLOOR.lanes - 1, ..FLOOR },
            WEAK,
            Cost { memory: 0, passes: 0, lanes: 0 },
        ] {
            assert_eq!(weak.refused(), Some("key derivation below the floor"));
        }
        for absurd in [
            Cost { memory: u32::MAX, ..FLOOR },
            Cost { passes: CEILING.passes + 1, ..FLOOR },
            Cost { lanes: u32::MAX, passes: 0, memory: 0 },
        ] {
            assert_eq!(absurd.refused(), Some("key derivation above the ceiling"));
        }
    }
}
