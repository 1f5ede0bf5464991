//! Addresses of a simulated ECU: banks, their segments, RAM for the flash driver, and the file of service 0x38.
//!
//! A bank's file holds the image's segments one after the other, whatever gaps lie between their addresses.

use super::{Board, Download};
use canfd::uds::message::{FileAccepted, FileMode, FileRequest, MemoryRange, Nrc};
use std::ops::Range;

/// Longest answer to 0x23.
const MAX_READ: u64 = 4096;

/// Where an address lies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// So far into the flash driver's RAM
    Driver { offset: u64 },
    /// So far into the file of a bank, in a segment that occupies this stretch of it
    Bank { bank: usize, offset: u64, segment: Range<u64> },
}

impl Board {
    /// Whether the dialect wants a flash driver that is not there whole.
    pub(super) fn lacks_driver(&self) -> bool {
        self.profile().flash_driver.is_some_and(|driver| (self.driver.len() as u64) < driver.length)
    }

    pub(super) fn bank_to_erase(&self, option: &[u8]) -> Option<usize> {
        if !self.profile().erase.address_and_length {
            let [bank] = *option else { return None };
            return (usize::from(bank) < self.profile().banks.len()).then_some(bank.into());
        }
        let range = MemoryRange::parse(option).ok()?;
        let memory = self.profile().memory;
        if (range.address_bytes, range.length_bytes) != (memory.address_bytes, memory.length_bytes) {
            return None;
        }
        let Place::Bank { bank, offset, segment } = self.locate(range.address)? else { return None };
        (offset == segment.start && range.length <= segment.end - segment.start).then_some(bank)
    }

    pub(super) fn begin_download(&mut self, format: u8, address: u64, length: u64) -> Result<u32, Nrc> {
        if length == 0 || format != self.profile().memory.data_format {
            return Err(Nrc::RequestOutOfRange);
        }
        match self.locate(address).ok_or(Nrc::RequestOutOfRange)? {
            Place::Driver { offset } => {
                let whole = self.profile().flash_driver.map_or(0, |driver| driver.length);
                if offset != 0 || length != whole {
                    return Err(Nrc::RequestOutOfRange);
                }
                self.driver.clear();
                self.download = Some(Download { bank: None, offset, end: length });
            }
            Place::Bank { bank, offset, segment } => {
                let end = offset.checked_add(length).filter(|end| *end <= segment.end);
                let end = end.ok_or(Nrc::RequestOutOfRange)?;
                if self.lacks_driver() || !self.is_erased(bank) || offset != self.flash.programmed(bank) {
                    return Err(Nrc::UploadDownloadNotAccepted);
                }
                self.download = Some(Download { bank: Some(bank), offset, end });
            }
        }
        Ok(self.config.max_block_length)
    }

    /// 0x38: a file anew empties its bank at once; one that is resumed goes on where its bank ends.
    pub(super) fn begin_file(&mut self, request: &FileRequest) -> Result<FileAccepted, Nrc> {
        let path = self.profile().file.as_ref().map(|file| (file.path.clone().into_bytes(), file.resume));
        let Some((_, resumes)) = path.filter(|(path, _)| *path == request.path) else {
            return Err(Nrc::RequestOutOfRange);
        };
        let (plain, sent) = request.size;
        let whole =
            request.mode == FileMode::Read || plain == sent && (1..=self.config.bank_size).contains(&sent);
        if !whole || request.data_format != self.profile().memory.data_format {
            return Err(Nrc::RequestOutOfRange);
        }
        let max_block_length = self.config.max_block_length.into();
        let accepted =
            FileAccepted { max_block_length, data_format: request.data_format, size: None, position: None };
        match request.mode {
            FileMode::Read => {
                let bank = self.running_bank().ok_or(Nrc::RequestOutOfRange)?;
                let len = self.flash.programmed(bank);
                self.upload = Some((bank, 0));
                Ok(FileAccepted { size: Some((len, len)), ..accepted })
            }
            FileMode::Add | FileMode::Replace => {
                let bank = self.bank_of_file();
                self.invalidate(bank)?;
                self.end_erase(bank)?;
                self.download = Some(Download { bank: Some(bank), offset: 0, end: sent });
                Ok(accepted)
            }
            FileMode::Resume => {
                let bank = self.held_bank().filter(|bank| resumes && self.is_erased(*bank));
                let bank = bank.ok_or(Nrc::UploadDownloadNotAccepted)?;
                let offset = self.flash.programmed(bank);
                if offset > sent {
                    return Err(Nrc::UploadDownloadNotAccepted);
                }
                self.download = Some(Download { bank: Some(bank), offset, end: sent });
                Ok(FileAccepted { position: Some(offset), ..accepted })
            }
        }
    }

    pub(super) fn read_range(&mut self, range: &MemoryRange) -> Result<Vec<u8>, Nrc> {
        if !(1..=MAX_READ).contains(&range.length) {
            return Err(Nrc::RequestOutOfRange);
        }
        let (bank, offset) = self.programmed_range(range)?;
        let len = usize::try_from(range.length).unwrap_or(usize::MAX);
        self.read_cells(bank, offset, len)
    }

    pub(super) fn begin_upload(&mut self, format: u8, range: &MemoryRange) -> Result<u32, Nrc> {
        if range.length == 0 || format != self.profile().memory.data_format {
            return Err(Nrc::RequestOutOfRange);
        }
        self.upload = Some(self.programmed_range(range)?);
        Ok(self.config.max_block_length)
    }

    pub(super) fn read_upload(&mut self, len: usize) -> Result<Vec<u8>, Nrc> {
        let (bank, offset) = self.upload.ok_or(Nrc::RequestSequenceError)?;
        let data = self.read_cells(bank, offset, len)?;
        self.upload = Some((bank, offset + data.len() as u64));
        Ok(data)
    }

    /// Cells that hold something, all of them.
    fn programmed_range(&self, range: &MemoryRange) -> Result<(usize, u64), Nrc> {
        let Some(Place::Bank { bank, offset, .. }) = self.locate(range.address) else {
            return Err(Nrc::RequestOutOfRange);
        };
        let end = offset.checked_add(range.length).filter(|end| *end <= self.flash.programmed(bank));
        end.map(|_| (bank, offset)).ok_or(Nrc::RequestOutOfRange)
    }

    fn read_cells(&mut self, bank: usize, offset: u64, len: usize) -> Result<Vec<u8>, Nrc> {
        let mut cells = vec![0; len];
        let result = self.flash.read(bank, offset, &mut cells);
        self.store(result).map(|()| cells)
    }

    /// The bank that does not run, on an ECU that has one.
    fn bank_of_file(&self) -> usize {
        let count = self.profile().banks.len();
        if self.profile().keeps_old_software() {
            self.running_bank().map_or(0, |bank| (bank + 1) % count)
        } else {
            0
        }
    }

    fn is_erased(&self, bank: usize) -> bool {
        let state = self.flash.state();
        let erased = |it: &super::BankState| !it.erasing && !it.valid && it.fingerprint == state.fingerprint;
        state.banks.get(bank).is_some_and(erased)
    }

    fn locate(&self, address: u64) -> Option<Place> {
        let profile = self.profile();
        if let Some(driver) = profile.flash_driver
            && let Some(offset) = address.checked_sub(driver.address).filter(|offset| *offset < driver.length)
        {
            return Some(Place::Driver { offset });
        }
        for (index, bank) in profile.banks.iter().enumerate() {
            let Some(from_base) = address.checked_sub(bank.address) else { continue };
            if let Some((offset, segment)) = self.offset_in_file(from_base) {
                return Some(Place::Bank { bank: index, offset, segment });
            }
        }
        None
    }

    /// From the bank's address to the place in its file, and the stretch of its segment there.
    fn offset_in_file(&self, from_base: u64) -> Option<(u64, Range<u64>)> {
        let size = self.config.bank_size;
        let segments = &self.profile().segments;
        if segments.is_empty() {
            return (from_base < size).then_some((from_base, 0..size));
        }
        let mut start = 0;
        for segment in segments {
            let length = segment.length.unwrap_or_else(|| size.saturating_sub(start));
            if let Some(inside) = from_base.checked_sub(segment.offset).filter(|inside| *inside < length) {
                return Some((start + inside, start..start + length));
            }
            start += length;
        }
        None
    }
}
