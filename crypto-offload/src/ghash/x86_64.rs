//! Carry-less multiplication by instruction: PCLMULQDQ, one block at a time, and VPCLMULQDQ on 512 bits, four.
//!
//! Each block is multiplied by its power of the key, in halves without carries between them; the halves of all blocks
//! are summed up and reduced once.
#![allow(unsafe_code, reason = "vector instructions that not every x86-64 has")]

use std::arch::x86_64::*;

use super::{BLOCK_LEN, POWERS, Powers};
use crate::guarded::guarded;

/// Whether this CPU has PCLMULQDQ, and AVX so that it mixes with AVX code without a penalty.
pub(super) fn has_clmul() -> bool {
    is_x86_feature_detected!("pclmulqdq") && is_x86_feature_detected!("avx")
}

/// Whether this CPU has VPCLMULQDQ on 512 bits.
pub(super) fn has_wide_clmul() -> bool {
    has_clmul()
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
}

guarded! {
    /// POLYVAL of `blocks`, begun with `sum`.
    pub(super) fn absorb(powers: &Powers, sum: u128, blocks: &[[u8; BLOCK_LEN]]) -> u128 {
        has_clmul => narrow
    }
}

guarded! {
    /// The same on 512 bits.
    pub(super) fn absorb_wide(powers: &Powers, sum: u128, blocks: &[[u8; BLOCK_LEN]]) -> u128 {
        has_wide_clmul => wide
    }
}

guarded! {
    /// POLYVAL's product.
    pub(super) fn multiply(a: u128, b: u128) -> u128 {
        has_clmul => single
    }
}

#[target_feature(enable = "pclmulqdq,avx")]
fn single(a: u128, b: u128) -> u128 {
    let mut product = Product::zero();
    product.add(from_number(a), from_number(b));
    to_number(product.reduce())
}

#[target_feature(enable = "pclmulqdq,avx")]
fn narrow(powers: &Powers, sum: u128, blocks: &[[u8; BLOCK_LEN]]) -> u128 {
    let mut sum = from_number(sum);
    let (groups, rest) = blocks.as_chunks::<8>();
    for group in groups {
        sum = absorb_some(powers.last(8), sum, group);
    }
    if !rest.is_empty() {
        sum = absorb_some(powers.last(rest.len()), sum, rest);
    }
    to_number(sum)
}

/// As many blocks as there are powers in front of the zeros; see [`Powers::last`].
#[inline]
#[target_feature(enable = "pclmulqdq,avx")]
fn absorb_some(powers: &[u128], sum: __m128i, blocks: &[[u8; BLOCK_LEN]]) -> __m128i {
    let mut product = Product::zero();
    // Only the first block takes the sum in.
    let mut first = sum;
    for (block, power) in blocks.iter().zip(powers) {
        product.add(_mm_xor_si128(from_block(block), first), from_number(*power));
        first = _mm_setzero_si128();
    }
    product.reduce()
}

/// A sum of products, 256 bits long: lower, upper, and the middle that overlaps both.
struct Product {
    low: __m128i,
    middle: __m128i,
    high: __m128i,
}

impl Product {
    #[inline]
    #[target_feature(enable = "pclmulqdq,avx")]
    fn zero() -> Self {
        let zero = _mm_setzero_si128();
        Self { low: zero, middle: zero, high: zero }
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq,avx")]
    fn add(&mut self, a: __m128i, b: __m128i) {
        self.low = _mm_xor_si128(self.low, _mm_clmulepi64_si128::<0x00>(a, b));
        self.high = _mm_xor_si128(self.high, _mm_clmulepi64_si128::<0x11>(a, b));
        let cross = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
        self.middle = _mm_xor_si128(self.middle, cross);
    }

    /// Divides by x^128, 64 bits at a time; see the portable path for why.
    #[inline]
    #[target_feature(enable = "pclmulqdq,avx")]
    fn reduce(self) -> __m128i {
        let low = _mm_xor_si128(self.low, _mm_slli_si128::<8>(self.middle));
        let high = _mm_xor_si128(self.high, _mm_srli_si128::<8>(self.middle));
        let modulus = _mm_set_epi64x(0, MODULUS);
        let fold =
            |low| _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), _mm_clmulepi64_si128::<0x00>(low, modulus));
        _mm_xor_si128(high, fold(fold(low)))
    }
}

/// x^121 + x^126 + x^127, divided by x^64.
const MODULUS: i64 = 0xc200_0000_0000_0000_u64.cast_signed();

#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq,pclmulqdq,avx")]
fn wide(powers: &Powers, sum: u128, blocks: &[[u8; BLOCK_LEN]]) -> u128 {
    let order = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f));
    let mut sum = from_number(sum);
    let (groups, rest) = blocks.as_chunks::<POWERS>();
    let all = powers.last(POWERS).as_chunks::<4>().0;
    let keys = [load_powers(&all[0]), load_powers(&all[1]), load_powers(&all[2]), load_powers(&all[3])];
    for group in groups {
        let mut first = _mm512_zextsi128_si512(sum);
        let mut product = WideProduct::zero();
        for (blocks, key) in group.as_chunks::<4>().0.iter().zip(keys) {
            let blocks = _mm512_shuffle_epi8(load_blocks(blocks), order);
            product.add(_mm512_xor_si512(blocks, first), key);
            first = _mm512_setzero_si512();
        }
        sum = product.fold().reduce();
    }
    if rest.is_empty() {
        return to_number(sum);
    }
    let mut first = _mm512_zextsi128_si512(sum);
    let mut product = WideProduct::zero();
    // Behind the first power stand zeros: what pads the last four blocks counts nothing.
    let (mut blocks, mut left) = (rest, powers.last(rest.len()));
    while !blocks.is_empty() {
        let mut four = [[0; BLOCK_LEN]; 4];
        let count = blocks.len().min(4);
        four[..count].copy_from_slice(&blocks[..count]);
        let Some((key, behind)) = left.split_first_chunk::<4>() else { break };
        let values = _mm512_shuffle_epi8(load_blocks(&four), order);
        product.add(_mm512_xor_si512(values, first), load_powers(key));
        first = _mm512_setzero_si512();
        (blocks, left) = (&blocks[count..], behind);
    }
    to_number(product.fold().reduce())
}

/// Four sums of products.
struct WideProduct {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

impl WideProduct {
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Self { low: zero, middle: zero, high: zero }
    }

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn add(&mut self, a: __m512i, b: __m512i) {
        self.low = _mm512_xor_si512(self.low, _mm512_clmulepi64_epi128::<0x00>(a, b));
        self.high = _mm512_xor_si512(self.high, _mm512_clmulepi64_epi128::<0x11>(a, b));
        let (one, other) = (_mm512_clmulepi64_epi128::<0x01>(a, b), _mm512_clmulepi64_epi128::<0x10>(a, b));
        self.middle = _mm512_ternarylogic_epi32::<0x96>(self.middle, one, other);
    }

    /// The sum of the four.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn fold(self) -> Product {
        let fold = |x: __m512i| {
            let half = _mm256_xor_si256(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
            _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
        };
        Product { low: fold(self.low), middle: fold(self.middle), high: fold(self.high) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_powers(powers: &[u128; 4]) -> __m512i {
    // SAFETY: four numbers are 64 bytes that may be read, at any alignment.
    unsafe { _mm512_loadu_si512(powers.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_blocks(blocks: &[[u8; BLOCK_LEN]; 4]) -> __m512i {
    // SAFETY: four blocks are 64 bytes that may be read, at any alignment.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

/// A block as a number.
#[inline]
#[target_feature(enable = "avx")]
fn from_block(block: &[u8; BLOCK_LEN]) -> __m128i {
    let order = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    // SAFETY: a block is 16 bytes that may be read, at any alignment.
    _mm_shuffle_epi8(unsafe { _mm_loadu_si128(block.as_ptr().cast()) }, order)
}

#[inline]
#[target_feature(enable = "avx")]
fn from_number(number: u128) -> __m128i {
    // SAFETY: both are 16 bytes without invalid values, and x86-64 is little endian.
    unsafe { std::mem::transmute::<u128, __m128i>(number) }
}

#[inline]
#[target_feature(enable = "avx")]
fn to_number(register: __m128i) -> u128 {
    // SAFETY: as in `from_number`.
    unsafe { std::mem::transmute::<__m128i, u128>(register) }
}
