//! What a profile must fulfil beyond its types.

use super::{Profile, fits};

impl Profile {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// The first [`ProfileError`] found.
    pub fn validate(&self) -> Result<(), ProfileError> {
        for (key, bytes) in [
            ("memory.address_bytes", self.memory.address_bytes),
            ("memory.length_bytes", self.memory.length_bytes),
        ] {
            if !(1..=8).contains(&bytes) {
                return Err(ProfileError::Width { key, bytes });
            }
        }
        if !(2..=0x7F).contains(&self.programming_session) {
            return Err(ProfileError::ProgrammingSession { session: self.programming_session });
        }
        if !(3..=65_535).contains(&self.max_block_length) {
            return Err(ProfileError::MaxBlockLength { length: self.max_block_length });
        }
        let needed = if self.keeps_old_software() { 2 } else { 1 };
        if self.banks.len() < needed || self.banks.len() > usize::from(u8::MAX) {
            return Err(ProfileError::Banks { count: self.banks.len(), needed });
        }
        for bank in &self.banks {
            if !fits(bank.address, self.memory.address_bytes) {
                let (address, address_bytes) = (bank.address, self.memory.address_bytes);
                return Err(ProfileError::BankAddress { address, address_bytes });
            }
        }
        let open = self.segments.iter().rev().skip(1).any(|segment| segment.length.is_none());
        let empty = self.segments.iter().any(|segment| segment.length == Some(0));
        if open || empty || self.flash_driver.is_some_and(|driver| driver.length == 0) {
            return Err(ProfileError::SegmentLength);
        }
        if self.file.is_some() && (!self.segments.is_empty() || self.flash_driver.is_some()) {
            return Err(ProfileError::FileWithSegments);
        }
        if self.max_block_length <= 2 + self.block_check.len() {
            return Err(ProfileError::MaxBlockLength { length: self.max_block_length });
        }
        Ok(())
    }
}

/// A profile that contradicts itself; the fault is the configuration's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A width that no format byte can say
    #[error("{key} is {bytes}, it must be 1 to 8")]
    Width {
        /// Which key
        key: &'static str,
        /// Its value
        bytes: u8,
    },
    /// Not a session to program in
    #[error("programming_session is 0x{session:02X}, it must be 0x02 to 0x7F")]
    ProgrammingSession {
        /// Its value
        session: u8,
    },
    /// Too short for one byte of data, or too long for any ECU
    #[error("max_block_length is {length}, it must be 3 to 65535")]
    MaxBlockLength {
        /// Its value
        length: u32,
    },
    /// A segment without bytes, or one before the last that says nothing of its length
    #[error("every segment but the last needs a length, and no length may be 0")]
    SegmentLength,
    /// Two ways at once
    #[error("a file is moved whole: leave out segments and flash_driver")]
    FileWithSegments,
    /// Too few or too many banks
    #[error("{count} banks, this activation needs at least {needed} and at most 255")]
    Banks {
        /// How many there are
        count: usize,
        /// How many are needed
        needed: usize,
    },
    /// An address wider than its field
    #[error("bank address 0x{address:X} does not fit in {address_bytes} bytes")]
    BankAddress {
        /// The address
        address: u64,
        /// Width of the field
        address_bytes: u8,
    },
}
