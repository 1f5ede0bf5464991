//! 256 bits: each register holds one word of 8 blocks, two or four such groups are under way at once.
//!
//! The same rounds around three S-boxes: GFNI's inversion, and the AES S-box of AES-NI and VAES between two linear maps
//! that are looked up, half a byte at a time, in a register.
#![allow(unsafe_code, reason = "vector instructions that not every x86-64 has")]

use std::arch::x86_64::*;

use super::super::field::{
    IN_ORDER, INTO, INTO_AES, INTO_CONSTANT, OUT, OUT_AES, OUT_CONSTANT, SHIFTED_ROWS,
};
use super::super::{BLOCK_LEN, Counter};
use crate::guarded::guarded;

/// Bytes that one register per word makes.
const GROUP: usize = 128;
const GROUP_BLOCKS: u32 = 8;

/// The S-box of 32 bytes, and how its output lies: the four shuffles that turn its words by 0, 8, 16 and 24 bits.
macro_rules! back_end {
    // $in_order says whether the first of the four shuffles is none.
    ($name:ident, $features:literal, [$($feature:tt),*], $groups:literal, $turns:ident, $in_order:literal, |$x:ident| $sbox:expr) => {
        pub(in super::super::super) mod $name {
            use super::*;

            const BATCH: usize = $groups * GROUP;

            /// Whether this CPU can run this back end.
            pub(in super::super::super::super) fn is_available() -> bool {
                $(is_x86_feature_detected!($feature))&&*
            }

            guarded! {
                /// Adds the key stream to `data`.
                pub(in super::super::super::super) fn xor_keystream(
                    round_keys: &[u32; 32],
                    counter: &Counter,
                    data: &mut [u8],
                ) {
                    is_available => keystream
                }
            }

            guarded! {
                /// Encrypts `blocks`, each for itself.
                pub(in super::super::super::super) fn encrypt(
                    round_keys: &[u32; 32],
                    blocks: &mut [[u8; BLOCK_LEN]],
                ) {
                    is_available => each
                }
            }

            #[target_feature(enable = $features)]
            fn keystream(round_keys: &[u32; 32], counter: &Counter, data: &mut [u8]) {
                let mut counter = *counter;
                let (batches, rest) = data.as_chunks_mut::<BATCH>();
                for batch in batches {
                    add::<$groups>(round_keys, counter, batch);
                    counter = counter.plus($groups * GROUP_BLOCKS);
                }
                if rest.is_empty() {
                    return;
                }
                let mut padded = [0; BATCH];
                padded[..rest.len()].copy_from_slice(rest);
                if rest.len() <= GROUP {
                    add::<1>(round_keys, counter, &mut padded);
                } else {
                    add::<$groups>(round_keys, counter, &mut padded);
                }
                rest.copy_from_slice(&padded[..rest.len()]);
                // What is left is key stream that nobody needs; it must not stay on the stack.
                zeroize::Zeroize::zeroize(&mut padded[rest.len()..]);
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn add<const G: usize>(round_keys: &[u32; 32], counter: Counter, data: &mut [u8; BATCH]) {
                let fixed = |word: u32| [_mm256_set1_epi32(word.cast_signed()); G];
                let [a, b, c] = counter.fixed;
                // Block 2 k + l of a group stands in element 4 l + k, so that `transpose` puts blocks in order.
                let order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
                let mut first = counter.next;
                let mut d = [_mm256_setzero_si256(); G];
                for lane in &mut d {
                    *lane = _mm256_add_epi32(_mm256_set1_epi32(first.cast_signed()), order);
                    first = first.wrapping_add(GROUP_BLOCKS);
                }
                let [a, b, c, d] = rounds(round_keys, [fixed(a), fixed(b), fixed(c), d]);
                let registers = data.as_chunks_mut::<32>().0;
                for (at, out) in registers.as_chunks_mut::<4>().0.iter_mut().enumerate().take(G) {
                    for (out, key) in out.iter_mut().zip(transpose(d[at], c[at], b[at], a[at])) {
                        store(out, _mm256_xor_si256(load(out), swap(key)));
                    }
                }
            }

            #[target_feature(enable = $features)]
            fn each(round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_LEN]]) {
                for group in blocks.chunks_mut(GROUP / BLOCK_LEN) {
                    let mut padded = [0; GROUP];
                    let len = group.as_flattened().len();
                    padded[..len].copy_from_slice(group.as_flattened());
                    let registers = padded.as_chunks_mut::<32>().0;
                    let [a, b, c, d] = [0, 1, 2, 3].map(|at| swap(load(&registers[at])));
                    let state = transpose(a, b, c, d).map(|word| [word]);
                    let [[a], [b], [c], [d]] = rounds(round_keys, state);
                    for (out, key) in registers.iter_mut().zip(transpose(d, c, b, a)) {
                        store(out, swap(key));
                    }
                    group.as_flattened_mut().copy_from_slice(&padded[..len]);
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn rounds<const G: usize>(
                round_keys: &[u32; 32],
                [mut a, mut b, mut c, mut d]: [[__m256i; G]; 4],
            ) -> [[__m256i; G]; 4] {
                for quad in round_keys.as_chunks::<4>().0 {
                    round(quad[0], &mut a, &b, &c, &d);
                    round(quad[1], &mut b, &c, &d, &a);
                    round(quad[2], &mut c, &d, &a, &b);
                    round(quad[3], &mut d, &a, &b, &c);
                }
                [a, b, c, d]
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn round<const G: usize>(
                key: u32,
                target: &mut [__m256i; G],
                a: &[__m256i; G],
                b: &[__m256i; G],
                c: &[__m256i; G],
            ) {
                let key = _mm256_set1_epi32(key.cast_signed());
                for at in 0..G {
                    let $x = _mm256_xor_si256(_mm256_xor_si256(a[at], b[at]), _mm256_xor_si256(c[at], key));
                    let t = $sbox;
                    let t8 = _mm256_shuffle_epi8(t, shuffle($turns[1]));
                    let t16 = _mm256_shuffle_epi8(t, shuffle($turns[2]));
                    let t24 = _mm256_shuffle_epi8(t, shuffle($turns[3]));
                    let t = if $in_order { t } else { _mm256_shuffle_epi8(t, shuffle($turns[0])) };
                    // t ^ t24 ^ (t ^ t8 ^ t16) turned by 2 bits.
                    let inner = _mm256_xor_si256(_mm256_xor_si256(t, t8), t16);
                    let outer = _mm256_xor_si256(_mm256_xor_si256(t, t24), target[at]);
                    let up = _mm256_xor_si256(outer, _mm256_slli_epi32::<2>(inner));
                    target[at] = _mm256_xor_si256(up, _mm256_srli_epi32::<30>(inner));
                }
            }
        }
    };
}

back_end!(gfni, "avx2,gfni", ["avx2", "gfni"], 4, IN_ORDER, true, |x| {
    let x = _mm256_gf2p8affine_epi64_epi8::<INTO_CONSTANT>(x, _mm256_set1_epi64x(INTO));
    _mm256_gf2p8affineinv_epi64_epi8::<OUT_CONSTANT>(x, _mm256_set1_epi64x(OUT))
});

back_end!(vaes, "avx2,aes,vaes", ["avx2", "aes", "vaes"], 2, SHIFTED_ROWS, false, |x| {
    let x = nibbles(x, &INTO_AES);
    nibbles(_mm256_aesenclast_epi128(x, _mm256_setzero_si256()), &OUT_AES)
});

back_end!(aes, "avx2,aes", ["avx2", "aes"], 2, SHIFTED_ROWS, false, |x| {
    let x = nibbles(x, &INTO_AES);
    let low = _mm_aesenclast_si128(_mm256_castsi256_si128(x), _mm_setzero_si128());
    let high = _mm_aesenclast_si128(_mm256_extracti128_si256::<1>(x), _mm_setzero_si128());
    nibbles(_mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high), &OUT_AES)
});

#[inline]
#[target_feature(enable = "avx2")]
fn nibbles(x: __m256i, tables: &[[u8; 16]; 2]) -> __m256i {
    let mask = _mm256_set1_epi8(0x0f);
    let low = _mm256_and_si256(x, mask);
    let high = _mm256_and_si256(_mm256_srli_epi32::<4>(x), mask);
    let (of_low, of_high) = (shuffle(tables[0]), shuffle(tables[1]));
    _mm256_xor_si256(_mm256_shuffle_epi8(of_low, low), _mm256_shuffle_epi8(of_high, high))
}

/// 16 bytes in both halves of a register.
#[inline]
#[target_feature(enable = "avx2")]
fn shuffle(bytes: [u8; 16]) -> __m256i {
    let (words, _) = bytes.as_chunks::<8>();
    let (low, high) = (i64::from_le_bytes(words[0]), i64::from_le_bytes(words[1]));
    _mm256_broadcastsi128_si256(_mm_set_epi64x(high, low))
}

/// Words in the other byte order.
#[inline]
#[target_feature(enable = "avx2")]
fn swap(words: __m256i) -> __m256i {
    _mm256_shuffle_epi8(words, shuffle([3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12]))
}

/// Words of blocks to blocks, and back, within each 128 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> [__m256i; 4] {
    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab, cd),
        _mm256_unpackhi_epi64(ab, cd),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: `bytes` are 32 bytes that may be read, at any alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8; 32], value: __m256i) {
    // SAFETY: `bytes` are 32 bytes that may be written, at any alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
}
