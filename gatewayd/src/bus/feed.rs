//! Plain bytes between the brain's chunks and the ECU's blocks, whose sizes have nothing to do with each other.

use std::collections::VecDeque;

/// Chunks in order, cut into blocks.
#[derive(Debug, Default)]
pub(super) struct Feed {
    chunks: VecDeque<Vec<u8>>,
    /// Image offset of the first byte of the first chunk.
    start: u64,
    /// Bytes held.
    len: u64,
    block: Vec<u8>,
}

impl Feed {
    /// Forgets everything; the next bytes may come from anywhere.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.len = 0;
    }

    /// Takes a chunk. One that does not follow what is already here begins anew: the chunks before it were on their way
    /// when the ECU's transfer was taken up at another place.
    pub(super) fn push(&mut self, offset: u64, bytes: Vec<u8>) {
        if self.chunks.is_empty() || offset != self.start + self.len {
            self.clear();
            self.start = offset;
        }
        self.len += bytes.len() as u64;
        self.chunks.push_back(bytes);
    }

    /// The block of `len` bytes at `offset`, once all of it is here. Bytes below `offset` are forgotten.
    pub(super) fn block(&mut self, offset: u64, len: usize) -> Option<&[u8]> {
        self.forget_below(offset);
        if self.chunks.is_empty() || offset < self.start || offset + len as u64 > self.start + self.len {
            return None;
        }
        self.block.clear();
        let mut skip = usize::try_from(offset - self.start).ok()?;
        for chunk in &self.chunks {
            let from = chunk.get(skip.min(chunk.len())..).unwrap_or_default();
            skip = skip.saturating_sub(chunk.len());
            let take = from.len().min(len - self.block.len());
            self.block.extend_from_slice(from.get(..take).unwrap_or_default());
        }
        Some(&self.block)
    }

    fn forget_below(&mut self, offset: u64) {
        while let Some(chunk) = self.chunks.front() {
            let end = self.start + chunk.len() as u64;
            if end > offset {
                return;
            }
            self.len -= chunk.len() as u64;
            self.start = end;
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_span_chunks_and_chunks_span_blocks() {
        let image: Vec<u8> = (0..=255).collect();
        for (chunk, block) in [(64, 7), (10, 64), (100, 100), (256, 1)] {
            let mut feed = Feed::default();
            let mut chunks = image.chunks(chunk).enumerate();
            let mut out = Vec::new();
            while out.len() < image.len() {
                let len = block.min(image.len() - out.len());
                match feed.block(out.len() as u64, len) {
                    Some(bytes) => out.extend_from_slice(bytes),
                    None => {
                        let (nth, bytes) = chunks.next().expect("a block that is complete is handed out");
                        feed.push((nth * chunk) as u64, bytes.to_vec());
                    }
                }
            }
            assert_eq!(out, image);
        }
    }

    #[test]
    fn bytes_before_the_start_are_dropped() {
        let mut feed = Feed::default();
        feed.push(100, vec![1; 10]);
        feed.push(110, vec![2; 10]);
        assert_eq!(feed.block(115, 5), Some([2; 5].as_slice()));
        assert_eq!(feed.block(105, 5), None);
    }

    #[test]
    fn a_late_chunk_of_a_transfer_that_was_taken_up_elsewhere_makes_room_for_the_right_one() {
        let mut feed = Feed::default();
        feed.push(4096, vec![1; 10]);
        feed.push(0, vec![2; 10]);
        feed.push(10, vec![3; 10]);
        assert_eq!(feed.block(5, 10), Some([2, 2, 2, 2, 2, 3, 3, 3, 3, 3].as_slice()));
    }
}
