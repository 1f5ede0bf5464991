//! Numbers modulo n, the order of the curve's group (GB/T 32918.5 clause A.1). Constant time throughout.

use zeroize::Zeroize;

use super::limbs::{self, Limbs};

/// n.
pub(super) const ORDER: Limbs =
    [0x53bb_f409_39d5_4123, 0x7203_df6b_21c6_052b, 0xffff_ffff_ffff_ffff, 0xffff_fffe_ffff_ffff];
/// 2^512 mod n.
const R2: Limbs =
    [0x9011_92af_7c11_4f20, 0x3464_504a_de6f_a2fa, 0x620f_c84c_3aff_e0d4, 0x1eb5_e412_a22b_3d3b];
/// -1 / n mod 2^64.
const NEGATIVE_INVERSE: u64 = 0x327f_9e88_7235_0975;

/// A number below n.
#[derive(Clone, Copy, PartialEq, Eq, Zeroize)]
pub(super) struct Scalar(Limbs);

impl Scalar {
    pub(super) const ONE: Self = Self([1, 0, 0, 0]);

    /// `None` unless the number is below n.
    pub(super) fn from_be_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let number = limbs::from_be_bytes(bytes);
        (limbs::sub(&number, &ORDER).1 == 1).then_some(Self(number))
    }

    /// The remainder of the number, which is below 2^256, by n.
    pub(super) fn reduce(number: &Limbs) -> Self {
        // 2^256 is below twice n.
        Self(limbs::reduce_once(number, 0, &ORDER))
    }

    pub(super) fn to_be_bytes(self) -> [u8; 32] {
        limbs::to_be_bytes(&self.0)
    }

    pub(super) const fn limbs(&self) -> &Limbs {
        &self.0
    }

    /// Whether zero, learnt without branching on limbs.
    pub(super) fn is_zero(&self) -> bool {
        limbs::zero_mask(&self.0) != 0
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        Self(limbs::add_mod(&self.0, &other.0, &ORDER))
    }

    pub(super) fn sub(&self, other: &Self) -> Self {
        Self(limbs::sub_mod(&self.0, &other.0, &ORDER))
    }

    pub(super) fn negate(&self) -> Self {
        Self([0; 4]).sub(self)
    }

    pub(super) fn mul(&self, other: &Self) -> Self {
        Self(montgomery(&montgomery(&self.0, &R2), &other.0))
    }

    /// The inverse; of zero, zero. By Fermat, to the power n - 2: which steps it takes is no secret.
    pub(super) fn invert(&self) -> Self {
        let base = montgomery(&self.0, &R2);
        // base to the powers 0 to 15, in Montgomery form.
        let mut powers = [montgomery(&[1, 0, 0, 0], &R2); 16];
        for at in 1..16 {
            powers[at] = montgomery(&powers[at - 1], &base);
        }
        let exponent = [ORDER[0] - 2, ORDER[1], ORDER[2], ORDER[3]];
        let mut result = powers[0];
        for limb in exponent.iter().rev() {
            for shift in (0..64).step_by(4).rev() {
                for _ in 0..4 {
                    result = montgomery(&result, &result);
                }
                let digit = limb >> shift & 15;
                result = montgomery(&result, &powers[usize::from(digit.to_le_bytes()[0])]);
            }
        }
        powers.zeroize();
        Self(montgomery(&result, &[1, 0, 0, 0]))
    }

    /// Whether the number exceeds half of n, as a mask.
    pub(super) fn high_mask(&self) -> u64 {
        const HALF: Limbs = [
            ORDER[0] >> 1 | ORDER[1] << 63,
            ORDER[1] >> 1 | ORDER[2] << 63,
            ORDER[2] >> 1 | ORDER[3] << 63,
            ORDER[3] >> 1,
        ];
        limbs::secret_mask(u64::from(limbs::sub(&HALF, &self.0).1))
    }

    /// `a` where `mask` is zero, `b` where it is all ones.
    pub(super) fn select(a: &Self, b: &Self, mask: u64) -> Self {
        Self(limbs::select(&a.0, &b.0, mask))
    }
}

/// `a * b / 2^256` modulo n.
fn montgomery(a: &Limbs, b: &Limbs) -> Limbs {
    let (mut low, high) = limbs::multiply(a, b);
    let mut round = 0;
    while round < 4 {
        let m = low[0].wrapping_mul(NEGATIVE_INVERSE);
        let (_, c) = limbs::mac(low[0], m, ORDER[0], 0);
        let (r0, c) = limbs::mac(low[1], m, ORDER[1], c);
        let (r1, c) = limbs::mac(low[2], m, ORDER[2], c);
        let (r2, r3) = limbs::mac(low[3], m, ORDER[3], c);
        low = [r0, r1, r2, r3];
        round += 1;
    }
    let (sum, carry) = limbs::add(&low, &high);
    limbs::reduce_once(&sum, carry, &ORDER)
}
