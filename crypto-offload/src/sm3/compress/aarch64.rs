//! The SM3 instructions of Armv8.2.
//!
//! By inline assembler, since the intrinsics are not in stable Rust.
#![allow(unsafe_code, reason = "instructions that not every Armv8 has")]

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::{BLOCK_LEN, constant};
use crate::guarded::guarded;

/// Whether this CPU can run this file. The feature of SM4 is that of SM3 too.
pub(super) fn is_available() -> bool {
    is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("sm4")
}

guarded! {
    /// Hashes `blocks` into `chain`.
    pub(super) fn compress(chain: &mut [u32; 8], blocks: &[[u8; BLOCK_LEN]]) {
        is_available => each
    }
}

/// One round: `$form` is the letter of the two functions, `$lane` the round's place in its four words.
macro_rules! round {
    ($form:literal, $lane:literal, $at:expr, $words:ident, $sums:ident, $abcd:ident, $efgh:ident) => {
        // SAFETY: reads and writes registers only.
        unsafe {
            asm!(
                "sm3ss1 {ss1:v}.4s, {abcd:v}.4s, {constant:v}.4s, {efgh:v}.4s",
                concat!("sm3tt1", $form, " {abcd:v}.4s, {ss1:v}.4s, {sums:v}.s[", $lane, "]"),
                concat!("sm3tt2", $form, " {efgh:v}.4s, {ss1:v}.4s, {words:v}.s[", $lane, "]"),
                ss1 = out(vreg) _,
                abcd = inout(vreg) $abcd,
                efgh = inout(vreg) $efgh,
                constant = in(vreg) vdupq_n_u32(constant($at)),
                words = in(vreg) $words,
                sums = in(vreg) $sums,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    };
}

macro_rules! four_rounds {
    ($form:literal, $at:expr, $words:ident, $sums:ident, $abcd:ident, $efgh:ident) => {
        round!($form, "0", $at, $words, $sums, $abcd, $efgh);
        round!($form, "1", $at + 1, $words, $sums, $abcd, $efgh);
        round!($form, "2", $at + 2, $words, $sums, $abcd, $efgh);
        round!($form, "3", $at + 3, $words, $sums, $abcd, $efgh);
    };
}

#[target_feature(enable = "neon,sm4")]
fn each(chain: &mut [u32; 8], blocks: &[[u8; BLOCK_LEN]]) {
    let [a, b, c, d, e, f, g, h] = *chain;
    // The instructions want the first word on top.
    let (mut abcd, mut efgh) = (load(&[d, c, b, a]), load(&[h, g, f, e]));
    for block in blocks {
        let (abcd_before, efgh_before) = (abcd, efgh);
        let mut last: [uint32x4_t; 4] = std::array::from_fn(|at| load_bytes(&block.as_chunks::<16>().0[at]));
        for at in (0..64).step_by(4) {
            let [words, next, ..] = last;
            let sums = veorq_u32(words, next);
            if at < 16 {
                four_rounds!("a", at, words, sums, abcd, efgh);
            } else {
                four_rounds!("b", at, words, sums, abcd, efgh);
            }
            last = [last[1], last[2], last[3], expand(last)];
        }
        (abcd, efgh) = (veorq_u32(abcd, abcd_before), veorq_u32(efgh, efgh_before));
    }
    let ([d, c, b, a], [h, g, f, e]) = (words_of(abcd), words_of(efgh));
    *chain = [a, b, c, d, e, f, g, h];
}

/// The four words behind the sixteen `last`.
#[inline]
#[target_feature(enable = "neon,sm4")]
fn expand([w0, w4, w8, w12]: [uint32x4_t; 4]) -> uint32x4_t {
    let (w3, w7, w10) = (vextq_u32::<3>(w0, w4), vextq_u32::<3>(w4, w8), vextq_u32::<2>(w8, w12));
    let mut new = w7;
    // SAFETY: reads and writes registers only.
    unsafe {
        asm!(
            "sm3partw1 {new:v}.4s, {w0:v}.4s, {w12:v}.4s",
            "sm3partw2 {new:v}.4s, {w10:v}.4s, {w3:v}.4s",
            new = inout(vreg) new,
            w0 = in(vreg) w0,
            w12 = in(vreg) w12,
            w10 = in(vreg) w10,
            w3 = in(vreg) w3,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    new
}

#[inline]
#[target_feature(enable = "neon")]
fn load(words: &[u32; 4]) -> uint32x4_t {
    // SAFETY: four words are 16 bytes that may be read, at any alignment.
    unsafe { vld1q_u32(words.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_bytes(bytes: &[u8; 16]) -> uint32x4_t {
    // SAFETY: `bytes` are 16 bytes that may be read, at any alignment.
    vreinterpretq_u32_u8(vrev32q_u8(unsafe { vld1q_u8(bytes.as_ptr()) }))
}

#[inline]
#[target_feature(enable = "neon")]
fn words_of(register: uint32x4_t) -> [u32; 4] {
    let mut words = [0; 4];
    // SAFETY: `words` are 16 bytes that may be written, at any alignment.
    unsafe { vst1q_u32(words.as_mut_ptr(), register) };
    words
}
