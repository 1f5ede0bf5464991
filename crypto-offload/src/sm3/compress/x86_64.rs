//! The rounds by BMI2 on general registers, the message expansion beside them on vector registers, four words at a time.
//!
//! A compiler adds in an order of its own, and the order decides: what waits for the round before is added last. So the
//! rounds are written in assembler. It was measured against sharing the expansion of four blocks in wide registers, and
//! against rounds on vector registers; both were slower.
#![allow(
    unsafe_code,
    reason = "instructions that not every x86-64 has, in an order that a compiler would change"
)]

use std::arch::asm;
use std::arch::x86_64::*;

use super::{BLOCK_LEN, constant};
use crate::guarded::guarded;

/// The words of a block: those of a quad of rounds, then each of them added to the word four further on.
#[repr(align(32))]
struct Expanded([[[u32; 4]; 2]; 17]);

/// The round constants, as the instruction wants them.
const CONSTANTS: [i32; 64] = {
    let mut constants = [0; 64];
    let mut round = 0;
    while round < 64 {
        constants[round] = constant(round).cast_signed();
        round += 1;
    }
    constants
};

macro_rules! round {
    ($words:ident, $at:expr, [$($choice:literal),*], [$($majority:literal),*],
     [$a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident]) => {
        // SAFETY: reads the words of this round, which stand in `Expanded`; writes registers only.
        unsafe {
            asm!(
                "add {h:e}, dword ptr [{words} + {word}]",
                $($choice,)*
                "add {h:e}, {z:e}",
                "rorx {x:e}, {a:e}, 20",
                "lea {y:e}, [{x:r} + {e:r} + {constant}]",
                "rorx {y:e}, {y:e}, 25",
                "xor {x:e}, {y:e}",
                "add {d:e}, dword ptr [{words} + {word} + 16]",
                "add {h:e}, {y:e}",
                "rorx {f:e}, {f:e}, 13",
                $($majority,)*
                "add {d:e}, {z:e}",
                "rorx {b:e}, {b:e}, 23",
                "add {d:e}, {x:e}",
                "rorx {y:e}, {h:e}, 15",
                "rorx {z:e}, {h:e}, 23",
                "xor {h:e}, {z:e}",
                "xor {h:e}, {y:e}",
                a = inout(reg) $a, b = inout(reg) $b, c = inout(reg) $c, d = inout(reg) $d,
                e = inout(reg) $e, f = inout(reg) $f, g = inout(reg) $g, h = inout(reg) $h,
                x = out(reg) _, y = out(reg) _, z = out(reg) _,
                words = in(reg) $words, constant = const CONSTANTS[$at], word = const $at / 4 * 32 + $at % 4 * 4,
                options(pure, readonly, nostack),
            );
        }
    };
}

macro_rules! four_rounds {
    ($words:ident, $at:expr, $choice:tt, $majority:tt,
     [$a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident]) => {
        round!($words, $at, $choice, $majority, [$a $b $c $d $e $f $g $h]);
        round!($words, $at + 1, $choice, $majority, [$d $a $b $c $h $e $f $g]);
        round!($words, $at + 2, $choice, $majority, [$c $d $a $b $g $h $e $f]);
        round!($words, $at + 3, $choice, $majority, [$b $c $d $a $f $g $h $e]);
    };
}

/// Rounds 0 to 15: both functions are sums.
macro_rules! early {
    ($words:ident, $at:expr, $state:tt) => {
        four_rounds!(
            $words,
            $at,
            ["mov {z:e}, {f:e}", "xor {z:e}, {g:e}", "xor {z:e}, {e:e}"],
            ["mov {z:e}, {b:e}", "xor {z:e}, {c:e}", "xor {z:e}, {a:e}"],
            $state
        )
    };
}

/// Rounds 16 to 63. The majority is `b & c` and, where they differ, `a`: no bit is in both, so both may be added.
macro_rules! late {
    ($words:ident, $at:expr, $state:tt) => {
        four_rounds!(
            $words,
            $at,
            ["mov {z:e}, {f:e}", "xor {z:e}, {g:e}", "and {z:e}, {e:e}", "xor {z:e}, {g:e}"],
            [
                "mov {z:e}, {b:e}",
                "xor {z:e}, {c:e}",
                "andn {y:e}, {z:e}, {b:e}",
                "add {d:e}, {y:e}",
                "and {z:e}, {a:e}"
            ],
            $state
        )
    };
}

/// The same for CPUs that differ in how they turn words and add three of them.
macro_rules! back_end {
    ($name:ident, $features:literal, [$($feature:tt),*], $turn:ident, $sum:ident) => {
        pub(super) mod $name {
            use super::*;

            /// Whether this CPU can run this back end.
            pub(in super::super) fn is_available() -> bool {
                $(is_x86_feature_detected!($feature))&&*
            }

            guarded! {
                /// Hashes `blocks` into `chain`.
                pub(in super::super) fn compress(chain: &mut [u32; 8], blocks: &[[u8; BLOCK_LEN]]) {
                    is_available => each
                }
            }

            #[target_feature(enable = $features)]
            fn each(chain: &mut [u32; 8], blocks: &[[u8; BLOCK_LEN]]) {
                let mut expanded = Expanded([[[0; 4]; 2]; 17]);
                for block in blocks {
                    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *chain;
                    let mut last = begin(&mut expanded, block);
                    let words = &raw const expanded;
                    macro_rules! quad {
                        (expand $rounds:ident, $at:expr) => {
                            last = expand(&mut expanded, $at / 4 + 4, last);
                            quad!($rounds, $at);
                        };
                        ($rounds:ident, $at:expr) => {
                            $rounds!(words, $at, [a b c d e f g h]);
                        };
                    }
                    quad!(expand early, 0);
                    quad!(expand early, 4);
                    quad!(expand early, 8);
                    quad!(expand early, 12);
                    quad!(expand late, 16);
                    quad!(expand late, 20);
                    quad!(expand late, 24);
                    quad!(expand late, 28);
                    quad!(expand late, 32);
                    quad!(expand late, 36);
                    quad!(expand late, 40);
                    quad!(expand late, 44);
                    quad!(expand late, 48);
                    quad!(late, 52);
                    quad!(late, 56);
                    quad!(late, 60);
                    chain.iter_mut().zip([a, b, c, d, e, f, g, h]).for_each(|(chain, word)| *chain ^= word);
                }
            }

            /// Words 16 and on, four by four: `last` are the sixteen before those of `quad`.
            #[inline]
            #[target_feature(enable = $features)]
            fn expand(expanded: &mut Expanded, quad: usize, last: [__m128i; 4]) -> [__m128i; 4] {
                let [w0, w4, w8, w12] = last;
                let (w3, w7) = (_mm_alignr_epi8::<12>(w4, w0), _mm_alignr_epi8::<12>(w8, w4));
                let (w10, w13) = (_mm_alignr_epi8::<8>(w12, w8), _mm_srli_si128::<4>(w12));
                let mixed = $sum(w0, w7, $turn::<15, 17>(w13));
                let mixed = $sum(mixed, $turn::<15, 17>(mixed), $turn::<23, 9>(mixed));
                let new = $sum(mixed, w10, $turn::<7, 25>(w3));
                // The fourth wants the first of these same four, 15 bits on and mixed: 15, 30 and 38 bits on.
                let first = _mm_slli_si128::<12>(new);
                let new = $sum(new, $turn::<15, 17>(first), $turn::<30, 2>(first));
                let new = _mm_xor_si128(new, $turn::<6, 26>(first));
                put(&mut expanded.0[quad][0], new);
                put(&mut expanded.0[quad - 1][1], _mm_xor_si128(w12, new));
                [w4, w8, w12, new]
            }
        }
    };
}

back_end!(
    avx512,
    "avx,bmi1,bmi2,avx512f,avx512vl",
    ["bmi1", "bmi2", "avx512f", "avx512vl"],
    turn_at_once,
    sum_at_once
);
back_end!(avx, "avx,bmi1,bmi2", ["bmi1", "bmi2", "avx"], turn, sum);

/// The first sixteen words.
#[inline]
#[target_feature(enable = "avx")]
fn begin(expanded: &mut Expanded, block: &[u8; BLOCK_LEN]) -> [__m128i; 4] {
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let quads = block.as_chunks::<16>().0;
    // SAFETY: a quad is 16 bytes that may be read, at any alignment.
    let quad = |at: usize| unsafe { _mm_shuffle_epi8(_mm_loadu_si128(quads[at].as_ptr().cast()), order) };
    let words = [quad(0), quad(1), quad(2), quad(3)];
    for (at, out) in expanded.0.iter_mut().enumerate().take(4) {
        put(&mut out[0], words[at]);
        if at < 3 {
            put(&mut out[1], _mm_xor_si128(words[at], words[at + 1]));
        }
    }
    words
}

#[inline]
#[target_feature(enable = "avx")]
fn put(to: &mut [u32; 4], value: __m128i) {
    // SAFETY: `to` are 16 bytes that may be written, at any alignment.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), value) }
}

/// Words turned `LEFT` bits to the left; `RIGHT` is what is left of 32.
#[inline]
#[target_feature(enable = "avx")]
fn turn<const LEFT: i32, const RIGHT: i32>(words: __m128i) -> __m128i {
    _mm_or_si128(_mm_slli_epi32::<LEFT>(words), _mm_srli_epi32::<RIGHT>(words))
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn turn_at_once<const LEFT: i32, const RIGHT: i32>(words: __m128i) -> __m128i {
    _mm_rol_epi32::<LEFT>(words)
}

#[inline]
#[target_feature(enable = "avx")]
fn sum(a: __m128i, b: __m128i, c: __m128i) -> __m128i {
    _mm_xor_si128(_mm_xor_si128(a, b), c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn sum_at_once(a: __m128i, b: __m128i, c: __m128i) -> __m128i {
    _mm_ternarylogic_epi32::<0x96>(a, b, c)
}
