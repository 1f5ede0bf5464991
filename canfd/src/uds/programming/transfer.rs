//! The blocks of one download: what to ask of the caller, what to send, what the ECU holds.

use crate::uds::message::{BlockSequenceCounter, Request};
use crate::uds::profile::{BlockCheck, Part};

/// Most times in a row that a transfer is taken up again without a new block being acknowledged.
const MAX_RECOVERIES: u32 = 3;

/// State of one transfer, across its downloads.
#[derive(Debug)]
pub(super) struct Transfer {
    image_len: u64,
    /// The downloads, the flash driver first; never empty once the bank is known
    parts: Vec<Part>,
    /// The one under way
    part: usize,
    /// The driver is in the ECU's RAM
    has_driver: bool,
    check: BlockCheck,
    /// Bytes per block, without service and counter
    block_len: u32,
    counter: BlockSequenceCounter,
    /// Bytes from the start of the image that the ECU acknowledged
    acknowledged: u64,
    /// Length of the block under way
    sent: u64,
    /// The block after that, already fetched
    staged: Option<Vec<u8>>,
    /// Offset for which the caller owes data
    wanted: Option<u64>,
    recoveries: u32,
}

/// Data that was not asked for; the transfer goes on waiting for what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// No data is wanted now
    #[error("no data was asked for")]
    NotWanted,
    /// Data of another place, as after the transfer was taken up elsewhere
    #[error("data at offset {given}, wanted at {wanted}")]
    WrongOffset {
        /// Where the data belongs
        given: u64,
        /// What is wanted
        wanted: u64,
    },
    /// Nothing, or more than was asked for
    #[error("{given} bytes of data, 1 to {max_len} were asked for")]
    Length {
        /// How much was given
        given: usize,
        /// How much is wanted at most
        max_len: u32,
    },
}

/// A stretch of the image that the caller must hand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) offset: u64,
    pub(super) max_len: u32,
}

impl Transfer {
    pub(super) fn new(image_len: u64, check: BlockCheck) -> Self {
        Self {
            image_len,
            parts: Vec::new(),
            part: 0,
            has_driver: false,
            check,
            block_len: 0,
            counter: BlockSequenceCounter::FIRST,
            acknowledged: 0,
            sent: 0,
            staged: None,
            wanted: None,
            recoveries: 0,
        }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Where the image goes, once the bank is known.
    pub(super) fn lay_out(&mut self, parts: Vec<Part>) {
        self.parts = parts;
        self.part = 0;
    }

    /// Whether all of the image is acknowledged.
    pub(super) fn is_complete(&self) -> bool {
        self.acknowledged == self.image_len
    }

    /// Whether all of the download under way is acknowledged.
    pub(super) fn is_part_complete(&self) -> bool {
        self.acknowledged >= self.part_end()
    }

    /// First address and length of the rest of the download under way.
    pub(super) fn rest(&self) -> (u64, u64) {
        self.parts.get(self.part).map_or((0, 0), |part| {
            let done = self.acknowledged.saturating_sub(part.image.start);
            (part.address.saturating_add(done), part.image.end.saturating_sub(self.acknowledged))
        })
    }

    /// Addresses and lengths of what is to be erased.
    pub(super) fn erasures(&self) -> impl Iterator<Item = (u64, u64)> {
        let flash = self.parts.iter().filter(|part| !part.is_driver);
        flash.map(|part| (part.address, part.image.end - part.image.start))
    }

    /// Bytes of the flash driver in front of the image, 0 without one.
    pub(super) fn driver_len(&self) -> u64 {
        self.parts.first().filter(|part| part.is_driver).map_or(0, |part| part.image.end)
    }

    /// Whether the flash driver must be downloaded before anything else.
    pub(super) fn lacks_driver(&self) -> bool {
        self.driver_len() > 0 && !self.has_driver
    }

    /// The download under way is closed. True where it was the flash driver's.
    pub(super) fn close_part(&mut self) -> bool {
        let was_driver = self.parts.get(self.part).is_some_and(|part| part.is_driver);
        self.has_driver |= was_driver;
        self.restart_at(self.acknowledged);
        was_driver
    }

    /// The next download starts at `offset`, which is at most the image's length.
    pub(super) fn restart_at(&mut self, offset: u64) {
        self.acknowledged = offset.min(self.image_len);
        let begun = |part: &Part| part.image.end > self.acknowledged;
        let last = self.parts.len().saturating_sub(1);
        self.part = self.parts.iter().position(begun).unwrap_or(last);
        self.sent = 0;
        self.staged = None;
        self.wanted = None;
    }

    /// The ECU accepted a download in blocks of `block_len` bytes of data.
    pub(super) fn open(&mut self, block_len: u32) {
        self.block_len = block_len;
        self.counter = BlockSequenceCounter::FIRST;
    }

    /// Asks for the block after the ones sent and staged, once.
    pub(super) fn want(&mut self) -> Option<Wanted> {
        if self.wanted.is_some() || self.staged.is_some() {
            return None;
        }
        let offset = self.acknowledged + self.sent;
        let max_len = self.len_at(offset);
        (max_len > 0).then(|| {
            self.wanted = Some(offset);
            Wanted { offset, max_len }
        })
    }

    pub(super) fn stage(&mut self, offset: u64, data: &[u8]) -> Result<(), DataError> {
        let wanted = self.wanted.ok_or(DataError::NotWanted)?;
        if offset != wanted {
            return Err(DataError::WrongOffset { given: offset, wanted });
        }
        let max_len = self.len_at(wanted);
        if data.is_empty() || data.len() as u64 > u64::from(max_len) {
            return Err(DataError::Length { given: data.len(), max_len });
        }
        self.wanted = None;
        self.staged = Some(data.to_vec());
        Ok(())
    }

    /// The next block to send, if its data is here and none is under way.
    pub(super) fn next_request(&mut self) -> Option<Request> {
        if self.sent > 0 {
            return None;
        }
        let data = self.staged.take()?;
        self.sent = data.len() as u64;
        Some(match self.check {
            BlockCheck::None => Request::transfer_data(self.counter, &data),
            BlockCheck::Crc16X25 => Request::transfer_data_with_crc(self.counter, &data),
        })
    }

    /// The ECU acknowledged the block under way.
    pub(super) fn acknowledge(&mut self) {
        self.acknowledged += self.sent;
        self.sent = 0;
        self.counter = self.counter.next();
        self.recoveries = 0;
    }

    /// Whether the transfer may once more be taken up where the ECU says.
    pub(super) fn try_recovery(&mut self) -> bool {
        self.recoveries += 1;
        self.recoveries <= MAX_RECOVERIES
    }

    fn part_end(&self) -> u64 {
        self.parts.get(self.part).map_or(self.image_len, |part| part.image.end)
    }

    fn len_at(&self, offset: u64) -> u32 {
        let left = self.part_end().saturating_sub(offset);
        u32::try_from(left).map_or(self.block_len, |left| left.min(self.block_len))
    }
}
