//! The SM4 instructions of Armv8.2: four rounds of a block in one, eight blocks under way at once.
//!
//! By inline assembler, since the intrinsics are not in stable Rust.
#![allow(unsafe_code, reason = "instructions that not every Armv8 has")]

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::super::{BLOCK_LEN, Counter};
use crate::guarded::guarded;

/// Blocks at once.
const BLOCKS: usize = 8;
const BATCH: usize = BLOCKS * BLOCK_LEN;

/// Whether this CPU can run this file.
pub(in super::super) fn is_available() -> bool {
    is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("sm4")
}

guarded! {
    /// Adds the key stream to `data`.
    pub(in super::super) fn xor_keystream(round_keys: &[u32; 32], counter: &Counter, data: &mut [u8]) {
        is_available => keystream
    }
}

guarded! {
    /// Encrypts `blocks`, each for itself.
    pub(in super::super) fn encrypt(round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_LEN]]) {
        is_available => each
    }
}

guarded! {
    /// Adds each of `blocks` to `sum` and encrypts it.
    pub(in super::super) fn absorb(
        round_keys: &[u32; 32],
        sum: &mut [u8; BLOCK_LEN],
        blocks: &[[u8; BLOCK_LEN]],
    ) {
        is_available => chain
    }
}

#[target_feature(enable = "neon,sm4")]
fn keystream(round_keys: &[u32; 32], counter: &Counter, data: &mut [u8]) {
    let mut counter = *counter;
    let [a, b, c] = counter.fixed;
    let mut stream = [[0; BLOCK_LEN]; BLOCKS];
    for part in data.chunks_mut(BATCH) {
        let mut state = [vdupq_n_u32(0); BLOCKS];
        for (at, block) in (0..).zip(&mut state) {
            *block = load_words(&[a, b, c, counter.next.wrapping_add(at)]);
        }
        rounds(round_keys, &mut state);
        for (out, block) in stream.iter_mut().zip(state) {
            store(out, block);
        }
        part.iter_mut().zip(stream.as_flattened()).for_each(|(byte, key)| *byte ^= key);
        counter = counter.plus(BLOCKS as u32);
    }
    // What is left is key stream; it must not stay on the stack.
    zeroize::Zeroize::zeroize(&mut stream);
}

#[target_feature(enable = "neon,sm4")]
fn each(round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_LEN]]) {
    for group in blocks.chunks_mut(BLOCKS) {
        let mut state = [vdupq_n_u32(0); BLOCKS];
        for (word, block) in state.iter_mut().zip(&*group) {
            *word = load(block);
        }
        rounds(round_keys, &mut state);
        for (block, word) in group.iter_mut().zip(state) {
            store(block, word);
        }
    }
}

#[target_feature(enable = "neon,sm4")]
fn chain(round_keys: &[u32; 32], sum: &mut [u8; BLOCK_LEN], blocks: &[[u8; BLOCK_LEN]]) {
    for block in blocks {
        let mut state = [veorq_u32(load(sum), load(block))];
        rounds(round_keys, &mut state);
        store(sum, state[0]);
    }
}

/// GB/T 32907 clause 7.1, without the reversal at the end.
#[inline]
#[target_feature(enable = "neon,sm4")]
fn rounds<const N: usize>(round_keys: &[u32; 32], state: &mut [uint32x4_t; N]) {
    for quad in round_keys.as_chunks::<4>().0 {
        let keys = load_words(quad);
        for block in &mut *state {
            // SAFETY: reads and writes registers only.
            unsafe {
                asm!(
                    "sm4e {block:v}.4s, {keys:v}.4s",
                    block = inout(vreg) *block,
                    keys = in(vreg) keys,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_words(words: &[u32; 4]) -> uint32x4_t {
    // SAFETY: `words` are 16 bytes that may be read, at any alignment.
    unsafe { vld1q_u32(words.as_ptr()) }
}

/// A block as its four words.
#[inline]
#[target_feature(enable = "neon")]
fn load(block: &[u8; BLOCK_LEN]) -> uint32x4_t {
    // SAFETY: a block is 16 bytes that may be read, at any alignment.
    vreinterpretq_u32_u8(vrev32q_u8(unsafe { vld1q_u8(block.as_ptr()) }))
}

/// The last word first: so the bytes go into the opposite order, all sixteen.
#[inline]
#[target_feature(enable = "neon")]
fn store(block: &mut [u8; BLOCK_LEN], state: uint32x4_t) {
    let reversed = vrev64q_u8(vreinterpretq_u8_u32(state));
    // SAFETY: a block is 16 bytes that may be written, at any alignment.
    unsafe { vst1q_u8(block.as_mut_ptr(), vextq_u8::<8>(reversed, reversed)) }
}
