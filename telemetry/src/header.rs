//! The plain head of a block: enough to route it, to drop a duplicate and to see a gap without decompressing.

use crate::decoder::{DecodeError, Malformed};
use crate::limits::MAX_PLAIN_LEN;
use crate::wire::{Reader, put_len, put_varint};

/// First bytes of every block.
pub(crate) const MAGIC: [u8; 2] = *b"GT";
/// The version of the format; versions 1 and 2 were never in the field.
pub(crate) const VERSION: u8 = 3;
const FLAG_KEYFRAME: u8 = 0x01;
const FLAG_STORED: u8 = 0x02;

/// One life of a sender: drawn at random at each start, so that (vehicle, boot, stream, seq) names a block for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub u64);

/// Which of a sender's streams a block belongs to; each has its own numbering and its own dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

impl StreamId {
    /// CPU samples of the gateway.
    pub const PROFILE: Self = Self(1);
    /// Metrics of the gateway.
    pub const METRICS: Self = Self(2);
    /// Block input and output of the gateway.
    pub const IO: Self = Self(3);
    /// First of the numbers that a gateway gives to its ECUs' streams as it likes; the topic names the ECU.
    pub const FIRST_ECU: Self = Self(16);
}

/// Which trained zstd dictionary a block was compressed with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct DictionaryId(pub u32);

impl DictionaryId {
    /// No dictionary.
    pub const NONE: Self = Self(0);
    /// The one that this crate brings for stack profiles (`src/trained/profile-1.zdict`).
    pub const PROFILE_1: Self = Self(1);
}

/// The head of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// True for a block that needs no earlier one.
    pub keyframe: bool,
    /// The sender's life.
    pub boot: BootId,
    /// The stream.
    pub stream: StreamId,
    /// Number of the block in its stream, from 0 up without holes.
    pub seq: u64,
    /// The trained dictionary.
    pub dictionary: DictionaryId,
    /// Length of the body in bytes before compression, without the samples.
    pub plain_len: usize,
}

/// What lies behind the head of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    /// The samples, from the range coder; empty when there are none.
    pub(crate) samples: &'a [u8],
    /// The body, or a zstd frame with it, without its first four bytes.
    pub(crate) body: &'a [u8],
    /// Whether it is the body itself.
    pub(crate) stored: bool,
}

impl BlockHeader {
    /// Reads the head of `block` and nothing more: what an outbox or a receiver that only sorts needs.
    ///
    /// # Errors
    /// [`DecodeError`] when this is no block, a newer version's, or its length is past the limit.
    pub fn parse(block: &[u8]) -> Result<Self, DecodeError> {
        Self::split(block).map(|(header, _)| header)
    }

    /// The zstd frame of `block`, without its first four bytes; `None` where the body is not compressed.
    ///
    /// # Errors
    /// As [`BlockHeader::parse`].
    pub fn frame_of(block: &[u8]) -> Result<Option<&[u8]>, DecodeError> {
        Self::split(block).map(|(_, parts)| (!parts.stored).then_some(parts.body))
    }

    /// The head, and what lies behind it.
    pub(crate) fn split(block: &[u8]) -> Result<(Self, Parts<'_>), DecodeError> {
        let mut reader = Reader::new(block);
        if reader.array::<2>()? != MAGIC {
            return Err(DecodeError::NotABlock);
        }
        let version = reader.byte()?;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let flags = reader.byte()?;
        if flags & !(FLAG_KEYFRAME | FLAG_STORED) != 0 {
            return Err(DecodeError::Flags(flags));
        }
        let boot = BootId(u64::from_be_bytes(reader.array()?));
        let stream = StreamId(reader.u32("stream id")?);
        let seq = reader.varint()?;
        // The number after the last must exist too, or a receiver could not say what it waits for.
        if seq == u64::MAX {
            return Err(Malformed::TooLarge { field: "seq", value: seq, limit: u64::MAX - 1 }.into());
        }
        let dictionary = DictionaryId(reader.u32("dictionary id")?);
        let plain_len = reader.up_to("uncompressed length", MAX_PLAIN_LEN)?;
        let samples_len = reader.up_to("length of samples", MAX_PLAIN_LEN)?;
        let samples = reader.bytes(samples_len)?;
        let (keyframe, stored) = (flags & FLAG_KEYFRAME != 0, flags & FLAG_STORED != 0);
        let parts = Parts { samples, body: reader.rest(), stored };
        Ok((Self { keyframe, boot, stream, seq, dictionary, plain_len }, parts))
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>, parts: &Parts<'_>) {
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        let flag = |set, flag| if set { flag } else { 0 };
        out.push(flag(self.keyframe, FLAG_KEYFRAME) | flag(parts.stored, FLAG_STORED));
        out.extend_from_slice(&self.boot.0.to_be_bytes());
        put_varint(out, u64::from(self.stream.0));
        put_varint(out, self.seq);
        put_varint(out, u64::from(self.dictionary.0));
        put_len(out, self.plain_len);
        put_len(out, parts.samples.len());
        out.extend_from_slice(parts.samples);
        out.extend_from_slice(parts.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: BlockHeader = BlockHeader {
        keyframe: true,
        boot: BootId(0x0102_0304_0506_0708),
        stream: StreamId::PROFILE,
        seq: 300,
        dictionary: DictionaryId(0),
        plain_len: MAX_PLAIN_LEN,
    };

    fn bytes(header: BlockHeader) -> Vec<u8> {
        let mut out = Vec::new();
        header.put(&mut out, &Parts { samples: &[7, 8], body: &[9], stored: true });
        out
    }

    #[test]
    fn a_header_has_exactly_these_bytes() {
        let expected =
            b"GT\x03\x03\x01\x02\x03\x04\x05\x06\x07\x08\x01\xAC\x02\x00\x80\x80\x40\x02\x07\x08\x09";
        assert_eq!(bytes(HEADER), expected);
        assert_eq!(BlockHeader::parse(expected), Ok(HEADER));
    }

    #[test]
    fn a_body_one_byte_past_the_limit_is_refused() {
        let header = BlockHeader { plain_len: MAX_PLAIN_LEN + 1, ..HEADER };
        let refused = BlockHeader::parse(&bytes(header));
        assert!(matches!(refused, Err(DecodeError::Malformed(Malformed::TooLarge { .. }))), "{refused:?}");
    }

    #[test]
    fn other_magic_version_and_flags_are_told_apart() {
        let good = bytes(HEADER);
        let with = |at: usize, byte: u8| {
            let mut block = good.clone();
            block[at] = byte;
            BlockHeader::parse(&block)
        };
        assert_eq!(with(0, b'X'), Err(DecodeError::NotABlock));
        assert_eq!(with(2, 2), Err(DecodeError::Version(2)));
        assert_eq!(with(3, 0x05), Err(DecodeError::Flags(0x05)));
    }

    #[test]
    fn every_cut_header_is_truncated() {
        let good = bytes(HEADER);
        // What follows the samples may be empty.
        for len in 0..good.len() - 1 {
            assert_eq!(BlockHeader::parse(&good[..len]), Err(Malformed::Truncated.into()), "{len} bytes");
        }
    }
}
