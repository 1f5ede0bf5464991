//! SM4-GCM (SP 800-38D over SM4, RFC 8998 clause 3.2), in place: at once, or piece by piece.
//!
//! Opening authenticates everything before it decrypts anything: at once, [`Sm4Gcm::open_in_place`] leaves the buffer
//! as it was when the tag is wrong; piece by piece, [`Verification::finish`] is the only way to an [`Opening`].

mod stream;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use super::{AeadError, BLOCK_LEN, Backend, KEY_LEN, NONCE_LEN, Sm4Key, TAG_LEN};
use crate::ghash::{GhashKey, Sum};

pub use stream::{Opening, Progress, Sealing, Verification};

/// SP 800-38D clause 5.2.1.1: 2^39 - 256 bits of text under one nonce.
pub const MAX_TEXT: u64 = (1 << 36) - 32;
/// SP 800-38D clause 5.2.1.1: 2^64 - 1 bits of additional data, in whole bytes.
pub const MAX_AAD: u64 = (1 << 61) - 1;

/// A key of SM4-GCM. Wiped when dropped.
#[derive(Clone)]
pub struct Sm4Gcm {
    cipher: Sm4Key,
    hash: GhashKey,
}

impl std::fmt::Debug for Sm4Gcm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sm4Gcm").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

impl Sm4Gcm {
    /// Expands `key` for the fastest back end of this CPU.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        Self::over(Sm4Key::new(key), crate::ghash::Backend::best())
    }

    /// Expands `key` for one back end, for tests and measurements; `None` when this CPU does not have it.
    pub fn with_backend(key: &[u8; KEY_LEN], backend: Backend) -> Option<Self> {
        let cipher = Sm4Key::with_backend(key, backend)?;
        Some(Self::over(cipher, crate::ghash::Backend::beside(backend)))
    }

    fn over(cipher: Sm4Key, hash: crate::ghash::Backend) -> Self {
        let mut h = [0; BLOCK_LEN];
        cipher.encrypt_block(&mut h);
        let hash = GhashKey::with_backend(&h, hash);
        h.zeroize();
        Self { cipher, hash }
    }

    /// Encrypts `text` in place and returns the tag.
    ///
    /// A nonce must never be used twice under one key: whoever sees two such messages can forge others.
    ///
    /// # Errors
    /// [`AeadError::TooLong`] beyond [`MAX_TEXT`] or [`MAX_AAD`]; `text` is untouched.
    pub fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], AeadError> {
        self.seal(first_counter(nonce), aad, text)
    }

    /// Decrypts `text` in place if `tag` is genuine; otherwise `text` stays as it was.
    ///
    /// # Errors
    /// [`AeadError::TagMismatch`]; [`AeadError::TooLong`] beyond [`MAX_TEXT`] or [`MAX_AAD`].
    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AeadError> {
        self.open(first_counter(nonce), aad, text, tag)
    }

    /// [`Sm4Gcm::seal_in_place`] with a nonce of any length but 0, which is hashed unless it has 12 bytes.
    ///
    /// # Errors
    /// [`AeadError::Length`] for an empty nonce, and as [`Sm4Gcm::seal_in_place`].
    pub fn seal_with_long_nonce(
        &self,
        nonce: &[u8],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], AeadError> {
        self.seal(self.counter_of(nonce)?, aad, text)
    }

    /// [`Sm4Gcm::open_in_place`] with a nonce of any length but 0.
    ///
    /// # Errors
    /// [`AeadError::Length`] for an empty nonce, and as [`Sm4Gcm::open_in_place`].
    pub fn open_with_long_nonce(
        &self,
        nonce: &[u8],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AeadError> {
        self.open(self.counter_of(nonce)?, aad, text, tag)
    }

    fn seal(
        &self,
        counter: [u8; BLOCK_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], AeadError> {
        check_lengths(aad, text)?;
        let mut sum = Sum::default();
        self.hash.absorb(&mut sum, aad);
        let mut mask = [0; BLOCK_LEN];
        self.crypt(&counter, &mut mask, text, |part| self.hash.absorb(&mut sum, part));
        let tag = self.tag(&sum, aad.len() as u64, text.len() as u64, &mask);
        mask.zeroize();
        Ok(tag)
    }

    fn open(
        &self,
        counter: [u8; BLOCK_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AeadError> {
        check_lengths(aad, text)?;
        let mut sum = Sum::default();
        self.hash.absorb(&mut sum, aad);
        self.hash.absorb(&mut sum, text);
        let mut mask = [0; BLOCK_LEN];
        self.cipher.xor_keystream(&counter, &mut mask);
        let expected = self.tag(&sum, aad.len() as u64, text.len() as u64, &mask);
        mask.zeroize();
        if !bool::from(expected.ct_eq(tag)) {
            return Err(AeadError::TagMismatch);
        }
        self.cipher.xor_keystream(&plus(counter, 1), text);
        Ok(())
    }

    /// Encrypts `text` and, with the block before it, `mask`; hands each encrypted part out while it is in the cache.
    fn crypt(
        &self,
        counter: &[u8; BLOCK_LEN],
        mask: &mut [u8; BLOCK_LEN],
        text: &mut [u8],
        mut done: impl FnMut(&[u8]),
    ) {
        // The mask rides in the first batch, which costs as much with one block as with many.
        let mut first = [0; BATCH];
        let (head, tail) = text.split_at_mut(text.len().min(BATCH - BLOCK_LEN));
        let used = BLOCK_LEN + head.len();
        first[BLOCK_LEN..used].copy_from_slice(head);
        self.cipher.xor_keystream(counter, &mut first[..used]);
        mask.copy_from_slice(&first[..BLOCK_LEN]);
        head.copy_from_slice(&first[BLOCK_LEN..used]);
        done(head);
        first[..BLOCK_LEN].zeroize();
        for (at, part) in (1_u32..).zip(tail.chunks_mut(BATCH)) {
            self.cipher.xor_keystream(&plus(*counter, at.wrapping_mul(BATCH_BLOCKS)), part);
            done(part);
        }
    }

    fn tag(&self, sum: &Sum, aad: u64, text: u64, mask: &[u8; BLOCK_LEN]) -> [u8; TAG_LEN] {
        let mut tag = self.hash.finish(sum, aad, text);
        tag.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        tag
    }

    /// SP 800-38D clause 7.1, step 2: the counter before the first.
    fn counter_of(&self, nonce: &[u8]) -> Result<[u8; BLOCK_LEN], AeadError> {
        if nonce.is_empty() || nonce.len() as u64 > MAX_AAD {
            return Err(AeadError::Length);
        }
        if let Ok(nonce) = nonce.try_into() {
            return Ok(first_counter(nonce));
        }
        let mut sum = Sum::default();
        self.hash.absorb(&mut sum, nonce);
        Ok(self.hash.finish(&sum, 0, nonce.len() as u64))
    }
}

/// What is encrypted before it is hashed: the largest batch of any back end.
const BATCH: usize = 1024;
const BATCH_BLOCKS: u32 = 64;

fn first_counter(nonce: &[u8; NONCE_LEN]) -> [u8; BLOCK_LEN] {
    let mut counter = [0; BLOCK_LEN];
    counter[..NONCE_LEN].copy_from_slice(nonce);
    counter[BLOCK_LEN - 1] = 1;
    counter
}

/// The counter `blocks` later; the last four bytes wrap by themselves.
fn plus(mut counter: [u8; BLOCK_LEN], blocks: u32) -> [u8; BLOCK_LEN] {
    let [.., a, b, c, d] = &mut counter;
    let next = u32::from_be_bytes([*a, *b, *c, *d]).wrapping_add(blocks);
    [*a, *b, *c, *d] = next.to_be_bytes();
    counter
}

fn check_lengths(aad: &[u8], text: &[u8]) -> Result<(), AeadError> {
    if text.len() as u64 > MAX_TEXT || aad.len() as u64 > MAX_AAD {
        return Err(AeadError::TooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
