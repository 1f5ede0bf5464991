//! Numbers modulo p = 2^256 - 2^224 - 2^96 + 2^64 - 1 (GB/T 32918.5 clause A.1), in Montgomery form: `a` is held as
//! `a * 2^256 mod p`. Since p is -1 modulo 2^64, reduction needs shifts and no multiplication. Constant time throughout.

use zeroize::Zeroize;

use super::limbs::{self, Limbs};

/// p.
const MODULUS: Limbs =
    [0xffff_ffff_ffff_ffff, 0xffff_ffff_0000_0000, 0xffff_ffff_ffff_ffff, 0xffff_fffe_ffff_ffff];
/// 2^512 mod p.
const R2: Limbs =
    [0x0000_0002_0000_0003, 0x0000_0002_ffff_ffff, 0x0000_0001_0000_0001, 0x0000_0004_0000_0002];

/// An element of the field.
#[derive(Clone, Copy, PartialEq, Eq, Zeroize)]
pub(super) struct Field(Limbs);

impl Field {
    pub(super) const ZERO: Self = Self([0; 4]);
    pub(super) const ONE: Self =
        Self([0x0000_0000_0000_0001, 0x0000_0000_ffff_ffff, 0x0000_0000_0000_0000, 0x0000_0001_0000_0000]);
    /// The curve's b.
    pub(super) const B: Self =
        Self([0x90d2_3063_2bc0_dd42, 0x71cf_379a_e9b5_37ab, 0x5279_8150_5ea5_1c3c, 0x240f_e188_ba20_e2c8]);
    /// Coordinates of the base point G.
    pub(super) const GENERATOR_X: Self =
        Self([0x6132_8990_f418_029e, 0x3e79_81ed_dca6_c050, 0xd6a1_ed99_ac24_c3c3, 0x9116_7a5e_e1c1_3b05]);
    pub(super) const GENERATOR_Y: Self =
        Self([0xc135_4e59_3c2d_0ddd, 0xc1f5_e578_8d32_95fa, 0x8d4c_fb06_6e2a_48f8, 0x63cd_65d4_81d7_35bd]);

    /// The element that the number, which is below p, stands for.
    pub(super) fn from_limbs(number: &Limbs) -> Self {
        Self(number_product(number, &R2))
    }

    /// `None` unless the number is below p.
    pub(super) fn from_be_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let number = limbs::from_be_bytes(bytes);
        (limbs::sub(&number, &MODULUS).1 == 1).then(|| Self::from_limbs(&number))
    }

    /// The number below p.
    pub(super) fn to_limbs(self) -> Limbs {
        reduce(&self.0, &[0; 4])
    }

    pub(super) fn to_be_bytes(self) -> [u8; 32] {
        limbs::to_be_bytes(&self.to_limbs())
    }

    #[inline(always)]
    pub(super) fn add(&self, other: &Self) -> Self {
        Self(limbs::add_mod(&self.0, &other.0, &MODULUS))
    }

    #[inline(always)]
    pub(super) fn double(&self) -> Self {
        self.add(self)
    }

    #[inline(always)]
    pub(super) fn sub(&self, other: &Self) -> Self {
        Self(limbs::sub_mod(&self.0, &other.0, &MODULUS))
    }

    #[inline(always)]
    pub(super) fn negate(&self) -> Self {
        Self::ZERO.sub(self)
    }

    /// The element whose double this is.
    #[inline(always)]
    pub(super) fn half(&self) -> Self {
        let odd = limbs::mask(self.0[0] & 1);
        let p = [MODULUS[0] & odd, MODULUS[1] & odd, MODULUS[2] & odd, MODULUS[3] & odd];
        let (even, carry) = limbs::add(&self.0, &p);
        Self([
            (even[0] >> 1) | (even[1] << 63),
            (even[1] >> 1) | (even[2] << 63),
            (even[2] >> 1) | (even[3] << 63),
            (even[3] >> 1) | (u64::from(carry) << 63),
        ])
    }

    #[inline(always)]
    pub(super) fn mul(&self, other: &Self) -> Self {
        Self(number_product(&self.0, &other.0))
    }

    #[inline(always)]
    pub(super) fn square(&self) -> Self {
        let (low, high) = limbs::square(&self.0);
        Self(reduce(&low, &high))
    }

    /// `self` to the power 2^`times`.
    fn square_times(&self, times: u32) -> Self {
        (0..times).fold(*self, |power, _| power.square())
    }

    /// The inverse; of zero, zero. By Fermat: to the power p - 2, whose bits are 31 ones, a zero, 128 ones, 32 zeros,
    /// 62 ones, a zero and a one.
    pub(super) fn invert(&self) -> Self {
        // Each name says how many ones the exponent has.
        let ones_2 = self.square().mul(self);
        let ones_3 = ones_2.square().mul(self);
        let ones_6 = ones_3.square_times(3).mul(&ones_3);
        let ones_12 = ones_6.square_times(6).mul(&ones_6);
        let ones_15 = ones_12.square_times(3).mul(&ones_3);
        let ones_30 = ones_15.square_times(15).mul(&ones_15);
        let ones_31 = ones_30.square().mul(self);
        let ones_32 = ones_31.square().mul(self);

        let mut power = ones_31.square();
        for _ in 0..4 {
            power = power.square_times(32).mul(&ones_32);
        }
        power = power.square_times(64).mul(&ones_32);
        power = power.square_times(30).mul(&ones_30);
        power.square_times(2).mul(self)
    }

    /// All ones if zero, else zero.
    #[inline(always)]
    pub(super) fn zero_mask(&self) -> u64 {
        limbs::zero_mask(&self.0)
    }

    /// For public values only.
    #[inline(always)]
    pub(super) fn is_zero(&self) -> bool {
        self.0 == [0; 4]
    }

    /// `a` where `mask` is zero, `b` where it is all ones.
    #[inline(always)]
    pub(super) fn select(a: &Self, b: &Self, mask: u64) -> Self {
        Self(limbs::select(&a.0, &b.0, mask))
    }

    /// Merges in `other` where `mask` is all ones. What was merged before must be zero.
    #[inline(always)]
    pub(super) fn merge(&mut self, other: &Self, mask: u64) {
        for (limb, other) in self.0.iter_mut().zip(&other.0) {
            *limb |= other & mask;
        }
    }
}

#[inline(always)]
fn number_product(a: &Limbs, b: &Limbs) -> Limbs {
    let (low, high) = limbs::multiply(a, b);
    reduce(&low, &high)
}

/// `(low + 2^256 * high) / 2^256` modulo p, for a product of two numbers below p.
#[inline(always)]
fn reduce(low: &Limbs, high: &Limbs) -> Limbs {
    let folded = fold(&fold(&fold(&fold(low))));
    // At most p, and `high` is below p.
    let (sum, carry) = limbs::add(&folded, high);
    limbs::reduce_once(&sum, carry, &MODULUS)
}

/// `(a + m * p) / 2^64`, where `m` is the lowest limb: exact, and below p + 2^192.
#[inline(always)]
fn fold(a: &Limbs) -> Limbs {
    let m = a[0];
    let (low, high) = (m << 32, m >> 32);
    // m * (p + 1) / 2^64 = m * (2^192 - 2^160 - 2^32 + 1)
    let (q0, borrow) = limbs::sbb(m, low, 0);
    let (q1, borrow) = limbs::sbb(0, high, borrow);
    let (q2, borrow) = limbs::sbb(0, low, borrow);
    let (q3, _) = limbs::sbb(m, high, borrow);
    limbs::add(&[a[1], a[2], a[3], 0], &[q0, q1, q2, q3]).0
}
