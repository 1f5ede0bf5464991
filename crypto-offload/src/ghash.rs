//! GHASH (SP 800-38D clause 6.4), computed as POLYVAL (RFC 8452 appendix A) so that nothing has to be turned round bit
//! by bit: blocks and sums are little-endian numbers of 128 bits.
//!
//! Many blocks are multiplied by as many powers of the key, and the sum is reduced once.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod backend;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub(crate) use backend::Backend;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a block.
const BLOCK_LEN: usize = 16;
/// Powers of the key that are kept: as many blocks are summed up before a reduction.
const POWERS: usize = 16;

/// The key with its powers. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct GhashKey {
    powers: Powers,
    #[zeroize(skip)]
    backend: Backend,
}

/// The 16th power first, the first power last, then zeros for back ends that load four at a time.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Powers([u128; POWERS + 4]);

impl Zeroize for Powers {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl Powers {
    /// The powers for `count` blocks, 1 to 16, the highest first, and what lies behind them.
    fn last(&self, count: usize) -> &[u128] {
        &self.0[POWERS - count..]
    }
}

impl GhashKey {
    /// Expands the key for a back end that the CPU is known to have.
    pub(crate) fn with_backend(h: &[u8; BLOCK_LEN], backend: Backend) -> Self {
        // mulX_POLYVAL of RFC 8452 appendix A.
        let reversed = u128::from_be_bytes(*h);
        let carry = 0_u128.wrapping_sub(reversed >> 127);
        let h = reversed << 1 ^ carry & (0xc2_u128 << 120 | 1);
        let mut powers = [0; POWERS + 4];
        let mut power = h;
        for slot in powers[..POWERS].iter_mut().rev() {
            *slot = power;
            power = backend.multiply(power, h);
        }
        Self { powers: Powers(powers), backend }
    }

    /// Hashes `data` into `sum`. An unfinished block at the end is filled up with zeros.
    pub(crate) fn absorb(&self, sum: &mut Sum, data: &[u8]) {
        let (blocks, rest) = data.as_chunks::<BLOCK_LEN>();
        if !blocks.is_empty() {
            sum.0 = self.backend.absorb(&self.powers, sum.0, blocks);
        }
        if !rest.is_empty() {
            let mut last = [0; BLOCK_LEN];
            last[..rest.len()].copy_from_slice(rest);
            sum.0 = self.backend.absorb(&self.powers, sum.0, &[last]);
        }
    }

    /// Hashes the last block of GCM: the lengths, given in bytes and hashed in bits.
    pub(crate) fn finish(&self, sum: &Sum, aad: u64, text: u64) -> [u8; BLOCK_LEN] {
        let lengths = (u128::from(aad) << 64 | u128::from(text)) << 3;
        self.backend.absorb(&self.powers, sum.0, &[lengths.to_be_bytes()]).to_be_bytes()
    }
}

/// What has been hashed so far.
#[derive(Clone, Copy, Default, Zeroize)]
pub(crate) struct Sum(u128);

impl Sum {
    /// As GHASH would print it.
    pub(crate) const fn to_bytes(self) -> [u8; BLOCK_LEN] {
        self.0.to_be_bytes()
    }

    pub(crate) const fn from_bytes(bytes: [u8; BLOCK_LEN]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use ghash::universal_hash::UniversalHash as _;
    use proptest::prelude::*;

    use super::*;

    fn reference(h: &[u8; 16], data: &[u8]) -> [u8; 16] {
        let mut hash = ghash::GHash::new(h.into());
        hash.update_padded(data);
        hash.finalize().into()
    }

    fn backends() -> impl Iterator<Item = Backend> {
        Backend::ALL.iter().copied().filter(|backend| backend.is_available())
    }

    proptest! {
        #[test]
        fn every_back_end_sums_as_the_reference_does(
            h in any::<[u8; 16]>(),
            data in prop::collection::vec(any::<u8>(), 0..2000),
            cut in any::<prop::sample::Index>(),
        ) {
            let expected = reference(&h, &data);
            let cut = cut.index(data.len() / 16 + 1) * 16;
            for backend in backends() {
                let key = GhashKey::with_backend(&h, backend);
                let mut sum = Sum::default();
                key.absorb(&mut sum, &data);
                prop_assert_eq!(sum.to_bytes(), expected, "{:?}", backend);
                let mut parts = Sum::default();
                key.absorb(&mut parts, &data[..cut]);
                let mut parts = Sum::from_bytes(parts.to_bytes());
                key.absorb(&mut parts, &data[cut..]);
                prop_assert_eq!(parts.to_bytes(), expected, "{:?} cut at {}", backend, cut);
            }
        }
    }

    #[test]
    fn every_count_of_blocks_and_the_extreme_keys() {
        let data: Vec<u8> = (0..70 * 16).map(|at: u32| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        let mut lowest = [0; 16];
        lowest[15] = 1;
        for h in [[0; 16], [0xff; 16], [0x80; 16], lowest] {
            for len in (0..data.len()).step_by(16).chain([1, 15, 17, 255, 257]) {
                for backend in backends() {
                    let mut sum = Sum::default();
                    GhashKey::with_backend(&h, backend).absorb(&mut sum, &data[..len]);
                    assert_eq!(sum.to_bytes(), reference(&h, &data[..len]), "{backend:?} {len}");
                }
            }
        }
    }
}
