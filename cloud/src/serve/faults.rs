//! Faults that an origin or the way to it may have, as data. Off unless a test or the demo adds one.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Something that goes wrong with one file. `path` is the path below the root, `/` between its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One bit differs from the file.
    FlipBit {
        /// Which file.
        path: String,
        /// Byte from the start of the file, counted from 0.
        offset: u64,
        /// Bit in that byte, 0 (least significant) to 7; only the lowest three bits of this number count.
        bit: u8,
    },
    /// The file ends early.
    Truncate {
        /// Which file.
        path: String,
        /// The length it seems to have, in bytes.
        len: u64,
    },
    /// The response stops and stays open.
    Stall {
        /// Which file.
        path: String,
        /// The first byte of the file that never comes.
        after: u64,
    },
    /// The response goes on with zero bytes after the end, for as long as the receiver takes them.
    Endless {
        /// Which file.
        path: String,
    },
}

impl Fault {
    /// The file it is about.
    pub fn path(&self) -> &str {
        match self {
            Self::FlipBit { path, .. }
            | Self::Truncate { path, .. }
            | Self::Stall { path, .. }
            | Self::Endless { path } => path,
        }
    }
}

/// The faults in force; shared with a running server, so that a test can change them between requests.
#[derive(Debug, Default)]
pub struct Faults(Mutex<VecDeque<Fault>>);

/// More faults than this are not kept; the oldest goes.
const MAX_FAULTS: usize = 1024;

impl Faults {
    /// Adds a fault to those in force.
    pub fn add(&self, fault: Fault) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() == MAX_FAULTS {
            faults.pop_front();
        }
        faults.push_back(fault);
    }

    /// Ends all faults. Responses under way keep theirs.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The faults of one file.
    pub(crate) fn of(&self, path: &str) -> FileFaults {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = FileFaults::default();
        for fault in faults.iter().filter(|it| it.path() == path) {
            match *fault {
                Fault::FlipBit { offset, bit, .. } => found.flips.push((offset, 1 << (bit & 7))),
                Fault::Truncate { len, .. } => found.len = Some(len),
                Fault::Stall { after, .. } => found.stall = Some(after),
                Fault::Endless { .. } => found.endless = true,
            }
        }
        found
    }
}

/// What is wrong with one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileFaults {
    /// Offset in the file and mask.
    pub(crate) flips: Vec<(u64, u8)>,
    /// Length it seems to have.
    pub(crate) len: Option<u64>,
    /// First byte that never comes.
    pub(crate) stall: Option<u64>,
    /// Whether it goes on after its end.
    pub(crate) endless: bool,
}

impl FileFaults {
    /// Applies the flipped bits to `bytes`, which lie at `offset` in the file.
    pub(crate) fn flip(&self, offset: u64, bytes: &mut [u8]) {
        for &(at, mask) in &self.flips {
            let index = at.checked_sub(offset).and_then(|it| usize::try_from(it).ok());
            if let Some(byte) = index.and_then(|it| bytes.get_mut(it)) {
                *byte ^= mask;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_flips_only_in_the_block_that_holds_it() {
        let faults = Faults::default();
        faults.add(Fault::FlipBit { path: "a".into(), offset: 10, bit: 3 });
        let found = faults.of("a");
        for (start, expected) in [(0, [0; 4]), (7, [0, 0, 0, 8]), (10, [8, 0, 0, 0]), (11, [0; 4])] {
            let mut block = [0; 4];
            found.flip(start, &mut block);
            assert_eq!(block, expected, "block at {start}");
        }
        assert_eq!(faults.of("b"), FileFaults::default());
        faults.clear();
        assert_eq!(faults.of("a"), FileFaults::default());
    }
}
