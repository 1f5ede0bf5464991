//! Where each chunk of a stored image lies, and what its seal and its leaf are bound to.
//!
//! The layout is that of ARCHITECTURE.md, "The stored image".

use std::ops::Range;

use crypto_offload::job::Cipher;

/// The smallest chunk: below it the tags and leaves outweigh what they buy.
pub const MIN_CHUNK_SIZE: u32 = 4 << 10;
/// The largest chunk: a gateway holds a few of them at once.
pub const MAX_CHUNK_SIZE: u32 = 1 << 20;
/// The largest image, in plain bytes.
pub const MAX_PLAIN_SIZE: u64 = 1 << 40;

/// Why sizes are not those of an image. The publisher is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Not a power of two in range.
    #[error("chunk size {0} is not a power of two from {MIN_CHUNK_SIZE} to {MAX_CHUNK_SIZE}")]
    ChunkSize(u64),
    /// Empty, or more than a TiB.
    #[error("plain size {0} is not from 1 to {MAX_PLAIN_SIZE} bytes")]
    PlainSize(u64),
}

/// The arithmetic of one stored image.
///
/// ```
/// use crypto_offload::job::Cipher;
/// use ota::image::ChunkLayout;
/// let layout = ChunkLayout::new(4097, 4096, Some(Cipher::Sm4Gcm))?;
/// assert_eq!(layout.chunk_count(), 2);
/// assert_eq!(layout.stored_range(1), Some(4112..4129));
/// assert_eq!(layout.stored_size(), 4129);
/// # Ok::<(), ota::image::LayoutError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLayout {
    plain_size: u64,
    chunk_size: u32,
    cipher: Option<Cipher>,
}

impl ChunkLayout {
    /// The layout of an image of `plain_size` bytes (1 to [`MAX_PLAIN_SIZE`]) in chunks of `chunk_size` plain bytes
    /// (a power of two from [`MIN_CHUNK_SIZE`] to [`MAX_CHUNK_SIZE`]).
    pub const fn new(plain_size: u64, chunk_size: u32, cipher: Option<Cipher>) -> Result<Self, LayoutError> {
        if !chunk_size.is_power_of_two() || chunk_size < MIN_CHUNK_SIZE || chunk_size > MAX_CHUNK_SIZE {
            return Err(LayoutError::ChunkSize(chunk_size as u64));
        }
        if plain_size == 0 || plain_size > MAX_PLAIN_SIZE {
            return Err(LayoutError::PlainSize(plain_size));
        }
        Ok(Self { plain_size, chunk_size, cipher })
    }

    /// Plain bytes of the image.
    pub const fn plain_size(&self) -> u64 {
        self.plain_size
    }

    /// Plain bytes of every chunk but the last.
    pub const fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// The AEAD, or `None` where the image is stored in the clear.
    pub const fn cipher(&self) -> Option<Cipher> {
        self.cipher
    }

    /// Number of chunks, 1 or more.
    pub const fn chunk_count(&self) -> u64 {
        self.plain_size.div_ceil(self.chunk_size as u64)
    }

    /// Bytes of the stored file.
    pub const fn stored_size(&self) -> u64 {
        self.plain_size + self.chunk_count() * self.overhead()
    }

    /// Where the chunk's bytes lie in the plain image; `None` past the last chunk.
    pub fn plain_range(&self, index: u64) -> Option<Range<u64>> {
        if index >= self.chunk_count() {
            return None;
        }
        let start = index * u64::from(self.chunk_size);
        Some(start..self.plain_size.min(start + u64::from(self.chunk_size)))
    }

    /// Where the stored chunk lies in the stored file; `None` past the last chunk.
    pub fn stored_range(&self, index: u64) -> Option<Range<u64>> {
        let plain = self.plain_range(index)?;
        Some(plain.start + index * self.overhead()..plain.end + (index + 1) * self.overhead())
    }

    /// The chunk's nonce. Unique because the content key is the image's alone.
    pub fn nonce(&self, index: u64) -> [u8; Cipher::NONCE_LEN] {
        let mut nonce = [0; Cipher::NONCE_LEN];
        nonce[4..].copy_from_slice(&index.to_be_bytes());
        nonce
    }

    /// The chunk's additional data: binds the ciphertext to its place and to the image's size.
    pub fn aad(&self, index: u64) -> Vec<u8> {
        [b"gatewayd chunk 1".as_slice(), &index.to_be_bytes(), &self.plain_size.to_be_bytes()].concat()
    }

    /// What is hashed before the stored chunk to make its leaf.
    pub fn leaf_prefix(&self, index: u64) -> Vec<u8> {
        crate::tree::leaf_prefix(index).to_vec()
    }

    const fn overhead(&self) -> u64 {
        if self.cipher.is_some() { Cipher::TAG_LEN as u64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_bounded_at_their_last_value() {
        for (size, fine) in
            [(2048, false), (4096, true), (4097, false), (1 << 20, true), (1 << 21, false), (0, false)]
        {
            assert_eq!(ChunkLayout::new(1, size, None).is_ok(), fine, "{size}");
        }
        for (size, fine) in [(0, false), (1, true), (MAX_PLAIN_SIZE, true), (MAX_PLAIN_SIZE + 1, false)] {
            assert_eq!(ChunkLayout::new(size, 4096, None).is_ok(), fine, "{size}");
        }
    }

    #[test]
    fn nonce_and_additional_data_are_those_of_the_format() {
        let layout = ChunkLayout::new(0x0102, 4096, Some(Cipher::Aes256Gcm)).unwrap();
        assert_eq!(layout.nonce(0x0a0b), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b]);
        assert_eq!(layout.aad(3), b"gatewayd chunk 1\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\x01\x02");
        assert_eq!(layout.leaf_prefix(258), [0, 0, 0, 0, 0, 0, 0, 1, 2]);
    }

    proptest! {
        #[test]
        fn chunks_tile_both_files_without_gap(
            plain_size in 1_u64..1 << 18,
            shift in 12_u32..16,
            sealed in any::<bool>(),
        ) {
            let layout = ChunkLayout::new(plain_size, 1 << shift, sealed.then_some(Cipher::Sm4Gcm)).unwrap();
            let (mut plain, mut stored) = (0, 0);
            for index in 0..layout.chunk_count() {
                let (p, s) = (layout.plain_range(index).unwrap(), layout.stored_range(index).unwrap());
                prop_assert_eq!((p.start, s.start), (plain, stored));
                prop_assert_eq!(s.end - s.start, p.end - p.start + if sealed { 16 } else { 0 });
                (plain, stored) = (p.end, s.end);
            }
            prop_assert_eq!((plain, stored), (plain_size, layout.stored_size()));
            prop_assert_eq!(layout.stored_range(layout.chunk_count()), None);
        }
    }
}
