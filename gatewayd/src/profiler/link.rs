//! The road between the profiling service and the daemon: a Unix stream socket, on which the service sends telemetry
//! blocks and notes on itself, each behind its length (`u32`, little endian), and the daemon sends single bytes back. No
//! I/O in here.

use telemetry::limits::MAX_BLOCK_LEN;

/// What the daemon sends when a receiver asked for a keyframe.
pub const REBIRTH: u8 = b'R';

/// What the daemon sends for each block (not for notes), in the order of these, once it is in the outbox on disk.
pub const TAKEN: u8 = b'T';

const LEN_BYTES: usize = size_of::<u32>();

/// What the service did wrong on the socket; the daemon should close it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A block longer than any may be.
    #[error("profiling service announced a block of {0} bytes, at most {MAX_BLOCK_LEN} allowed")]
    TooLong(usize),
}

/// Cuts received bytes into blocks. Holds one block at most, and what came behind it.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
}

impl FrameReader {
    /// An empty reader, for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes received bytes. Drain [`FrameReader::poll_block`] before the next call, then the buffer holds less than
    /// one block and these bytes.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives out the next whole block.
    ///
    /// # Errors
    /// [`LinkError`] when the service breaks the rules; the reader stays at that place.
    pub fn poll_block(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        let Some((len, rest)) = self.buffer.split_first_chunk::<LEN_BYTES>() else { return Ok(None) };
        // Longer than memory is too long as well.
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        if len > MAX_BLOCK_LEN {
            return Err(LinkError::TooLong(len));
        }
        let Some(block) = rest.get(..len).map(<[u8]>::to_vec) else { return Ok(None) };
        self.buffer.drain(..LEN_BYTES + len);
        Ok(Some(block))
    }
}

/// One block on its way into the socket.
#[derive(Debug)]
pub struct FrameWriter {
    bytes: Vec<u8>,
    written: usize,
}

impl FrameWriter {
    /// Puts the length before the block.
    ///
    /// # Errors
    /// [`LinkError::TooLong`]; an [`Encoder`](telemetry::Encoder)'s blocks never are.
    pub fn new(block: &[u8]) -> Result<Self, LinkError> {
        let len = match u32::try_from(block.len()) {
            Ok(len) if block.len() <= MAX_BLOCK_LEN => len,
            _ => return Err(LinkError::TooLong(block.len())),
        };
        let mut bytes = Vec::with_capacity(LEN_BYTES + block.len());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(block);
        Ok(Self { bytes, written: 0 })
    }

    /// The bytes still to be written; empty when done.
    pub fn poll_transmit(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// True when some of the block was written, but not all.
    pub fn is_started(&self) -> bool {
        (1..self.bytes.len()).contains(&self.written)
    }

    /// Takes note that the socket took `len` bytes.
    pub fn handle_written(&mut self, len: usize) {
        self.written = self.written.saturating_add(len).min(self.bytes.len());
    }

    /// Starts over: the connection was lost and the next one knows nothing of this block.
    pub fn rewind(&mut self) {
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_come_out_whole_however_the_bytes_are_cut(
            blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..6),
            cuts in prop::collection::vec(1..20_usize, 1..10),
        ) {
            let mut bytes = Vec::new();
            for block in &blocks {
                bytes.extend_from_slice(FrameWriter::new(block).unwrap().poll_transmit());
            }
            let (mut reader, mut received, mut rest) = (FrameReader::new(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                reader.handle_bytes(now);
                while let Some(block) = reader.poll_block().unwrap() {
                    received.push(block);
                }
                rest = later;
            }
            prop_assert_eq!(received, blocks);
        }
    }

    #[test]
    fn the_longest_block_passes_and_one_byte_more_is_refused() {
        let announce = |len: usize| {
            let mut reader = FrameReader::new();
            reader.handle_bytes(&u32::try_from(len).unwrap().to_le_bytes());
            reader.poll_block()
        };
        assert_eq!(announce(MAX_BLOCK_LEN), Ok(None));
        assert_eq!(announce(MAX_BLOCK_LEN + 1), Err(LinkError::TooLong(MAX_BLOCK_LEN + 1)));
    }

    #[test]
    fn a_rewound_block_is_sent_from_its_first_byte() {
        let mut writer = FrameWriter::new(b"block").unwrap();
        writer.handle_written(6);
        assert_eq!(writer.poll_transmit(), b"ock");
        writer.rewind();
        assert_eq!(writer.poll_transmit(), b"\x05\0\0\0block");
    }
}
