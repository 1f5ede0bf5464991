//! 256-bit numbers as four 64-bit limbs, least significant first. Nothing here branches on a limb.
#![allow(clippy::cast_possible_truncation, reason = "taking a double word apart is what is meant")]

use std::hint::{black_box, select_unpredictable};

/// Least significant limb first.
pub(super) type Limbs = [u64; 4];

/// 0 or 1.
pub(super) type Carry = u8;

/// `a + b + carry` as low word and carry.
#[inline(always)]
pub(super) fn adc(a: u64, b: u64, carry: Carry) -> (u64, Carry) {
    // The compiler takes sums that involve a constant for comparisons and loses the chain of carries, unless it is told.
    #[cfg(target_arch = "x86_64")]
    {
        let mut sum = 0;
        let carry = std::arch::x86_64::_addcarry_u64(carry, a, b, &mut sum);
        (sum, carry)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let (sum, first) = a.overflowing_add(b);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        (sum, Carry::from(first | second))
    }
}

/// `a - b - borrow` as low word and borrow.
#[inline(always)]
pub(super) fn sbb(a: u64, b: u64, borrow: Carry) -> (u64, Carry) {
    #[cfg(target_arch = "x86_64")]
    {
        let mut difference = 0;
        let borrow = std::arch::x86_64::_subborrow_u64(borrow, a, b, &mut difference);
        (difference, borrow)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let (difference, first) = a.overflowing_sub(b);
        let (difference, second) = difference.overflowing_sub(u64::from(borrow));
        (difference, Carry::from(first | second))
    }
}

/// `sum + a * b + carry` as low word and high word. It always fits.
#[inline(always)]
pub(super) fn mac(sum: u64, a: u64, b: u64, carry: u64) -> (u64, u64) {
    let wide = a as u128 * b as u128 + sum as u128 + carry as u128;
    (wide as u64, (wide >> 64) as u64)
}

/// `a + b` and the carry out.
#[inline(always)]
pub(super) fn add(a: &Limbs, b: &Limbs) -> (Limbs, Carry) {
    let (r0, carry) = adc(a[0], b[0], 0);
    let (r1, carry) = adc(a[1], b[1], carry);
    let (r2, carry) = adc(a[2], b[2], carry);
    let (r3, carry) = adc(a[3], b[3], carry);
    ([r0, r1, r2, r3], carry)
}

/// `a - b` and the borrow out.
#[inline(always)]
pub(super) fn sub(a: &Limbs, b: &Limbs) -> (Limbs, Carry) {
    let (r0, borrow) = sbb(a[0], b[0], 0);
    let (r1, borrow) = sbb(a[1], b[1], borrow);
    let (r2, borrow) = sbb(a[2], b[2], borrow);
    let (r3, borrow) = sbb(a[3], b[3], borrow);
    ([r0, r1, r2, r3], borrow)
}

/// All ones for 1, zero for 0.
#[inline(always)]
pub(super) fn mask(bit: u64) -> u64 {
    bit.wrapping_neg()
}

/// `a` where `mask` is zero, `b` where it is all ones.
#[inline(always)]
pub(super) fn select(a: &Limbs, b: &Limbs, mask: u64) -> Limbs {
    [
        a[0] ^ (mask & (a[0] ^ b[0])),
        a[1] ^ (mask & (a[1] ^ b[1])),
        a[2] ^ (mask & (a[2] ^ b[2])),
        a[3] ^ (mask & (a[3] ^ b[3])),
    ]
}

/// `value` (with `carry` as bit 256), less `modulus` if it is not smaller. `value` must be below twice the modulus.
#[inline(always)]
pub(super) fn reduce_once(value: &Limbs, carry: Carry, modulus: &Limbs) -> Limbs {
    let (less, borrow) = sub(value, modulus);
    // Bit 256 lends to the borrow; still short, it was too small to subtract from.
    let (_, borrow) = sbb(u64::from(carry), 0, borrow);
    // A conditional move, not a jump.
    let keep = borrow != 0;
    [
        select_unpredictable(keep, value[0], less[0]),
        select_unpredictable(keep, value[1], less[1]),
        select_unpredictable(keep, value[2], less[2]),
        select_unpredictable(keep, value[3], less[3]),
    ]
}

/// `a + b` modulo `modulus`, both below it.
#[inline(always)]
pub(super) fn add_mod(a: &Limbs, b: &Limbs, modulus: &Limbs) -> Limbs {
    let (sum, carry) = add(a, b);
    reduce_once(&sum, carry, modulus)
}

/// `a - b` modulo `modulus`, both below it.
#[inline(always)]
pub(super) fn sub_mod(a: &Limbs, b: &Limbs, modulus: &Limbs) -> Limbs {
    let (difference, borrow) = sub(a, b);
    let mask = mask(u64::from(borrow));
    add(&difference, &[modulus[0] & mask, modulus[1] & mask, modulus[2] & mask, modulus[3] & mask]).0
}

/// All 512 bits of `a * b`.
#[inline(always)]
pub(super) fn multiply(a: &Limbs, b: &Limbs) -> (Limbs, Limbs) {
    let (r0, c) = mac(0, a[0], b[0], 0);
    let (r1, c) = mac(0, a[0], b[1], c);
    let (r2, c) = mac(0, a[0], b[2], c);
    let (r3, r4) = mac(0, a[0], b[3], c);

    let (r1, c) = mac(r1, a[1], b[0], 0);
    let (r2, c) = mac(r2, a[1], b[1], c);
    let (r3, c) = mac(r3, a[1], b[2], c);
    let (r4, r5) = mac(r4, a[1], b[3], c);

    let (r2, c) = mac(r2, a[2], b[0], 0);
    let (r3, c) = mac(r3, a[2], b[1], c);
    let (r4, c) = mac(r4, a[2], b[2], c);
    let (r5, r6) = mac(r5, a[2], b[3], c);

    let (r3, c) = mac(r3, a[3], b[0], 0);
    let (r4, c) = mac(r4, a[3], b[1], c);
    let (r5, c) = mac(r5, a[3], b[2], c);
    let (r6, r7) = mac(r6, a[3], b[3], c);
    ([r0, r1, r2, r3], [r4, r5, r6, r7])
}

/// All 512 bits of `a * a`: the mixed products once, doubled, and the squares.
#[inline(always)]
pub(super) fn square(a: &Limbs) -> (Limbs, Limbs) {
    let (r1, c) = mac(0, a[0], a[1], 0);
    let (r2, c) = mac(0, a[0], a[2], c);
    let (r3, r4) = mac(0, a[0], a[3], c);
    let (r3, c) = mac(r3, a[1], a[2], 0);
    let (r4, r5) = mac(r4, a[1], a[3], c);
    let (r5, r6) = mac(r5, a[2], a[3], 0);

    let r7 = r6 >> 63;
    let r6 = (r6 << 1) | (r5 >> 63);
    let r5 = (r5 << 1) | (r4 >> 63);
    let r4 = (r4 << 1) | (r3 >> 63);
    let r3 = (r3 << 1) | (r2 >> 63);
    let r2 = (r2 << 1) | (r1 >> 63);
    let r1 = r1 << 1;

    let (r0, h0) = mac(0, a[0], a[0], 0);
    let (l1, h1) = mac(0, a[1], a[1], 0);
    let (l2, h2) = mac(0, a[2], a[2], 0);
    let (l3, h3) = mac(0, a[3], a[3], 0);
    let (r1, c) = adc(r1, h0, 0);
    let (r2, c) = adc(r2, l1, c);
    let (r3, c) = adc(r3, h1, c);
    let (r4, c) = adc(r4, l2, c);
    let (r5, c) = adc(r5, h2, c);
    let (r6, c) = adc(r6, l3, c);
    let (r7, _) = adc(r7, h3, c);
    ([r0, r1, r2, r3], [r4, r5, r6, r7])
}

/// The number whose big-endian octets these are.
pub(super) fn from_be_bytes(bytes: &[u8; 32]) -> Limbs {
    let mut limbs = [0; 4];
    let (words, _) = bytes.as_chunks::<8>();
    for (limb, word) in limbs.iter_mut().rev().zip(words) {
        *limb = u64::from_be_bytes(*word);
    }
    limbs
}

/// The number as big-endian octets.
pub(super) fn to_be_bytes(limbs: &Limbs) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (words, _) = bytes.as_chunks_mut::<8>();
    for (word, limb) in words.iter_mut().zip(limbs.iter().rev()) {
        *word = limb.to_be_bytes();
    }
    bytes
}

/// All ones for 1, zero for 0, to choose by a secret: the compiler is kept from seeing that there are only these two,
/// lest it jump instead. The example `sm2_timing` tells when it does.
#[inline(always)]
pub(super) fn secret_mask(bit: u64) -> u64 {
    black_box(mask(bit))
}

/// All ones if `a` is `b`, else zero; as [`secret_mask`].
#[inline(always)]
pub(super) fn equal_mask(a: u64, b: u64) -> u64 {
    let difference = a ^ b;
    secret_mask(((difference | difference.wrapping_neg()) >> 63) ^ 1)
}

/// All ones if the number is zero, else zero.
#[inline(always)]
pub(super) fn zero_mask(a: &Limbs) -> u64 {
    equal_mask(a[0] | a[1] | a[2] | a[3], 0)
}
