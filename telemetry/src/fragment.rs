//! Blocks on CAN FD: cut into frames of 64 bytes, and put together again.
//!
//! Each frame is a head of 8 bytes and up to 56 bytes of payload; the last payload is padded with zeros to a length that
//! CAN FD has (ISO 11898-1). The payloads together are the block and its CRC-32.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0 | version 1 in the high half; bit 0 first, bit 1 last fragment of the block |
//! | 1 | stream |
//! | 2, 3 | the low 16 bits of the block's number, big endian |
//! | 4, 5 | the fragment's index from 0, big endian |
//! | 6, 7 | length of the block in bytes, big endian, without the CRC |
//!
//! A frame of 8 bytes with bit 2 of byte 0 set, and no other bit of the low half, asks the sender of blocks for a
//! keyframe: byte 1 is the stream, 0 for all of them, the others are 0. It has an identifier of its own.
//!
//! Fragments of a block follow each other in order: CAN keeps the order of frames with one identifier. A lost fragment
//! loses its block, and the block's own numbering tells the receiver, who asks for a rebirth.

use crate::header::StreamId;

/// Payload of a full fragment in bytes.
pub const PAYLOAD_LEN: usize = 56;
/// Longest block that can go over CAN FD, in bytes.
pub const MAX_FRAGMENTED_LEN: usize = u16::MAX as usize;

const HEAD_LEN: usize = 8;
const CRC_LEN: usize = 4;
const VERSION: u8 = 0x10;
const FIRST: u8 = 0x01;
const LAST: u8 = 0x02;
const REBIRTH: u8 = 0x04;
/// Data lengths of CAN FD frames (ISO 11898-1).
const FRAME_LENS: [usize; 8] = [8, 12, 16, 20, 24, 32, 48, 64];

/// What a fragment told the receiver. Nothing here is the receiver's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// The block's bytes do not match their CRC.
    #[error("crc {found:#010x}, block says {expected:#010x}")]
    Crc {
        /// By the last fragments.
        expected: u32,
        /// Of the bytes received.
        found: u32,
    },
    /// The head contradicts itself or the frame's length.
    #[error("malformed fragment")]
    Malformed,
    /// A fragment of a block whose earlier fragments were lost; the rest of the block is passed over.
    #[error("fragment {index} of block {block} out of order")]
    OutOfOrder {
        /// The low 16 bits of the block's number.
        block: u16,
        /// The fragment.
        index: u16,
    },
    /// The block is longer than [`MAX_FRAGMENTED_LEN`].
    #[error("block of {0} bytes, at most {MAX_FRAGMENTED_LEN} can be fragmented")]
    TooLong(usize),
}

/// Cuts one block. Gives out one frame after the other, so that the sender can keep a single one in flight.
#[derive(Debug)]
pub struct Fragmenter {
    stream: u8,
    block: u16,
    block_len: u16,
    /// The block and its CRC.
    bytes: Vec<u8>,
    index: u16,
}

impl Fragmenter {
    /// Takes the block with number `seq` of `stream`.
    ///
    /// # Errors
    /// [`FragmentError::TooLong`].
    pub fn new(stream: u8, seq: u64, block: &[u8]) -> Result<Self, FragmentError> {
        let block_len = u16::try_from(block.len()).map_err(|_| FragmentError::TooLong(block.len()))?;
        let [.., high, low] = seq.to_be_bytes();
        let mut bytes = block.to_vec();
        bytes.extend_from_slice(&crc32(block).to_be_bytes());
        Ok(Self { stream, block: u16::from_be_bytes([high, low]), block_len, bytes, index: 0 })
    }

    /// The next frame's data: 12 to 64 bytes, a length that CAN FD has. `None` when the block is out.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        let from = usize::from(self.index) * PAYLOAD_LEN;
        let rest = self.bytes.get(from..).filter(|rest| !rest.is_empty())?;
        let payload = rest.get(..PAYLOAD_LEN).unwrap_or(rest);
        let mut flags = VERSION;
        if self.index == 0 {
            flags |= FIRST;
        }
        if payload.len() == rest.len() {
            flags |= LAST;
        }
        let mut frame = Vec::with_capacity(HEAD_LEN + PAYLOAD_LEN);
        frame.extend_from_slice(&[flags, self.stream]);
        frame.extend_from_slice(&self.block.to_be_bytes());
        frame.extend_from_slice(&self.index.to_be_bytes());
        frame.extend_from_slice(&self.block_len.to_be_bytes());
        frame.extend_from_slice(payload);
        let padded = FRAME_LENS.into_iter().find(|len| *len >= frame.len()).unwrap_or(frame.len());
        frame.resize(padded, 0);
        self.index += 1;
        Some(frame)
    }
}

/// Puts the blocks of one sender's stream together again. Holds one block at most.
#[derive(Debug, Default)]
pub struct Reassembler {
    current: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    stream: u8,
    block: u16,
    block_len: u16,
    next: u16,
    bytes: Vec<u8>,
}

impl Reassembler {
    /// A receiver that waits for a first fragment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the data of one frame; gives out a block when it is whole and its CRC right.
    ///
    /// # Errors
    /// [`FragmentError`]; the block it belongs to is lost, the next first fragment starts a new one.
    pub fn handle_frame(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>, FragmentError> {
        let (head, payload) = frame.split_first_chunk::<HEAD_LEN>().ok_or(FragmentError::Malformed)?;
        let [flags, stream, block_high, block_low, index_high, index_low, len_high, len_low] = *head;
        let block = u16::from_be_bytes([block_high, block_low]);
        let index = u16::from_be_bytes([index_high, index_low]);
        let block_len = u16::from_be_bytes([len_high, len_low]);
        let (first, last) = (flags & FIRST != 0, flags & LAST != 0);
        if flags & !(FIRST | LAST) != VERSION || first != (index == 0) {
            self.current = None;
            return Err(FragmentError::Malformed);
        }
        if first {
            let bytes = Vec::with_capacity(usize::from(block_len) + CRC_LEN);
            self.current = Some(Partial { stream, block, block_len, next: 0, bytes });
        }
        let same = |partial: &Partial| {
            (partial.stream, partial.block, partial.block_len, partial.next)
                == (stream, block, block_len, index)
        };
        let Some(mut partial) = self.current.take().filter(same) else {
            return Err(FragmentError::OutOfOrder { block, index });
        };
        let missing = usize::from(block_len) + CRC_LEN - partial.bytes.len();
        let payload = payload.get(..missing.min(PAYLOAD_LEN)).ok_or(FragmentError::Malformed)?;
        if last != (missing <= PAYLOAD_LEN) {
            return Err(FragmentError::Malformed);
        }
        partial.bytes.extend_from_slice(payload);
        if !last {
            // 65539 bytes are 1171 fragments, so the index never wraps.
            partial.next += 1;
            self.current = Some(partial);
            return Ok(None);
        }
        let (block, crc) = partial.bytes.split_last_chunk::<CRC_LEN>().ok_or(FragmentError::Malformed)?;
        let (expected, found) = (u32::from_be_bytes(*crc), crc32(block));
        if expected == found { Ok(Some(block.to_vec())) } else { Err(FragmentError::Crc { expected, found }) }
    }
}

/// The data of a frame that asks for a keyframe of `stream`, or of all streams (0). Streams above 255 cannot be asked for
/// alone: that asks for all.
pub fn rebirth_request(stream: StreamId) -> [u8; HEAD_LEN] {
    let mut data = [0; HEAD_LEN];
    data[0] = VERSION | REBIRTH;
    data[1] = u8::try_from(stream.0).unwrap_or_default();
    data
}

/// The stream that a frame asks a keyframe of, 0 for all; `None` for any other frame.
pub fn parse_rebirth(data: &[u8]) -> Option<StreamId> {
    match data {
        [flags, stream, 0, 0, 0, 0, 0, 0] if *flags == VERSION | REBIRTH => Some(StreamId((*stream).into())),
        _ => None,
    }
}

/// CRC-32 as in ISO 3309 (polynomial 0x04C11DB7, reflected), bit by bit: blocks are a few hundred bytes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(seq: u64, block: &[u8]) -> Vec<Vec<u8>> {
        let mut fragmenter = Fragmenter::new(1, seq, block).unwrap();
        std::iter::from_fn(|| fragmenter.poll_frame()).collect()
    }

    fn received(reassembler: &mut Reassembler, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        frames.iter().filter_map(|frame| reassembler.handle_frame(frame).ok().flatten()).collect()
    }

    proptest! {
        #[test]
        fn every_block_comes_back_in_frames_that_can_fd_has(block in prop::collection::vec(any::<u8>(), 0..500), seq: u64) {
            let frames = frames(seq, &block);
            prop_assert!(frames.iter().all(|frame| FRAME_LENS.contains(&frame.len())));
            prop_assert_eq!(received(&mut Reassembler::new(), &frames), vec![block]);
        }

        #[test]
        fn no_frame_makes_the_receiver_panic(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70), 0..20)) {
            let mut reassembler = Reassembler::new();
            for mut frame in frames {
                if let Some(flags) = frame.first_mut() {
                    *flags = VERSION | (*flags & 3);
                }
                let _ = reassembler.handle_frame(&frame);
            }
        }
    }

    #[test]
    fn the_crc_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_request_for_a_keyframe_is_told_from_fragments() {
        assert_eq!(parse_rebirth(&rebirth_request(StreamId(3))), Some(StreamId(3)));
        assert_eq!(parse_rebirth(&rebirth_request(StreamId(256))), Some(StreamId(0)));
        assert_eq!(parse_rebirth(&[0x14, 1, 0, 0, 0, 0, 0]), None);
        assert_eq!(parse_rebirth(&[0x14, 1, 0, 0, 0, 0, 0, 1]), None);
        assert!(frames(7, &[0; 100]).iter().all(|frame| parse_rebirth(frame).is_none()));
        let refused = Reassembler::new().handle_frame(&rebirth_request(StreamId(0)));
        assert_eq!(refused, Err(FragmentError::Malformed));
    }

    #[test]
    fn losing_any_fragment_loses_that_block_and_no_other() {
        let blocks = [vec![1; 300], vec![2; 300]];
        for lost in 0..6 {
            let mut all: Vec<_> = frames(7, &blocks[0]);
            assert_eq!(all.len(), 6);
            all.remove(lost);
            all.extend(frames(8, &blocks[1]));
            assert_eq!(received(&mut Reassembler::new(), &all), [blocks[1].clone()], "fragment {lost}");
        }
    }

    #[test]
    fn a_flipped_bit_is_seen() {
        let mut frames = frames(7, &[0; 100]);
        frames[0][20] ^= 1;
        let mut reassembler = Reassembler::new();
        reassembler.handle_frame(&frames[0]).unwrap();
        assert!(matches!(reassembler.handle_frame(&frames[1]), Err(FragmentError::Crc { .. })));
    }

    #[test]
    fn the_longest_block_passes_and_one_byte_more_is_refused() {
        let longest = vec![3; MAX_FRAGMENTED_LEN];
        assert_eq!(received(&mut Reassembler::new(), &frames(0, &longest)), [longest]);
        let refused = Fragmenter::new(1, 0, &vec![3; MAX_FRAGMENTED_LEN + 1]).unwrap_err();
        assert_eq!(refused, FragmentError::TooLong(MAX_FRAGMENTED_LEN + 1));
    }
}
