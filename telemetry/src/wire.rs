//! The smallest parts of a block: varints, zigzag, and a reader that bounds what it believes.

use crate::decoder::Malformed;

/// Appends `value` as a little-endian base-128 varint (1 to 10 bytes).
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = value.to_le_bytes()[0];
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7F);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends a signed value as a zigzag varint.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Small numbers of either sign as small numbers.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(crate) fn unzigzag(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()
}

/// Appends a length or a count.
pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_varint(out, len as u64);
}

/// Takes a block apart from front to back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    /// A byte of at most `limit`.
    pub(crate) fn byte_up_to(&mut self, field: &'static str, limit: u8) -> Result<u8, Malformed> {
        let byte = self.byte()?;
        if byte > limit {
            let (value, limit) = (u64::from(byte), u64::from(limit));
            return Err(Malformed::TooLarge { field, value, limit });
        }
        Ok(byte)
    }

    /// An ascending column of milliseconds, written as differences.
    pub(crate) fn moments(&mut self, count: usize) -> Result<Vec<u32>, Malformed> {
        let mut at_ms = 0_u32;
        let mut moments = Vec::with_capacity(count);
        for _ in 0..count {
            let step = self.u32("time step")?;
            at_ms = at_ms.checked_add(step).ok_or_else(|| Malformed::TooLarge {
                field: "time in the window",
                value: u64::from(at_ms) + u64::from(step),
                limit: u64::from(u32::MAX),
            })?;
            moments.push(at_ms);
        }
        Ok(moments)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A varint in its shortest form: a second spelling of a number would let one block have many.
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err(Malformed::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(Malformed::Varint) } else { Ok(value) };
            }
        }
        Err(Malformed::Varint)
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| Malformed::TooLarge { field, value, limit: u64::from(u32::MAX) })
    }

    /// A number of at most `limit`.
    pub(crate) fn up_to(&mut self, field: &'static str, limit: usize) -> Result<usize, Malformed> {
        let value = self.varint()?;
        let limit = limit as u64;
        match usize::try_from(value) {
            Ok(small) if value <= limit => Ok(small),
            _ => Err(Malformed::TooLarge { field, value, limit }),
        }
    }

    /// A number of entries, of which each takes at least one byte of what is left. So a count can be trusted for an
    /// allocation.
    pub(crate) fn count(&mut self, field: &'static str, limit: usize) -> Result<usize, Malformed> {
        let count = self.up_to(field, limit)?;
        if count > self.rest.len() { Err(Malformed::Truncated) } else { Ok(count) }
    }

    /// An index below `len`.
    pub(crate) fn index(&mut self, field: &'static str, len: usize) -> Result<u32, Malformed> {
        let value = self.varint()?;
        match u32::try_from(value) {
            Ok(small) if value < len as u64 => Ok(small),
            _ => Err(Malformed::Index { field, value, len }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_comes_back(value: u64, signed: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_signed(&mut out, signed);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert!(reader.rest().is_empty());
        }
    }

    #[test]
    fn the_largest_varint_is_taken_and_one_bit_more_is_refused() {
        let largest = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert_eq!(Reader::new(&largest).varint(), Ok(u64::MAX));
        let mut more = largest;
        more[9] = 0x02;
        assert_eq!(Reader::new(&more).varint(), Err(Malformed::Varint));
    }

    #[test]
    fn a_padded_varint_is_refused() {
        assert_eq!(Reader::new(&[0x81, 0x00]).varint(), Err(Malformed::Varint));
    }

    #[test]
    fn an_unfinished_varint_is_truncated() {
        assert_eq!(Reader::new(&[0x80]).varint(), Err(Malformed::Truncated));
    }
}
