//! SM3 (GB/T 32905-2016): one message at a time, many at once, and HMAC.
//!
//! One message is a chain of rounds that each wait for the one before, so a CPU cannot be faster than its latencies
//! allow; many messages fill the lanes of its vector registers. [`digest_many`] is for chunk trees.

mod compress;
mod hmac;
mod many;

pub use hmac::HmacSm3;
pub use many::digest_many;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a digest.
pub const DIGEST_LEN: usize = 32;
/// Bytes of a block.
pub const BLOCK_LEN: usize = 64;

/// The standard counts bits in 64 bits.
const MAX_BLOCKS: u64 = 1 << 55;
/// GB/T 32905 clause 4.1.
const INITIAL: [u32; 8] =
    [0x7380_166f, 0x4914_b2b9, 0x1724_42d7, 0xda8a_0600, 0xa96f_30bc, 0x1631_38aa, 0xe38d_ee4d, 0xb0fb_0e4e];

/// A running SM3. Wiped when dropped, since HMAC keeps keys in it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Sm3 {
    chain: [u32; 8],
    /// Whole blocks in `chain`.
    blocks: u64,
    unfinished: [u8; BLOCK_LEN],
    /// Bytes in `unfinished`, less than a block.
    filled: u8,
}

impl Default for Sm3 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Sm3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sm3").field("hashed", &self.hashed()).finish_non_exhaustive()
    }
}

impl Sm3 {
    /// Bytes of [`Sm3::midstate`].
    pub const MIDSTATE_LEN: usize = 104;

    /// A hash that has seen nothing.
    pub const fn new() -> Self {
        Self { chain: INITIAL, blocks: 0, unfinished: [0; BLOCK_LEN], filled: 0 }
    }

    /// The digest of `data`.
    pub fn digest(data: &[u8]) -> [u8; DIGEST_LEN] {
        let mut hash = Self::new();
        hash.update(data);
        hash.finish()
    }

    /// Hashes `data` after what was hashed before. 2^61 bytes are the most that the standard has digests for.
    pub fn update(&mut self, data: &[u8]) {
        let filled = usize::from(self.filled);
        let (head, rest) = data.split_at(data.len().min((BLOCK_LEN - filled) % BLOCK_LEN));
        self.unfinished[filled..filled + head.len()].copy_from_slice(head);
        let filled = filled + head.len();
        if filled == BLOCK_LEN {
            self.compress(&[self.unfinished]);
            self.unfinished = [0; BLOCK_LEN];
            self.filled = 0;
        } else {
            self.filled += u8::try_from(head.len()).unwrap_or_default();
        }
        let (blocks, last) = rest.as_chunks::<BLOCK_LEN>();
        self.compress(blocks);
        if !last.is_empty() {
            self.unfinished[..last.len()].copy_from_slice(last);
            self.filled = u8::try_from(last.len()).unwrap_or_default();
        }
    }

    /// The digest of everything hashed.
    pub fn finish(mut self) -> [u8; DIGEST_LEN] {
        let bits = self.hashed().wrapping_mul(8);
        let filled = usize::from(self.filled);
        self.unfinished[filled] = 0x80;
        if filled + 9 > BLOCK_LEN {
            self.compress(&[self.unfinished]);
            self.unfinished = [0; BLOCK_LEN];
        }
        self.unfinished[BLOCK_LEN - 8..].copy_from_slice(&bits.to_be_bytes());
        self.compress(&[self.unfinished]);
        print(&self.chain)
    }

    /// Bytes hashed so far.
    pub const fn hashed(&self) -> u64 {
        self.blocks.wrapping_mul(BLOCK_LEN as u64).wrapping_add(self.filled as u64)
    }

    /// Puts the hash down: the chaining value in little-endian words, the count of whole blocks (little endian), the
    /// count of bytes in the unfinished block (one byte), and the first 63 bytes of that block, padded with zeros.
    pub fn midstate(&self) -> [u8; Self::MIDSTATE_LEN] {
        let mut bytes = [0; Self::MIDSTATE_LEN];
        for (out, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.chain) {
            *out = word.to_le_bytes();
        }
        bytes[32..40].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[40] = self.filled;
        bytes[41..].copy_from_slice(&self.unfinished[..BLOCK_LEN - 1]);
        bytes
    }

    /// Takes up what [`Sm3::midstate`] put down; `None` for anything it does not put down. The chaining value can be
    /// any bytes, so a midstate must come from storage that is trusted.
    pub fn from_midstate(bytes: &[u8; Self::MIDSTATE_LEN]) -> Option<Self> {
        let (words, _) = bytes[..32].as_chunks::<4>();
        let mut unfinished = [0; BLOCK_LEN];
        unfinished[..BLOCK_LEN - 1].copy_from_slice(&bytes[41..]);
        let filled = bytes[40];
        let blocks = u64::from_le_bytes(std::array::from_fn(|at| bytes[32 + at]));
        let clean = unfinished.get(usize::from(filled)..)?.iter().all(|&byte| byte == 0);
        (clean && usize::from(filled) < BLOCK_LEN && blocks < MAX_BLOCKS).then(|| Self {
            chain: std::array::from_fn(|at| u32::from_le_bytes(words[at])),
            blocks,
            unfinished,
            filled,
        })
    }

    fn compress(&mut self, blocks: &[[u8; BLOCK_LEN]]) {
        self.blocks = self.blocks.wrapping_add(blocks.len() as u64);
        compress::compress(&mut self.chain, blocks);
    }
}

/// A chaining value as a digest.
fn print(chain: &[u32; 8]) -> [u8; DIGEST_LEN] {
    let mut digest = [0; DIGEST_LEN];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(chain) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests;
