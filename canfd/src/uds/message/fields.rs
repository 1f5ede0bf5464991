//! Reading and writing the fields of long messages, in bounds.

use super::RecordError;

/// What is left of a record.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, RecordError> {
        let (byte, rest) = self.0.split_first().ok_or(RecordError::Short)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(RecordError::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Big endian, of that many bytes, 1 to 8.
    pub(super) fn number(&mut self, width: usize) -> Result<u64, RecordError> {
        if !(1..=8).contains(&width) {
            return Err(RecordError::Width { width });
        }
        Ok(self.bytes(width)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Two bytes of length and as many bytes as they say.
    pub(super) fn counted(&mut self) -> Result<Vec<u8>, RecordError> {
        let len = usize::try_from(self.number(2)?).unwrap_or(usize::MAX);
        Ok(self.bytes(len)?.to_vec())
    }

    pub(super) fn end(self) -> Result<(), RecordError> {
        if self.0.is_empty() { Ok(()) } else { Err(RecordError::Long { extra: self.0.len() }) }
    }
}

/// Two bytes of length and the bytes, at most 65535 of them.
pub(super) fn push_counted(to: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    to.extend_from_slice(&len.to_be_bytes());
    to.extend_from_slice(bytes.get(..len.into()).unwrap_or_default());
}

/// The lowest `width` bytes, big endian; at most 8.
pub(super) fn push_number(to: &mut Vec<u8>, value: u64, width: u8) {
    let bytes = value.to_be_bytes();
    to.extend_from_slice(bytes.get(8_usize.saturating_sub(width.into())..).unwrap_or(&bytes));
}

/// The fewest bytes that hold the value, at least one.
pub(super) fn width_of(value: u64) -> u8 {
    let bits = u64::BITS - value.leading_zeros();
    u8::try_from(bits.div_ceil(8).max(1)).unwrap_or(8)
}
