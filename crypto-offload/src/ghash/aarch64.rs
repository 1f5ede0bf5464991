//! Carry-less multiplication by PMULL, one block at a time.
//!
//! Each block is multiplied by its power of the key, in halves without carries between them; the halves of all blocks
//! are summed up and reduced once.
#![allow(unsafe_code, reason = "vector instructions that not every Armv8 has")]

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::{BLOCK_LEN, Powers};
use crate::guarded::guarded;

/// Whether this CPU has PMULL on 64 bits, and the AES instructions, whose feature it belongs to.
pub(super) fn has_pmull() -> bool {
    is_aarch64_feature_detected!("neon")
        && is_aarch64_feature_detected!("aes")
        && is_aarch64_feature_detected!("pmull")
}

guarded! {
    /// POLYVAL of `blocks`, begun with `sum`.
    pub(super) fn absorb(powers: &Powers, sum: u128, blocks: &[[u8; BLOCK_LEN]]) -> u128 {
        has_pmull => all
    }
}

guarded! {
    /// POLYVAL's product.
    pub(super) fn multiply(a: u128, b: u128) -> u128 {
        has_pmull => single
    }
}

#[target_feature(enable = "neon,aes")]
fn single(a: u128, b: u128) -> u128 {
    let mut product = Product::zero();
    product.add(from_number(a), from_number(b));
    to_number(product.reduce())
}

#[target_feature(enable = "neon,aes")]
fn all(powers: &Powers, sum: u128, blocks: &[[u8; BLOCK_LEN]]) -> u128 {
    let mut sum = from_number(sum);
    for group in blocks.chunks(8) {
        let mut product = Product::zero();
        // Only the first block takes the sum in.
        let mut first = sum;
        for (block, power) in group.iter().zip(powers.last(group.len())) {
            product.add(veorq_u64(from_number(u128::from_be_bytes(*block)), first), from_number(*power));
            first = vdupq_n_u64(0);
        }
        sum = product.reduce();
    }
    to_number(sum)
}

/// A sum of products, 256 bits long: lower, upper, and the middle that overlaps both.
struct Product {
    low: uint64x2_t,
    middle: uint64x2_t,
    high: uint64x2_t,
}

impl Product {
    #[inline]
    #[target_feature(enable = "neon,aes")]
    fn zero() -> Self {
        let zero = vdupq_n_u64(0);
        Self { low: zero, middle: zero, high: zero }
    }

    #[inline]
    #[target_feature(enable = "neon,aes")]
    fn add(&mut self, a: uint64x2_t, b: uint64x2_t) {
        let turned = vextq_u64::<1>(b, b);
        self.low = veorq_u64(self.low, low_product(a, b));
        self.high = veorq_u64(self.high, high_product(a, b));
        let cross = veorq_u64(low_product(a, turned), high_product(a, turned));
        self.middle = veorq_u64(self.middle, cross);
    }

    /// Divides by x^128, 64 bits at a time; see the portable path for why.
    #[inline]
    #[target_feature(enable = "neon,aes")]
    fn reduce(self) -> uint64x2_t {
        let zero = vdupq_n_u64(0);
        let low = veorq_u64(self.low, vextq_u64::<1>(zero, self.middle));
        let high = veorq_u64(self.high, vextq_u64::<1>(self.middle, zero));
        let modulus = vdupq_n_u64(MODULUS);
        let fold = |low| veorq_u64(vextq_u64::<1>(low, low), low_product(low, modulus));
        veorq_u64(high, fold(fold(low)))
    }
}

/// x^121 + x^126 + x^127, divided by x^64.
const MODULUS: u64 = 0xc200_0000_0000_0000;

/// The carry-less product of the lower halves.
#[inline]
#[target_feature(enable = "neon,aes")]
fn low_product(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t {
    vreinterpretq_u64_p128(vmull_p64(vgetq_lane_u64::<0>(a), vgetq_lane_u64::<0>(b)))
}

/// The carry-less product of the upper halves.
#[inline]
#[target_feature(enable = "neon,aes")]
fn high_product(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t {
    vreinterpretq_u64_p128(vmull_high_p64(vreinterpretq_p64_u64(a), vreinterpretq_p64_u64(b)))
}

#[inline]
#[target_feature(enable = "neon,aes")]
fn from_number(number: u128) -> uint64x2_t {
    vreinterpretq_u64_p128(number)
}

#[inline]
#[target_feature(enable = "neon,aes")]
fn to_number(register: uint64x2_t) -> u128 {
    vreinterpretq_p128_u64(register)
}
