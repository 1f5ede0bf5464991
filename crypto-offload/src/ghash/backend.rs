//! Which code multiplies.

use super::{BLOCK_LEN, Powers, portable};

/// A way to multiply in GHASH's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Integer multiplication of numbers with holes.
    Portable,
}

impl Backend {
    /// All of them, the fastest first.
    pub(crate) const ALL: &[Self] = &[Self::Portable];

    /// The one that belongs beside a back end of SM4: what the same class of machine has.
    pub(crate) fn beside(cipher: crate::sm4::Backend) -> Self {
        match cipher {
            crate::sm4::Backend::Portable => Self::Portable,
        }
    }

    /// The fastest that this CPU has.
    pub(crate) fn best() -> Self {
        Self::ALL.iter().copied().find(|backend| backend.is_available()).unwrap_or(Self::Portable)
    }

    pub(crate) fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
        }
    }

    /// POLYVAL's product: `a b / x^128`.
    pub(super) fn multiply(self, a: u128, b: u128) -> u128 {
        portable::multiply(a, b)
    }

    /// POLYVAL of `blocks`, begun with `sum`.
    pub(super) fn absorb(self, powers: &Powers, sum: u128, blocks: &[[u8; BLOCK_LEN]]) -> u128 {
        match self {
            Self::Portable => portable::absorb(powers, sum, blocks),
        }
    }
}
