//! SM4 (GB/T 32907-2016) in constant time, with its GCM and CCM modes (RFC 8998, SP 800-38C, SP 800-38D).
//!
//! No path here looks a table up by a secret byte. The S-box is inversion in a field of 256 elements between two affine
//! maps; what differs between back ends is who inverts:
//!
//! | [`Backend`] | inversion | blocks at once |
//! |---|---|---|
//! | `Portable` | bit planes, in a tower of small fields | 16 |
//! | `AesNi` | the AES S-box of x86-64, on 128 bits | 16 |
//! | `Vaes` | the same on 256 bits | 16 |
//! | `Gfni256` | the Galois field instructions on 256 bits | 16 |
//! | `Gfni512` | the same on 512 bits | 64 |
//! | `Neon` | the AES S-box of Armv8 | 16 |
//! | `Armv8Sm4` | the SM4 instructions of Armv8.2 | 8 |
//!
//! [`Sm4Key`] takes the fastest one that the CPU has, at run time.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod backend;
pub mod ccm;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod field;
pub mod gcm;
mod portable;
mod sbox;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use backend::Backend;
pub use ccm::Sm4Ccm;
pub use gcm::Sm4Gcm;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a key.
pub const KEY_LEN: usize = 16;
/// Bytes of a block.
pub const BLOCK_LEN: usize = 16;
/// Bytes of a full authentication tag.
pub const TAG_LEN: usize = 16;
/// Bytes of the nonce that RFC 8998 and the chunk format use.
pub const NONCE_LEN: usize = 12;

/// GB/T 32907 clause 6.2: the system parameter.
const FK: [u32; 4] = [0xa3b1_bac6, 0x56aa_3350, 0x677d_9197, 0xb270_22dc];

/// Why an authenticated cipher refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AeadError {
    /// The data's or the key's fault: the tag is not the one of this key, nonce, additional data and text.
    #[error("authentication tag does not match")]
    TagMismatch,
    /// The caller's fault: more bytes than the mode allows under one nonce.
    #[error("data longer than the mode allows under one nonce")]
    TooLong,
    /// The caller's fault: a nonce or a tag of a length that the mode does not have.
    #[error("the mode has no nonce or tag of this length")]
    Length,
}

/// An expanded encryption key. Wiped when dropped; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Sm4Key {
    round_keys: [u32; 32],
    #[zeroize(skip)]
    backend: Backend,
}

impl std::fmt::Debug for Sm4Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sm4Key").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl Sm4Key {
    /// Expands `key` for the fastest back end of this CPU.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        Self { round_keys: expand(key), backend: Backend::best() }
    }

    /// Expands `key` for one back end, for tests and measurements; `None` when this CPU does not have it.
    pub fn with_backend(key: &[u8; KEY_LEN], backend: Backend) -> Option<Self> {
        backend.is_available().then(|| Self { round_keys: expand(key), backend })
    }

    /// The back end in use.
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// Encrypts one block in place.
    pub fn encrypt_block(&self, block: &mut [u8; BLOCK_LEN]) {
        self.backend.absorb(&self.round_keys, block, &[[0; BLOCK_LEN]]);
    }

    /// Adds each of `blocks` to `sum` and encrypts the sum.
    fn absorb(&self, sum: &mut [u8; BLOCK_LEN], blocks: &[[u8; BLOCK_LEN]]) {
        self.backend.absorb(&self.round_keys, sum, blocks);
    }

    /// Encrypts blocks in place, each for itself.
    pub fn encrypt_blocks(&self, blocks: &mut [[u8; BLOCK_LEN]]) {
        self.backend.encrypt(&self.round_keys, blocks);
    }

    /// Decrypts one block in place. Not the fast direction: no mode here needs it.
    pub fn decrypt_block(&self, block: &mut [u8; BLOCK_LEN]) {
        let mut reversed = self.round_keys;
        reversed.reverse();
        portable::encrypt(&reversed, std::slice::from_mut(block));
        reversed.zeroize();
    }

    /// Adds the key stream of counter mode to `data`. The last four bytes of `counter` count, big endian, and wrap by
    /// themselves (SP 800-38D clause 6.2); `counter` itself is the first block. `data` may end within a block.
    pub fn xor_keystream(&self, counter: &[u8; BLOCK_LEN], data: &mut [u8]) {
        self.backend.xor_keystream(&self.round_keys, &Counter::new(counter), data);
    }
}

/// Counter mode's input: three words that stay and one that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter {
    pub(crate) fixed: [u32; 3],
    pub(crate) next: u32,
}

impl Counter {
    pub(crate) fn new(block: &[u8; BLOCK_LEN]) -> Self {
        let [a, b, c, next] = words(block);
        Self { fixed: [a, b, c], next }
    }

    pub(crate) const fn plus(self, blocks: u32) -> Self {
        Self { fixed: self.fixed, next: self.next.wrapping_add(blocks) }
    }
}

/// A block as four big-endian words.
fn words(block: &[u8; BLOCK_LEN]) -> [u32; 4] {
    let (words, _) = block.as_chunks::<4>();
    std::array::from_fn(|at| u32::from_be_bytes(words[at]))
}

/// GB/T 32907 clause 7.3.
fn expand(key: &[u8; KEY_LEN]) -> [u32; 32] {
    let mut state = words(key);
    state.iter_mut().zip(FK).for_each(|(word, parameter)| *word ^= parameter);
    let mut round_keys = [0; 32];
    for (round, round_key) in (0_u32..).zip(&mut round_keys) {
        let constant = u32::from_be_bytes(std::array::from_fn(|at| {
            // Each byte is (4 round + at) * 7 modulo 256.
            (round * 28 + [0, 7, 14, 21][at]).to_le_bytes()[0]
        }));
        let mixed = sbox::substitute_word(state[1] ^ state[2] ^ state[3] ^ constant);
        *round_key = state[0] ^ mixed ^ mixed.rotate_left(13) ^ mixed.rotate_left(23);
        state = [state[1], state[2], state[3], *round_key];
    }
    state.zeroize();
    round_keys
}

#[cfg(test)]
mod tests;
