//! SM4-CCM (SP 800-38C over SM4, RFC 8998 clause 3.2), in place.

use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use super::{AeadError, BLOCK_LEN, Backend, KEY_LEN, NONCE_LEN, Sm4Key, TAG_LEN};

/// A key of SM4-CCM. Wiped when dropped.
#[derive(Clone, Debug)]
pub struct Sm4Ccm {
    cipher: Sm4Key,
}

impl Sm4Ccm {
    /// Expands `key` for the fastest back end of this CPU.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        Self { cipher: Sm4Key::new(key) }
    }

    /// Expands `key` for one back end, for tests and measurements; `None` when this CPU does not have it.
    pub fn with_backend(key: &[u8; KEY_LEN], backend: Backend) -> Option<Self> {
        Some(Self { cipher: Sm4Key::with_backend(key, backend)? })
    }

    /// Encrypts `text` in place and returns the tag. A nonce must never be used twice under one key.
    ///
    /// # Errors
    /// [`AeadError::TooLong`] from 2^24 bytes of text on; `text` is untouched.
    pub fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], AeadError> {
        let mut tag = [0; TAG_LEN];
        self.seal_with_lengths(nonce, aad, text, &mut tag)?;
        Ok(tag)
    }

    /// Decrypts `text` in place if `tag` is genuine; otherwise `text` stays as it was.
    ///
    /// # Errors
    /// [`AeadError::TagMismatch`]; [`AeadError::TooLong`] from 2^24 bytes of text on.
    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AeadError> {
        self.open_with_lengths(nonce, aad, text, tag)
    }

    /// [`Sm4Ccm::seal_in_place`] with a nonce of 7 to 13 bytes and a tag of 4 to 16, even. The longer the nonce, the
    /// shorter the text: less than 256^(15 - length) bytes.
    ///
    /// # Errors
    /// [`AeadError::Length`] for another nonce or tag, [`AeadError::TooLong`] for a longer text.
    pub fn seal_with_lengths(
        &self,
        nonce: &[u8],
        aad: &[u8],
        text: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError> {
        let mode = Mode::new(nonce, text.len(), tag.len())?;
        let sum = self.sum(&mode, aad, text);
        self.xor_keystream(&mode, text, sum, tag);
        Ok(())
    }

    /// [`Sm4Ccm::open_in_place`] with a nonce of 7 to 13 bytes and a tag of 4 to 16, even.
    ///
    /// # Errors
    /// As [`Sm4Ccm::seal_with_lengths`], and [`AeadError::TagMismatch`].
    pub fn open_with_lengths(
        &self,
        nonce: &[u8],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8],
    ) -> Result<(), AeadError> {
        let mode = Mode::new(nonce, text.len(), tag.len())?;
        let mut received = [0; TAG_LEN];
        self.xor_keystream(&mode, text, [0; BLOCK_LEN], &mut received);
        received[..tag.len()].iter_mut().zip(tag).for_each(|(byte, tag)| *byte ^= tag);
        let mut expected = self.sum(&mode, aad, text);
        let genuine = bool::from(expected[..tag.len()].ct_eq(&received[..tag.len()]));
        expected.zeroize();
        received.zeroize();
        if genuine {
            return Ok(());
        }
        // The sum is over the plain bytes, so they had to be made; they are taken back before anybody sees them.
        self.xor_keystream(&mode, text, [0; BLOCK_LEN], &mut []);
        Err(AeadError::TagMismatch)
    }

    /// SP 800-38C clause 6.1, steps 1 to 4.
    fn sum(&self, mode: &Mode, aad: &[u8], text: &[u8]) -> [u8; BLOCK_LEN] {
        let mut first = mode.block;
        let length = (text.len() as u64).to_be_bytes();
        first[BLOCK_LEN - mode.counter_len..].copy_from_slice(&length[8 - mode.counter_len..]);
        let tag_code = u8::try_from((mode.tag_len - 2) / 2).unwrap_or_default();
        first[0] |= tag_code << 3 | u8::from(!aad.is_empty()) << 6;
        let mut sum = Chain { cipher: &self.cipher, sum: [0; BLOCK_LEN], filled: 0 };
        sum.update(&first);
        if !aad.is_empty() {
            sum.update_length(aad.len() as u64);
            sum.update(aad);
            sum.pad();
        }
        sum.update(text);
        sum.pad();
        sum.sum
    }

    /// SP 800-38C clause 6.1, steps 5 to 8: the text, and the tag from the sum.
    fn xor_keystream(&self, mode: &Mode, text: &mut [u8], mut sum: [u8; BLOCK_LEN], tag: &mut [u8]) {
        let mut counter = mode.block;
        self.cipher.xor_keystream(&counter, &mut sum);
        tag.copy_from_slice(&sum[..tag.len()]);
        sum.zeroize();
        // The counters of one message differ in their last four bytes only: even the shortest nonce leaves the text a
        // length of 64 bits, but `Mode::new` keeps it below 2^36 bytes.
        counter[BLOCK_LEN - 1] = 1;
        self.cipher.xor_keystream(&counter, text);
    }
}

/// What the lengths of one message make of the mode.
struct Mode {
    /// The counter 0: flags and nonce.
    block: [u8; BLOCK_LEN],
    counter_len: usize,
    tag_len: usize,
}

impl Mode {
    fn new(nonce: &[u8], text_len: usize, tag_len: usize) -> Result<Self, AeadError> {
        if !(7..=13).contains(&nonce.len()) || !(4..=16).contains(&tag_len) || tag_len % 2 == 1 {
            return Err(AeadError::Length);
        }
        let counter_len = 15 - nonce.len();
        // 2^36 bytes are 2^32 blocks, as far as `xor_keystream` counts.
        let limit = if counter_len < 4 { 1_u64 << (8 * counter_len) } else { (1 << 36) - 16 };
        let limit = if counter_len == 4 { limit.min(1 << 32) } else { limit };
        if text_len as u64 >= limit {
            return Err(AeadError::TooLong);
        }
        let mut block = [0; BLOCK_LEN];
        block[0] = u8::try_from(counter_len - 1).unwrap_or_default();
        block[1..=nonce.len()].copy_from_slice(nonce);
        Ok(Self { block, counter_len, tag_len })
    }
}

/// CBC-MAC.
struct Chain<'k> {
    cipher: &'k Sm4Key,
    sum: [u8; BLOCK_LEN],
    /// Bytes of the current block that are in `sum`, less than a block.
    filled: usize,
}

impl Chain<'_> {
    fn update(&mut self, data: &[u8]) {
        let (head, rest) = data.split_at(data.len().min((BLOCK_LEN - self.filled) % BLOCK_LEN));
        self.add(head);
        if self.filled == BLOCK_LEN {
            self.pad();
        }
        let (blocks, last) = rest.as_chunks::<BLOCK_LEN>();
        self.cipher.absorb(&mut self.sum, blocks);
        self.add(last);
    }

    /// Adds what does not go beyond the current block.
    fn add(&mut self, part: &[u8]) {
        self.sum[self.filled..].iter_mut().zip(part).for_each(|(byte, part)| *byte ^= part);
        self.filled += part.len();
    }

    /// SP 800-38C clause A.2.2: how the length of the additional data is written.
    fn update_length(&mut self, len: u64) {
        let bytes = len.to_be_bytes();
        match len {
            0..0xff00 => self.update(&bytes[6..]),
            0xff00..=0xffff_ffff => {
                self.update(&[0xff, 0xfe]);
                self.update(&bytes[4..]);
            }
            _ => {
                self.update(&[0xff, 0xff]);
                self.update(&bytes);
            }
        }
    }

    /// Ends the current block, if one was begun.
    fn pad(&mut self) {
        if self.filled > 0 {
            self.cipher.encrypt_block(&mut self.sum);
            self.filled = 0;
        }
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        self.sum.zeroize();
    }
}

#[cfg(test)]
mod tests;
