//! GFNI on 512 bits: each register holds one word of 16 blocks, and up to four such groups are under way at once, since
//! the rounds of one group wait for each other.
#![allow(unsafe_code, reason = "vector instructions that not every x86-64 has")]

use std::arch::x86_64::*;

use super::super::Counter;
use super::super::field::{INTO, INTO_CONSTANT, OUT, OUT_CONSTANT};
use crate::guarded::guarded;

/// Bytes of key stream that one register per word makes.
const GROUP: usize = 256;
const GROUP_BLOCKS: u32 = 16;
/// Bytes of the largest batch: four groups.
const BATCH: usize = 4 * GROUP;

/// Whether this CPU can run this file.
pub(in super::super) fn is_available() -> bool {
    is_x86_feature_detected!("gfni")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
}

guarded! {
    /// Adds the key stream to `data`.
    pub(in super::super) fn xor_keystream(round_keys: &[u32; 32], counter: &Counter, data: &mut [u8]) {
        is_available => keystream
    }
}

#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn keystream(round_keys: &[u32; 32], counter: &Counter, data: &mut [u8]) {
    let mut counter = *counter;
    let (batches, rest) = data.as_chunks_mut::<BATCH>();
    for batch in batches {
        groups::<4>(round_keys, counter, batch);
        counter = counter.plus(4 * GROUP_BLOCKS);
    }
    if rest.is_empty() {
        return;
    }
    let mut padded = [0; BATCH];
    padded[..rest.len()].copy_from_slice(rest);
    match rest.len().div_ceil(GROUP) {
        1 => groups::<1>(round_keys, counter, &mut padded),
        2 => groups::<2>(round_keys, counter, &mut padded),
        3 => groups::<3>(round_keys, counter, &mut padded),
        _ => groups::<4>(round_keys, counter, &mut padded),
    }
    rest.copy_from_slice(&padded[..rest.len()]);
    // What is left is key stream that nobody needs; it must not stay on the stack.
    zeroize::Zeroize::zeroize(&mut padded[rest.len()..]);
}

/// Adds the key stream of `G` groups to the front of `data`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn groups<const G: usize>(round_keys: &[u32; 32], counter: Counter, data: &mut [u8; BATCH]) {
    let fixed = |word: u32| [_mm512_set1_epi32(word.cast_signed()); G];
    let [a, b, c] = counter.fixed;
    // Block 4 k + l of a group stands in element 4 l + k, so that `transpose` puts blocks where they lie in memory.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let mut first = counter.next;
    let mut d = [_mm512_setzero_si512(); G];
    for lane in &mut d {
        *lane = _mm512_add_epi32(_mm512_set1_epi32(first.cast_signed()), order);
        first = first.wrapping_add(GROUP_BLOCKS);
    }
    let (mut a, mut b, mut c) = (fixed(a), fixed(b), fixed(c));
    for quad in round_keys.as_chunks::<4>().0 {
        round(quad[0], &mut a, &b, &c, &d);
        round(quad[1], &mut b, &c, &d, &a);
        round(quad[2], &mut c, &d, &a, &b);
        round(quad[3], &mut d, &a, &b, &c);
    }
    let bytes = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
    let registers = data.as_chunks_mut::<64>().0;
    for (group, out) in registers.as_chunks_mut::<4>().0.iter_mut().enumerate().take(G) {
        for (out, key) in out.iter_mut().zip(transpose(d[group], c[group], b[group], a[group])) {
            xor(out, _mm512_shuffle_epi8(key, bytes));
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn round<const G: usize>(
    key: u32,
    target: &mut [__m512i; G],
    a: &[__m512i; G],
    b: &[__m512i; G],
    c: &[__m512i; G],
) {
    let key = _mm512_set1_epi32(key.cast_signed());
    let (into, out) = (_mm512_set1_epi64(INTO), _mm512_set1_epi64(OUT));
    for at in 0..G {
        let t = _mm512_xor_si512(_mm512_ternarylogic_epi32::<XOR>(a[at], b[at], c[at]), key);
        let t = _mm512_gf2p8affine_epi64_epi8::<INTO_CONSTANT>(t, into);
        let t = _mm512_gf2p8affineinv_epi64_epi8::<OUT_CONSTANT>(t, out);
        let turned = _mm512_ternarylogic_epi32::<XOR>(
            _mm512_rol_epi32::<2>(t),
            _mm512_rol_epi32::<10>(t),
            _mm512_rol_epi32::<18>(t),
        );
        let t = _mm512_ternarylogic_epi32::<XOR>(t, _mm512_rol_epi32::<24>(t), target[at]);
        target[at] = _mm512_xor_si512(t, turned);
    }
}

/// The truth table of `a ^ b ^ c`.
const XOR: i32 = 0x96;

/// Words of blocks to blocks, within each 128 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor(bytes: &mut [u8; 64], key: __m512i) {
    let at = bytes.as_mut_ptr().cast::<__m512i>();
    // SAFETY: `bytes` are 64 bytes that may be read and written; neither needs an alignment.
    unsafe { _mm512_storeu_si512(at, _mm512_xor_si512(_mm512_loadu_si512(at), key)) }
}
