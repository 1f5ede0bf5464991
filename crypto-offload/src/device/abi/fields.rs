//! Reading and writing fixed records field by field.

use super::{AbiError, VERSION};

/// Writes fields one after the other into a record of `N` bytes; what is not written stays zero.
#[derive(Debug)]
pub(super) struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    /// A record that begins as all do: version, size.
    pub(super) fn new() -> Self {
        let mut writer = Self { bytes: [0; N], at: 0 };
        writer.u32(VERSION);
        // The records have 64 to 256 bytes.
        writer.u32(u32::try_from(N).unwrap_or(u32::MAX));
        writer
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_ne_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_ne_bytes());
    }

    /// Fields that do not fit are a mistake in the layout, which every round trip in the tests would show.
    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.bytes[self.at..self.at + value.len()].copy_from_slice(value);
        self.at += value.len();
    }

    pub(super) const fn finish(self) -> [u8; N] {
        self.bytes
    }
}

/// Reads the fields of a record of `N` bytes, whose beginning has been checked.
#[derive(Debug)]
pub(super) struct Reader<'a, const N: usize> {
    bytes: &'a [u8; N],
    at: usize,
}

impl<'a, const N: usize> Reader<'a, N> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, AbiError> {
        let found = bytes.len();
        let bytes = bytes.try_into().map_err(|_| AbiError::Length { expected: N, found })?;
        let mut reader = Self { bytes, at: 0 };
        let version = reader.u32();
        if version != VERSION {
            return Err(AbiError::Version(version));
        }
        let size = reader.u32();
        if usize::try_from(size) != Ok(N) {
            return Err(AbiError::Size(size));
        }
        Ok(reader)
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.array())
    }

    pub(super) fn array<const M: usize>(&mut self) -> [u8; M] {
        let mut value = [0; M];
        value.copy_from_slice(&self.bytes[self.at..self.at + M]);
        self.at += M;
        value
    }

    /// Checks that everything after the last field is zero.
    pub(super) fn finish(self) -> Result<(), AbiError> {
        if self.bytes[self.at..].iter().all(|&byte| byte == 0) { Ok(()) } else { Err(AbiError::Reserved) }
    }
}
