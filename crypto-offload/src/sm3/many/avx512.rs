//! The compression function of 16 messages, one word of all of them to a register.
#![allow(unsafe_code, reason = "vector instructions that not every x86-64 has")]

use std::arch::x86_64::*;

use super::{BLOCK_LEN, Chains, LANES};
use crate::guarded::guarded;
use crate::sm3::compress::constant;

/// Whether this CPU can run this file.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

guarded! {
    /// Hashes one block of each message into its chain.
    pub(super) fn compress(chains: &mut Chains, blocks: &[&[u8; BLOCK_LEN]; LANES]) {
        is_available => lanes
    }
}

/// Truth tables of three operands: the sum, the majority, and the second or the third as the first says.
const XOR: i32 = 0x96;
const MAJORITY: i32 = 0xe8;
const CHOICE: i32 = 0xca;

#[target_feature(enable = "avx512f,avx512bw")]
fn lanes(chains: &mut Chains, blocks: &[&[u8; BLOCK_LEN]; LANES]) {
    let mut w = [_mm512_setzero_si512(); 16];
    for (word, block) in w.iter_mut().zip(blocks) {
        *word = load(block);
    }
    transpose(&mut w);
    let bytes = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
    for word in &mut w {
        *word = _mm512_shuffle_epi8(*word, bytes);
    }
    let mut s = [_mm512_setzero_si512(); 8];
    for (register, chain) in s.iter_mut().zip(&*chains) {
        *register = load_words(chain);
    }
    let before = s;
    macro_rules! four_rounds {
        ($from:expr, $ff:ident, $gg:ident) => {
            round::<{ $from }, $ff, $gg>(&mut s, &mut w, [0, 1, 2, 3, 4, 5, 6, 7]);
            round::<{ $from + 1 }, $ff, $gg>(&mut s, &mut w, [3, 0, 1, 2, 7, 4, 5, 6]);
            round::<{ $from + 2 }, $ff, $gg>(&mut s, &mut w, [2, 3, 0, 1, 6, 7, 4, 5]);
            round::<{ $from + 3 }, $ff, $gg>(&mut s, &mut w, [1, 2, 3, 0, 5, 6, 7, 4]);
        };
    }
    macro_rules! sixteen_rounds {
        ($from:expr, $ff:ident, $gg:ident) => {
            four_rounds!($from, $ff, $gg);
            four_rounds!($from + 4, $ff, $gg);
            four_rounds!($from + 8, $ff, $gg);
            four_rounds!($from + 12, $ff, $gg);
        };
    }
    sixteen_rounds!(0, XOR, XOR);
    sixteen_rounds!(16, MAJORITY, CHOICE);
    sixteen_rounds!(32, MAJORITY, CHOICE);
    sixteen_rounds!(48, MAJORITY, CHOICE);
    for ((chain, register), before) in chains.iter_mut().zip(s).zip(before) {
        store_words(chain, _mm512_xor_si512(register, before));
    }
}

/// Round `AT` with the variables where `names` says that a to h are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn round<const AT: usize, const FF: i32, const GG: i32>(
    s: &mut [__m512i; 8],
    w: &mut [__m512i; 16],
    names: [usize; 8],
) {
    let [a, b, c, d, e, f, g, h] = names;
    let word = w[AT % 16];
    if AT >= 12 {
        w[(AT + 4) % 16] = expand(w, AT + 4);
    }
    let later = w[(AT + 4) % 16];
    let turned = _mm512_rol_epi32::<12>(s[a]);
    let sum = _mm512_add_epi32(s[e], _mm512_set1_epi32(const { constant(AT) }.cast_signed()));
    let ss1 = _mm512_rol_epi32::<7>(_mm512_add_epi32(turned, sum));
    let ss2 = _mm512_xor_si512(ss1, turned);
    let ff = _mm512_ternarylogic_epi32::<FF>(s[a], s[b], s[c]);
    let gg = _mm512_ternarylogic_epi32::<GG>(s[e], s[f], s[g]);
    let beside = _mm512_add_epi32(_mm512_add_epi32(ff, s[d]), _mm512_xor_si512(word, later));
    let tt1 = _mm512_add_epi32(beside, ss2);
    let tt2 = _mm512_add_epi32(_mm512_add_epi32(gg, _mm512_add_epi32(s[h], word)), ss1);
    s[d] = tt1;
    s[b] = _mm512_rol_epi32::<9>(s[b]);
    s[h] = _mm512_ternarylogic_epi32::<XOR>(tt2, _mm512_rol_epi32::<9>(tt2), _mm512_rol_epi32::<17>(tt2));
    s[f] = _mm512_rol_epi32::<19>(s[f]);
}

/// Word `at` of the expanded message, from the 16 before it.
#[inline]
#[target_feature(enable = "avx512f")]
fn expand(w: &[__m512i; 16], at: usize) -> __m512i {
    let late = _mm512_rol_epi32::<15>(w[(at + 13) % 16]);
    let mixed = _mm512_ternarylogic_epi32::<XOR>(w[at % 16], w[(at + 7) % 16], late);
    let (one, other) = (_mm512_rol_epi32::<15>(mixed), _mm512_rol_epi32::<23>(mixed));
    let mixed = _mm512_ternarylogic_epi32::<XOR>(mixed, one, other);
    _mm512_ternarylogic_epi32::<XOR>(mixed, _mm512_rol_epi32::<7>(w[(at + 3) % 16]), w[(at + 10) % 16])
}

/// Rows to columns: 16 registers of 16 words.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(w: &mut [__m512i; 16]) {
    // Within each 128 bits, four by four.
    for quad in w.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *quad;
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        *quad = [
            _mm512_unpacklo_epi64(ab, cd),
            _mm512_unpackhi_epi64(ab, cd),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    // Then the 128 bits as units, four by four: register `4 q + k` holds words k, 4 + k, 8 + k, 12 + k of messages
    // 4 q to 4 q + 3.
    let from = *w;
    for k in 0..4 {
        let [a, b, c, d] = [from[k], from[4 + k], from[8 + k], from[12 + k]];
        let (ab, cd) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0x44>(c, d));
        let (ab_high, cd_high) = (_mm512_shuffle_i32x4::<0xee>(a, b), _mm512_shuffle_i32x4::<0xee>(c, d));
        w[k] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        w[4 + k] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        w[8 + k] = _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high);
        w[12 + k] = _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; BLOCK_LEN]) -> __m512i {
    // SAFETY: `bytes` are 64 bytes that may be read, at any alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_words(words: &[u32; LANES]) -> __m512i {
    // SAFETY: `words` are 64 bytes that may be read, at any alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_words(words: &mut [u32; LANES], value: __m512i) {
    // SAFETY: `words` are 64 bytes that may be written, at any alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), value) }
}
