//! SM4 in plain Rust, 16 blocks at once, on any machine.

use super::{BLOCK_LEN, Counter, sbox, words};

/// Blocks at once.
const BLOCKS: usize = 16;

/// Encrypts `blocks` in place, each for itself.
pub(super) fn encrypt(round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_LEN]]) {
    for group in blocks.chunks_mut(BLOCKS) {
        let mut state = [[0; BLOCKS]; 4];
        for (at, block) in group.iter().enumerate() {
            for (lanes, word) in state.iter_mut().zip(words(block)) {
                lanes[at] = word;
            }
        }
        rounds(round_keys, &mut state);
        for (at, block) in group.iter_mut().enumerate() {
            *block = output(&state, at);
        }
    }
}

/// Adds the key stream to `data`.
pub(super) fn xor_keystream(round_keys: &[u32; 32], counter: &Counter, data: &mut [u8]) {
    let mut next = counter.next;
    for group in data.chunks_mut(BLOCKS * BLOCK_LEN) {
        let [a, b, c] = counter.fixed.map(|word| [word; BLOCKS]);
        let mut state = [
            a,
            b,
            c,
            std::array::from_fn(|_| {
                let count = next;
                next = next.wrapping_add(1);
                count
            }),
        ];
        rounds(round_keys, &mut state);
        for (at, block) in group.chunks_mut(BLOCK_LEN).enumerate() {
            block.iter_mut().zip(output(&state, at)).for_each(|(byte, key)| *byte ^= key);
        }
    }
}

fn output(state: &[[u32; BLOCKS]; 4], at: usize) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    for (bytes, lanes) in block.as_chunks_mut::<4>().0.iter_mut().zip(state.iter().rev()) {
        *bytes = lanes[at].to_be_bytes();
    }
    block
}

/// GB/T 32907 clause 7.1, without the reversal at the end.
fn rounds(round_keys: &[u32; 32], state: &mut [[u32; BLOCKS]; 4]) {
    for quad in round_keys.as_chunks::<4>().0 {
        let [a, b, c, d] = state;
        round(quad[0], a, b, c, d);
        round(quad[1], b, c, d, a);
        round(quad[2], c, d, a, b);
        round(quad[3], d, a, b, c);
    }
}

#[inline]
fn round(key: u32, target: &mut [u32; BLOCKS], a: &[u32; BLOCKS], b: &[u32; BLOCKS], c: &[u32; BLOCKS]) {
    let mut mixed: [u32; BLOCKS] = std::array::from_fn(|at| a[at] ^ b[at] ^ c[at] ^ key);
    sbox::substitute(&mut mixed);
    for (word, t) in target.iter_mut().zip(mixed) {
        *word ^= t ^ t.rotate_left(2) ^ t.rotate_left(10) ^ t.rotate_left(18) ^ t.rotate_left(24);
    }
}
