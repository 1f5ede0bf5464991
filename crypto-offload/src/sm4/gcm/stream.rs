//! SM4-GCM piece by piece, to be put down after any byte and taken up elsewhere.

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{MAX_TEXT, Sm4Gcm, check_lengths, first_counter, plus};
use crate::ghash::Sum;
use crate::sm4::{AeadError, BLOCK_LEN, NONCE_LEN, TAG_LEN};

/// How far a message has come: what another engine needs, besides key and nonce, to go on.
///
/// Not for other eyes: with two of them, and the bytes between, the hash key can be computed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Progress {
    sum: Sum,
    aad: u64,
    text: u64,
    /// The bytes of the last block, where it is unfinished; zeros behind them.
    unfinished: [u8; BLOCK_LEN],
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("aad", &self.aad).field("text", &self.text).finish_non_exhaustive()
    }
}

impl Progress {
    /// Bytes of [`Progress::to_bytes`].
    pub const LEN: usize = 48;

    /// Bytes of text so far.
    pub const fn text_len(&self) -> u64 {
        self.text
    }

    /// The GHASH sum of the whole blocks, the lengths of additional data and text in bytes (big endian), and the
    /// unfinished block, filled up with zeros.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(&self.sum.to_bytes());
        bytes[16..24].copy_from_slice(&self.aad.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.text.to_be_bytes());
        bytes[32..].copy_from_slice(&self.unfinished);
        bytes
    }

    /// What [`Progress::to_bytes`] wrote; `None` for anything it does not write.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (blocks, _) = bytes.as_chunks::<BLOCK_LEN>();
        let &[sum, lengths, unfinished] = blocks else { return None };
        let lengths = u128::from_be_bytes(lengths);
        let aad = u64::try_from(lengths >> 64).ok()?;
        let text = u64::try_from(lengths & u128::from(u64::MAX)).ok()?;
        let filled = usize::try_from(text % 16).ok()?;
        let clean = unfinished[filled..].iter().all(|&byte| byte == 0);
        let within = text <= MAX_TEXT && aad <= super::MAX_AAD;
        (clean && within).then_some(Self { sum: Sum::from_bytes(sum), aad, text, unfinished })
    }

    fn new(key: &Sm4Gcm, aad: &[u8]) -> Result<Self, AeadError> {
        check_lengths(aad, &[])?;
        let mut sum = Sum::default();
        key.hash.absorb(&mut sum, aad);
        Ok(Self { sum, aad: aad.len() as u64, text: 0, unfinished: [0; BLOCK_LEN] })
    }

    /// Whether that many bytes more are allowed.
    fn check(&self, more: usize) -> Result<(), AeadError> {
        let sum = self.text.checked_add(more as u64).filter(|&sum| sum <= MAX_TEXT);
        sum.map(|_| ()).ok_or(AeadError::TooLong)
    }

    #[allow(clippy::cast_possible_truncation, reason = "less than 16")]
    const fn filled(&self) -> usize {
        (self.text % BLOCK_LEN as u64) as usize
    }

    /// Hashes encrypted text.
    fn absorb(&mut self, key: &Sm4Gcm, text: &[u8]) {
        let mut rest = text;
        let filled = self.filled();
        self.text += text.len() as u64;
        if filled > 0 {
            let (head, behind) = rest.split_at(rest.len().min(BLOCK_LEN - filled));
            self.unfinished[filled..filled + head.len()].copy_from_slice(head);
            if filled + head.len() < BLOCK_LEN {
                return;
            }
            key.hash.absorb(&mut self.sum, &self.unfinished);
            self.unfinished = [0; BLOCK_LEN];
            rest = behind;
        }
        let whole = rest.len() - rest.len() % BLOCK_LEN;
        let (blocks, last) = rest.split_at(whole);
        key.hash.absorb(&mut self.sum, blocks);
        self.unfinished[..last.len()].copy_from_slice(last);
    }

    /// Adds the key stream that belongs at this place; does not move on.
    fn xor_keystream(&self, key: &Sm4Gcm, nonce: &[u8; NONCE_LEN], text: &mut [u8]) {
        let filled = self.filled();
        // At most 2^32 - 2 blocks: `MAX_TEXT`.
        let counter = |block: u64| plus(first_counter(nonce), u32::try_from(block + 1).unwrap_or_default());
        let begun = self.text / BLOCK_LEN as u64;
        let (head, tail) = text.split_at_mut(text.len().min((BLOCK_LEN - filled) % BLOCK_LEN));
        if !head.is_empty() {
            let mut block = [0; BLOCK_LEN];
            key.cipher.xor_keystream(&counter(begun), &mut block);
            head.iter_mut().zip(&block[filled..]).for_each(|(byte, mask)| *byte ^= mask);
            block.zeroize();
        }
        if !tail.is_empty() {
            let next = begun + u64::from(filled > 0);
            key.cipher.xor_keystream(&counter(next), tail);
        }
    }

    fn tag(&self, key: &Sm4Gcm, nonce: &[u8; NONCE_LEN]) -> [u8; TAG_LEN] {
        let mut sum = self.sum;
        key.hash.absorb(&mut sum, &self.unfinished[..self.filled()]);
        let mut mask = [0; BLOCK_LEN];
        key.cipher.xor_keystream(&first_counter(nonce), &mut mask);
        let tag = key.tag(&sum, self.aad, self.text, &mask);
        mask.zeroize();
        sum.zeroize();
        tag
    }
}

/// A message being sealed.
#[derive(Debug)]
pub struct Sealing<'k> {
    key: &'k Sm4Gcm,
    nonce: [u8; NONCE_LEN],
    progress: Progress,
}

impl<'k> Sealing<'k> {
    /// Begins a message.
    ///
    /// # Errors
    /// [`AeadError::TooLong`] for additional data beyond [`MAX_AAD`](super::MAX_AAD).
    pub fn new(key: &'k Sm4Gcm, nonce: &[u8; NONCE_LEN], aad: &[u8]) -> Result<Self, AeadError> {
        Ok(Self { key, nonce: *nonce, progress: Progress::new(key, aad)? })
    }

    /// Goes on where another left off, which must have had the same key and nonce and must not go on itself.
    pub const fn resume(key: &'k Sm4Gcm, nonce: &[u8; NONCE_LEN], progress: Progress) -> Self {
        Self { key, nonce: *nonce, progress }
    }

    /// How far it has come.
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Encrypts the next piece in place.
    ///
    /// # Errors
    /// [`AeadError::TooLong`] beyond [`MAX_TEXT`]; the piece is untouched.
    pub fn update(&mut self, piece: &mut [u8]) -> Result<(), AeadError> {
        self.progress.check(piece.len())?;
        self.progress.xor_keystream(self.key, &self.nonce, piece);
        self.progress.absorb(self.key, piece);
        Ok(())
    }

    /// The tag.
    pub fn finish(self) -> [u8; TAG_LEN] {
        self.progress.tag(self.key, &self.nonce)
    }
}

/// A sealed message being authenticated, before any of it may be decrypted.
#[derive(Debug)]
pub struct Verification<'k> {
    key: &'k Sm4Gcm,
    nonce: [u8; NONCE_LEN],
    aad: Progress,
    progress: Progress,
}

impl<'k> Verification<'k> {
    /// Begins a message.
    ///
    /// # Errors
    /// [`AeadError::TooLong`] for additional data beyond [`MAX_AAD`](super::MAX_AAD).
    pub fn new(key: &'k Sm4Gcm, nonce: &[u8; NONCE_LEN], aad: &[u8]) -> Result<Self, AeadError> {
        let begun = Progress::new(key, aad)?;
        Ok(Self { key, nonce: *nonce, aad: begun.clone(), progress: begun })
    }

    /// Goes on where another left off. The additional data is given once more: it is needed for [`Opening`].
    ///
    /// # Errors
    /// [`AeadError::Length`] when `aad` has another length than the message was begun with.
    pub fn resume(
        key: &'k Sm4Gcm,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        progress: Progress,
    ) -> Result<Self, AeadError> {
        let begun = Progress::new(key, aad)?;
        if begun.aad != progress.aad {
            return Err(AeadError::Length);
        }
        Ok(Self { key, nonce: *nonce, aad: begun, progress })
    }

    /// How far it has come.
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Takes the next piece of encrypted text.
    ///
    /// # Errors
    /// [`AeadError::TooLong`] beyond [`MAX_TEXT`].
    pub fn update(&mut self, piece: &[u8]) -> Result<(), AeadError> {
        self.progress.check(piece.len())?;
        self.progress.absorb(self.key, piece);
        Ok(())
    }

    /// The right to decrypt the message, if `tag` is genuine.
    ///
    /// # Errors
    /// [`AeadError::TagMismatch`].
    pub fn finish(self, tag: &[u8; TAG_LEN]) -> Result<Opening<'k>, AeadError> {
        if !bool::from(self.progress.tag(self.key, &self.nonce).ct_eq(tag)) {
            return Err(AeadError::TagMismatch);
        }
        let len = self.progress.text;
        Ok(Opening { key: self.key, nonce: self.nonce, progress: self.aad, len, tag: *tag })
    }
}

/// A message that is genuine, being decrypted.
#[derive(Debug)]
pub struct Opening<'k> {
    key: &'k Sm4Gcm,
    nonce: [u8; NONCE_LEN],
    progress: Progress,
    len: u64,
    tag: [u8; TAG_LEN],
}

impl Opening<'_> {
    /// Decrypts the next piece in place. The pieces together must be the bytes that were authenticated; they may be
    /// cut otherwise.
    ///
    /// # Errors
    /// [`AeadError::TooLong`] when that is more than was authenticated; the piece is untouched.
    pub fn update(&mut self, piece: &mut [u8]) -> Result<(), AeadError> {
        if piece.len() as u64 > self.len - self.progress.text {
            return Err(AeadError::TooLong);
        }
        let before = self.progress.clone();
        self.progress.absorb(self.key, piece);
        before.xor_keystream(self.key, &self.nonce, piece);
        Ok(())
    }

    /// Ends the message.
    ///
    /// # Errors
    /// [`AeadError::TagMismatch`] when the pieces were not the bytes that were authenticated: whoever kept them has
    /// changed them in between, and what was decrypted is worth nothing.
    pub fn finish(self) -> Result<(), AeadError> {
        let genuine = self.progress.tag(self.key, &self.nonce).ct_eq(&self.tag);
        if bool::from(genuine) { Ok(()) } else { Err(AeadError::TagMismatch) }
    }
}
