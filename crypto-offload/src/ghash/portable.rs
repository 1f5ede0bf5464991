//! Carry-less multiplication by the integer multiplier, which takes the same time for all operands on the CPUs this
//! runs on (multipliers that stop early, as in some small microcontrollers, are not among them).
//!
//! An operand is split into four, each with three zero bits between its bits. Products of such numbers carry into
//! those gaps only, and masking the gaps away leaves the carry-less product. The upper half of a product comes as the
//! lower half of the product of the mirrored operands.

use super::{BLOCK_LEN, Powers};

/// Every fourth bit.
const COMB: u64 = 0x1111_1111_1111_1111;

pub(super) fn absorb(powers: &Powers, sum: u128, blocks: &[[u8; BLOCK_LEN]]) -> u128 {
    let h = powers.last(1)[0];
    blocks.iter().fold(sum, |sum, block| multiply(sum ^ u128::from_be_bytes(*block), h))
}

/// POLYVAL's product: `a b / x^128` (RFC 8452 appendix A).
pub(super) fn multiply(a: u128, b: u128) -> u128 {
    let ((a0, a1), (b0, b1)) = (halves(a), halves(b));
    let (low, high) = (product(a0, b0), product(a1, b1));
    let middle = product(a0 ^ a1, b0 ^ b1) ^ low ^ high;
    reduce(low ^ middle << 64, high ^ middle >> 64)
}

/// `high + low / x^128` modulo x^128 + x^127 + x^126 + x^121 + 1.
///
/// Adding the modulus `q` times, `q` being the lowest 64 bits, clears them; what is left of that sum is
/// `q (x^121 + x^126 + x^127 + x^128)`, 64 bits further up. Twice, and `low` is gone.
fn reduce(low: u128, high: u128) -> u128 {
    let fold = |q: u64| {
        let q = u128::from(q);
        q << 57 ^ q << 62 ^ q << 63 ^ q << 64
    };
    let (q, rest) = halves(low);
    let folded = fold(q) ^ u128::from(rest);
    let (q, carry) = halves(folded);
    high ^ fold(q) ^ u128::from(carry)
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
const fn halves(a: u128) -> (u64, u64) {
    (a as u64, (a >> 64) as u64)
}

/// The carry-less product of two numbers of 64 bits.
fn product(a: u64, b: u64) -> u128 {
    let low = lower(a, b);
    // The mirrored product is that of 127 bits, so its lower half holds the upper half one bit too far up.
    let high = lower(a.reverse_bits(), b.reverse_bits()).reverse_bits() >> 1;
    u128::from(high) << 64 | u128::from(low)
}

/// The lower 64 bits of the carry-less product.
fn lower(a: u64, b: u64) -> u64 {
    let comb = |a: u64| -> [u64; 4] { std::array::from_fn(|at| a & COMB << at) };
    let (a, b) = (comb(a), comb(b));
    (0..4).fold(0, |sum, at| {
        // Those pairs whose products land on bits `at` modulo 4.
        let column = (0..4).fold(0, |sum, x| sum ^ a[x].wrapping_mul(b[(at + 4 - x) % 4]));
        sum | column & COMB << at
    })
}
