//! Which code encrypts: asked of the CPU once, then a jump.

use super::{BLOCK_LEN, Counter, portable};

/// A way to compute SM4; see the [module](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// Plain Rust on bit planes.
    Portable,
}

impl Backend {
    /// All of them, the fastest first.
    pub const ALL: &[Self] = &[Self::Portable];

    /// The fastest that this CPU has.
    pub fn best() -> Self {
        Self::ALL.iter().copied().find(|backend| backend.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
        }
    }

    pub(super) fn encrypt(self, round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_LEN]]) {
        match self {
            Self::Portable => portable::encrypt(round_keys, blocks),
        }
    }

    pub(super) fn xor_keystream(self, round_keys: &[u32; 32], counter: &Counter, data: &mut [u8]) {
        match self {
            Self::Portable => portable::xor_keystream(round_keys, counter, data),
        }
    }
}
