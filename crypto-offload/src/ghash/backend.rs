//! Which code multiplies.

#[cfg(target_arch = "aarch64")]
use super::aarch64;
#[cfg(target_arch = "x86_64")]
use super::x86_64;
use super::{BLOCK_LEN, Powers, portable};

/// A way to multiply in GHASH's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Integer multiplication of numbers with holes.
    Portable,
    /// PCLMULQDQ.
    #[cfg(target_arch = "x86_64")]
    Clmul,
    /// VPCLMULQDQ with AVX-512.
    #[cfg(target_arch = "x86_64")]
    WideClmul,
    /// PMULL.
    #[cfg(target_arch = "aarch64")]
    Pmull,
}

impl Backend {
    /// All of them, the fastest first.
    #[cfg(target_arch = "x86_64")]
    pub(crate) const ALL: &[Self] = &[Self::WideClmul, Self::Clmul, Self::Portable];
    /// All of them, the fastest first.
    #[cfg(target_arch = "aarch64")]
    pub(crate) const ALL: &[Self] = &[Self::Pmull, Self::Portable];
    /// All of them, the fastest first.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(crate) const ALL: &[Self] = &[Self::Portable];

    /// The one that belongs beside a back end of SM4: the fastest of what the same class of machine has.
    pub(crate) fn beside(cipher: crate::sm4::Backend) -> Self {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        use crate::sm4::Backend as Cipher;
        let best = match cipher {
            #[cfg(target_arch = "x86_64")]
            Cipher::Gfni512 => return Self::best(),
            #[cfg(target_arch = "x86_64")]
            Cipher::AesNi | Cipher::Vaes | Cipher::Gfni256 => Self::Clmul,
            #[cfg(target_arch = "aarch64")]
            Cipher::Neon | Cipher::Armv8Sm4 => Self::Pmull,
            crate::sm4::Backend::Portable => Self::Portable,
        };
        if best.is_available() { best } else { Self::Portable }
    }

    /// The fastest that this CPU has.
    pub(crate) fn best() -> Self {
        Self::ALL.iter().copied().find(|backend| backend.is_available()).unwrap_or(Self::Portable)
    }

    pub(crate) fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Clmul => x86_64::has_clmul(),
            #[cfg(target_arch = "x86_64")]
            Self::WideClmul => x86_64::has_wide_clmul(),
            #[cfg(target_arch = "aarch64")]
            Self::Pmull => aarch64::has_pmull(),
        }
    }

    /// POLYVAL's product: `a b / x^128`.
    pub(super) fn multiply(self, a: u128, b: u128) -> u128 {
        match self {
            Self::Portable => portable::multiply(a, b),
            #[cfg(target_arch = "x86_64")]
            Self::Clmul | Self::WideClmul => x86_64::multiply(a, b),
            #[cfg(target_arch = "aarch64")]
            Self::Pmull => aarch64::multiply(a, b),
        }
    }

    /// POLYVAL of `blocks`, begun with `sum`.
    pub(super) fn absorb(self, powers: &Powers, sum: u128, blocks: &[[u8; BLOCK_LEN]]) -> u128 {
        match self {
            Self::Portable => portable::absorb(powers, sum, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::Clmul => x86_64::absorb(powers, sum, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::WideClmul => x86_64::absorb_wide(powers, sum, blocks),
            #[cfg(target_arch = "aarch64")]
            Self::Pmull => aarch64::absorb(powers, sum, blocks),
        }
    }
}
