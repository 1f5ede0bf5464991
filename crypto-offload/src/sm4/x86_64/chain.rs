//! One block after the other by GFNI, for CBC-MAC: what counts is how long a round takes from its input to its output.
//!
//! So the words stay in the field of AES from the first block to the last, where a round is an inversion and what is
//! linear around it: the second affine map, the diffusion and the first affine map are one matrix for each place that a
//! byte of the word adds to. Each word has a register of its own, and only its lowest element counts.
#![allow(unsafe_code, reason = "vector instructions that not every x86-64 has")]

use std::arch::x86_64::*;

use super::super::BLOCK_LEN;
use super::super::field::{DIFFUSED_CONSTANT, INTO, INTO_CONSTANT, UNDO_INTO, diffused};
use crate::guarded::guarded;

/// For CPUs that differ in how they turn words and add three of them.
macro_rules! back_end {
    ($name:ident, $features:literal, [$($feature:tt),*], $turn:ident, $sum:ident) => {
        pub(in super::super) mod $name {
            use super::*;

            /// Whether this CPU can run this back end.
            pub(in super::super::super) fn is_available() -> bool {
                $(is_x86_feature_detected!($feature))&&*
            }

            guarded! {
                /// Adds each of `blocks` to `sum` and encrypts it.
                pub(in super::super::super) fn absorb(
                    round_keys: &[u32; 32],
                    sum: &mut [u8; BLOCK_LEN],
                    blocks: &[[u8; BLOCK_LEN]],
                ) {
                    is_available => each
                }
            }

            #[target_feature(enable = $features)]
            fn each(round_keys: &[u32; 32], sum: &mut [u8; BLOCK_LEN], blocks: &[[u8; BLOCK_LEN]]) {
                let mut keys = keys(round_keys);
                let mut state = spread(into(load(sum)));
                for block in blocks {
                    let data = spread(into(load(block)));
                    let [mut a, mut b, mut c, mut d] = [0, 1, 2, 3].map(|at| xor(state[at], data[at]));
                    // What enters the S-box runs ahead of the words, so that a round waits for no word.
                    let mut x = xor($sum(b, c, d), keys[0]);
                    for (at, key) in keys.iter().enumerate() {
                        let [_, k1, k2, k3] = spread(*key);
                        // Behind the last round nothing enters it any more.
                        let k4 = keys[(at + 1) % keys.len()];
                        (a, x) = round(x, $sum(c, d, k1), a);
                        (b, x) = round(x, $sum(d, a, k2), b);
                        (c, x) = round(x, $sum(a, b, k3), c);
                        (d, x) = round(x, $sum(b, c, k4), d);
                    }
                    state = [d, c, b, a];
                }
                store(sum, out_of(state));
                // The compiler may have kept them in memory, but not for longer than this.
                zeroize::Zeroize::zeroize(&mut keys);
            }

            /// The word in place of `old`, and what enters the next S-box: `early`, the sum of the key and two words,
            /// and the new word.
            #[inline]
            #[target_feature(enable = $features)]
            fn round(x: __m128i, early: __m128i, old: __m128i) -> (__m128i, __m128i) {
                let matrix = |rows| _mm_set1_epi64x(rows);
                let none = _mm_gf2p8affineinv_epi64_epi8::<DIFFUSED_CONSTANT>(x, matrix(const { diffused(0) }));
                let both = _mm_gf2p8affineinv_epi64_epi8::<0>(x, matrix(const { diffused(1) }));
                let three = _mm_gf2p8affineinv_epi64_epi8::<0>(x, matrix(const { diffused(3) }));
                let (one, two, three) = ($turn::<1>(both), $turn::<2>(both), $turn::<3>(three));
                let new = $sum($sum(old, none, one), two, three);
                (new, $sum($sum(xor(early, old), none, one), two, three))
            }
        }
    };
}

back_end!(
    avx512,
    "avx2,gfni,avx512f,avx512vl",
    ["avx2", "gfni", "avx512f", "avx512vl"],
    turn_at_once,
    sum_at_once
);
back_end!(avx2, "avx2,gfni", ["avx2", "gfni"], turn, sum);

/// The round keys in the field of AES, with the constant of the first affine map.
#[inline]
#[target_feature(enable = "avx2,gfni")]
fn keys(round_keys: &[u32; 32]) -> [__m128i; 8] {
    let mut keys = [_mm_setzero_si128(); 8];
    for (key, words) in keys.iter_mut().zip(round_keys.as_chunks::<4>().0) {
        *key = _mm_gf2p8affine_epi64_epi8::<INTO_CONSTANT>(load_words(words), _mm_set1_epi64x(INTO));
    }
    keys
}

/// Words turned left by as many bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn turn<const BYTES: i32>(words: __m128i) -> __m128i {
    let order = match BYTES {
        1 => 0x0201_0003,
        2 => 0x0100_0302,
        _ => 0x0003_0201,
    };
    _mm_shuffle_epi8(
        words,
        _mm_set_epi32(order | 0x0c0c_0c0c, order | 0x0808_0808, order | 0x0404_0404, order),
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn turn_at_once<const BYTES: i32>(words: __m128i) -> __m128i {
    match BYTES {
        1 => _mm_rol_epi32::<8>(words),
        2 => _mm_rol_epi32::<16>(words),
        _ => _mm_rol_epi32::<24>(words),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum(a: __m128i, b: __m128i, c: __m128i) -> __m128i {
    xor(xor(a, b), c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn sum_at_once(a: __m128i, b: __m128i, c: __m128i) -> __m128i {
    _mm_ternarylogic_epi32::<0x96>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx2,gfni")]
fn into(block: __m128i) -> __m128i {
    _mm_gf2p8affine_epi64_epi8::<0>(swap(block), _mm_set1_epi64x(INTO))
}

/// The words back in SM4's field, as a block.
#[inline]
#[target_feature(enable = "avx2,gfni")]
fn out_of([a, b, c, d]: [__m128i; 4]) -> __m128i {
    let words = _mm_unpacklo_epi64(_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
    swap(_mm_gf2p8affine_epi64_epi8::<0>(words, _mm_set1_epi64x(UNDO_INTO)))
}

/// Each word to a register.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(words: __m128i) -> [__m128i; 4] {
    [
        words,
        _mm_shuffle_epi32::<0b01>(words),
        _mm_shuffle_epi32::<0b10>(words),
        _mm_shuffle_epi32::<0b11>(words),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: __m128i, b: __m128i) -> __m128i {
    _mm_xor_si128(a, b)
}

/// Words in the other byte order.
#[inline]
#[target_feature(enable = "avx2")]
fn swap(words: __m128i) -> __m128i {
    _mm_shuffle_epi8(words, _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(block: &[u8; BLOCK_LEN]) -> __m128i {
    // SAFETY: a block is 16 bytes that may be read, at any alignment.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_words(words: &[u32; 4]) -> __m128i {
    // SAFETY: four words are 16 bytes that may be read, at any alignment.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(block: &mut [u8; BLOCK_LEN], value: __m128i) {
    // SAFETY: a block is 16 bytes that may be written, at any alignment.
    unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), value) }
}
