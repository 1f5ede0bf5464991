//! The S-box of the AES instructions between two linear maps that are looked up, half a byte at a time, in a register.
//!
//! Each register holds one word of four blocks; four such groups are under way at once.
#![allow(unsafe_code, reason = "vector instructions that not every Armv8 has")]

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::super::field::{INTO_AES, OUT_AES, SHIFTED_ROWS};
use super::super::{BLOCK_LEN, Counter};
use crate::guarded::guarded;

/// Bytes that one register per word makes.
const GROUP: usize = 64;
const GROUP_BLOCKS: u32 = 4;
const GROUPS: usize = 4;
const BATCH: usize = GROUPS * GROUP;

/// Whether this CPU can run this file.
pub(in super::super) fn is_available() -> bool {
    is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("aes")
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

#[target_feature(enable = "neon,aes")]
fn keystream(round_keys: &[u32; 32], counter: &Counter, data: &mut [u8]) {
    let mut counter = *counter;
    let mut stream = [0; BATCH];
    for part in data.chunks_mut(BATCH) {
        if part.len() <= GROUP {
            fill::<1>(round_keys, counter, &mut stream);
        } else {
            fill::<GROUPS>(round_keys, counter, &mut stream);
        }
        part.iter_mut().zip(&stream).for_each(|(byte, key)| *byte ^= key);
        counter = counter.plus(BATCH as u32 / BLOCK_LEN as u32);
    }
    // What is left is key stream; it must not stay on the stack.
    zeroize::Zeroize::zeroize(&mut stream);
}

/// The key stream of `G` groups.
#[inline]
#[target_feature(enable = "neon,aes")]
fn fill<const G: usize>(round_keys: &[u32; 32], counter: Counter, stream: &mut [u8; BATCH]) {
    let [a, b, c] = counter.fixed.map(|word| [vdupq_n_u32(word); G]);
    let mut next = counter.next;
    let mut d = [vdupq_n_u32(0); G];
    for lane in &mut d {
        *lane = load(&[0, 1, 2, 3].map(|at: u32| next.wrapping_add(at)));
        next = next.wrapping_add(GROUP_BLOCKS);
    }
    let [a, b, c, d] = rounds(round_keys, [a, b, c, d]);
    for (at, out) in stream.as_chunks_mut::<GROUP>().0.iter_mut().enumerate().take(G) {
        put(out, [d[at], c[at], b[at], a[at]]);
    }
}

#[target_feature(enable = "neon,aes")]
fn each(round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_LEN]]) {
    for group in blocks.chunks_mut(GROUP / BLOCK_LEN) {
        let mut padded = [0; GROUP];
        let len = group.as_flattened().len();
        padded[..len].copy_from_slice(group.as_flattened());
        let state = take(&padded).map(|word| [word]);
        let [[a], [b], [c], [d]] = rounds(round_keys, state);
        put(&mut padded, [d, c, b, a]);
        group.as_flattened_mut().copy_from_slice(&padded[..len]);
    }
}

#[inline]
#[target_feature(enable = "neon,aes")]
fn rounds<const G: usize>(
    round_keys: &[u32; 32],
    [mut a, mut b, mut c, mut d]: [[uint32x4_t; G]; 4],
) -> [[uint32x4_t; G]; 4] {
    for quad in round_keys.as_chunks::<4>().0 {
        round(quad[0], &mut a, &b, &c, &d);
        round(quad[1], &mut b, &c, &d, &a);
        round(quad[2], &mut c, &d, &a, &b);
        round(quad[3], &mut d, &a, &b, &c);
    }
    [a, b, c, d]
}

#[inline]
#[target_feature(enable = "neon,aes")]
fn round<const G: usize>(
    key: u32,
    target: &mut [uint32x4_t; G],
    a: &[uint32x4_t; G],
    b: &[uint32x4_t; G],
    c: &[uint32x4_t; G],
) {
    let key = vdupq_n_u32(key);
    let [t0, t8, t16, t24] = SHIFTED_ROWS.map(|turn| table(&turn));
    for at in 0..G {
        let x = veorq_u32(veorq_u32(a[at], b[at]), veorq_u32(c[at], key));
        let x = nibbles(vreinterpretq_u8_u32(x), &INTO_AES);
        // The rows that this shifts are put back by the turns.
        let t = nibbles(vaeseq_u8(x, vdupq_n_u8(0)), &OUT_AES);
        let turned = |turn| vreinterpretq_u32_u8(vqtbl1q_u8(t, turn));
        let [t, t8, t16, t24] = [turned(t0), turned(t8), turned(t16), turned(t24)];
        // t ^ t24 ^ (t ^ t8 ^ t16) turned by 2 bits.
        let inner = veorq_u32(veorq_u32(t, t8), t16);
        let outer = veorq_u32(veorq_u32(t, t24), target[at]);
        target[at] = veorq_u32(outer, vsliq_n_u32::<2>(vshrq_n_u32::<30>(inner), inner));
    }
}

#[inline]
#[target_feature(enable = "neon,aes")]
fn nibbles(x: uint8x16_t, tables: &[[u8; 16]; 2]) -> uint8x16_t {
    let low = vqtbl1q_u8(table(&tables[0]), vandq_u8(x, vdupq_n_u8(0x0f)));
    veorq_u8(low, vqtbl1q_u8(table(&tables[1]), vshrq_n_u8::<4>(x)))
}

#[inline]
#[target_feature(enable = "neon,aes")]
fn table(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: `bytes` are 16 bytes that may be read, at any alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon,aes")]
fn load(words: &[u32; 4]) -> uint32x4_t {
    // SAFETY: `words` are 16 bytes that may be read, at any alignment.
    unsafe { vld1q_u32(words.as_ptr()) }
}

/// Four blocks, word by word.
#[inline]
#[target_feature(enable = "neon,aes")]
fn take(blocks: &[u8; GROUP]) -> [uint32x4_t; 4] {
    // SAFETY: `blocks` are 64 bytes that may be read; the instruction wants no alignment beyond that of a byte.
    let uint32x4x4_t(a, b, c, d) = unsafe { vld4q_u32(blocks.as_ptr().cast()) };
    [a, b, c, d].map(|word| swap(word))
}

#[inline]
#[target_feature(enable = "neon,aes")]
fn put(blocks: &mut [u8; GROUP], [a, b, c, d]: [uint32x4_t; 4]) {
    let words = uint32x4x4_t(swap(a), swap(b), swap(c), swap(d));
    // SAFETY: `blocks` are 64 bytes that may be written; the instruction wants no alignment beyond that of a byte.
    unsafe { vst4q_u32(blocks.as_mut_ptr().cast(), words) }
}

/// Words in the other byte order.
#[inline]
#[target_feature(enable = "neon,aes")]
fn swap(words: uint32x4_t) -> uint32x4_t {
    vreinterpretq_u32_u8(vrev32q_u8(vreinterpretq_u8_u32(words)))
}
