//! Which code encrypts: asked of the CPU, then a jump.

#[cfg(target_arch = "aarch64")]
use super::aarch64::{neon, sm4};
#[cfg(target_arch = "x86_64")]
use super::x86_64::{avx2, avx512, chain};
use super::{BLOCK_LEN, Counter, portable};

/// A way to compute SM4; see the [module](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// Plain Rust on bit planes.
    Portable,
    /// AES-NI with AVX2.
    #[cfg(target_arch = "x86_64")]
    AesNi,
    /// VAES with AVX2.
    #[cfg(target_arch = "x86_64")]
    Vaes,
    /// GFNI with AVX2.
    #[cfg(target_arch = "x86_64")]
    Gfni256,
    /// GFNI with AVX-512.
    #[cfg(target_arch = "x86_64")]
    Gfni512,
    /// The AES instructions of Armv8.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// The SM4 instructions of Armv8.2.
    #[cfg(target_arch = "aarch64")]
    Armv8Sm4,
}

impl Backend {
    /// All of them, the fastest first.
    #[cfg(target_arch = "x86_64")]
    pub const ALL: &[Self] = &[Self::Gfni512, Self::Gfni256, Self::Vaes, Self::AesNi, Self::Portable];
    /// All of them, the fastest first.
    #[cfg(target_arch = "aarch64")]
    pub const ALL: &[Self] = &[Self::Armv8Sm4, Self::Neon, Self::Portable];
    /// All of them, the fastest first.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub const ALL: &[Self] = &[Self::Portable];

    /// The fastest that this CPU has.
    pub fn best() -> Self {
        Self::ALL.iter().copied().find(|backend| backend.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => avx2::aes::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes => avx2::vaes::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Gfni256 => avx2::gfni::is_available(),
            // Single blocks are for the 256 bit back end.
            #[cfg(target_arch = "x86_64")]
            Self::Gfni512 => avx512::is_available() && avx2::gfni::is_available(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::is_available(),
            #[cfg(target_arch = "aarch64")]
            Self::Armv8Sm4 => sm4::is_available(),
        }
    }

    pub(super) fn encrypt(self, round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_LEN]]) {
        match self {
            Self::Portable => portable::encrypt(round_keys, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => avx2::aes::encrypt(round_keys, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes => avx2::vaes::encrypt(round_keys, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::Gfni256 | Self::Gfni512 => avx2::gfni::encrypt(round_keys, blocks),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::encrypt(round_keys, blocks),
            #[cfg(target_arch = "aarch64")]
            Self::Armv8Sm4 => sm4::encrypt(round_keys, blocks),
        }
    }

    /// Adds each of `blocks` to `sum` and encrypts it: CBC-MAC, where no block can begin before the one before has ended.
    pub(super) fn absorb(
        self,
        round_keys: &[u32; 32],
        sum: &mut [u8; BLOCK_LEN],
        blocks: &[[u8; BLOCK_LEN]],
    ) {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Gfni512 if chain::avx512::is_available() => {
                return chain::avx512::absorb(round_keys, sum, blocks);
            }
            Self::Gfni256 | Self::Gfni512 => return chain::avx2::absorb(round_keys, sum, blocks),
            _ => {}
        }
        #[cfg(target_arch = "aarch64")]
        if self == Self::Armv8Sm4 {
            return sm4::absorb(round_keys, sum, blocks);
        }
        for block in blocks {
            sum.iter_mut().zip(block).for_each(|(byte, block)| *byte ^= block);
            self.encrypt(round_keys, std::slice::from_mut(sum));
        }
    }

    pub(super) fn xor_keystream(self, round_keys: &[u32; 32], counter: &Counter, data: &mut [u8]) {
        match self {
            Self::Portable => portable::xor_keystream(round_keys, counter, data),
            #[cfg(target_arch = "x86_64")]
            Self::AesNi => avx2::aes::xor_keystream(round_keys, counter, data),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes => avx2::vaes::xor_keystream(round_keys, counter, data),
            #[cfg(target_arch = "x86_64")]
            Self::Gfni256 => avx2::gfni::xor_keystream(round_keys, counter, data),
            #[cfg(target_arch = "x86_64")]
            Self::Gfni512 => avx512::xor_keystream(round_keys, counter, data),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::xor_keystream(round_keys, counter, data),
            #[cfg(target_arch = "aarch64")]
            Self::Armv8Sm4 => sm4::xor_keystream(round_keys, counter, data),
        }
    }
}
