//! The lengths a CAN FD data field can have (ISO 11898-1, data length code).

/// A data length code: stands for 0 to 8, 12, 16, 20, 24, 32, 48 or 64 bytes and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dlc(u8);

const LENGTHS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];

impl Dlc {
    /// No data.
    pub const ZERO: Self = Self(0);
    /// Eight bytes, the most a classical frame carries.
    pub const EIGHT: Self = Self(8);
    /// 64 bytes, the most an FD frame carries.
    pub const MAX: Self = Self(15);

    /// The code of exactly this many bytes, or `None` where no code stands for it.
    pub const fn exact(len: usize) -> Option<Self> {
        match Self::at_least(len) {
            Some(dlc) if dlc.len() == len => Some(dlc),
            _ => None,
        }
    }

    /// The code of the shortest data field that holds `len` bytes, or `None` above 64.
    pub const fn at_least(len: usize) -> Option<Self> {
        Some(Self(match len {
            0 => 0,
            1 => 1,
            2 => 2,
            3 => 3,
            4 => 4,
            5 => 5,
            6 => 6,
            7 => 7,
            8 => 8,
            9..=12 => 9,
            13..=16 => 10,
            17..=20 => 11,
            21..=24 => 12,
            25..=32 => 13,
            33..=48 => 14,
            49..=64 => 15,
            _ => return None,
        }))
    }

    /// Length of the data field in bytes, 0 to 64.
    #[allow(clippy::len_without_is_empty, reason = "a code is not a container")]
    pub const fn len(self) -> usize {
        self.len_byte() as usize
    }

    /// The same length as the `len` byte of `linux/can.h`.
    pub(crate) const fn len_byte(self) -> u8 {
        LENGTHS[(self.0 & 15) as usize]
    }

    /// The four bits on the wire, 0 to 15.
    pub const fn code(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_legal_lengths_have_a_code() {
        let legal: Vec<usize> = (0..=70).filter(|&len| Dlc::exact(len).is_some()).collect();
        assert_eq!(legal, [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64]);
    }

    #[test]
    fn a_length_in_between_takes_the_next_code_up() {
        for len in 0..=64 {
            let dlc = Dlc::at_least(len).unwrap();
            assert!(dlc.len() >= len);
            assert!(dlc.code() == 0 || LENGTHS[usize::from(dlc.code()) - 1] < u8::try_from(len).unwrap());
        }
        assert_eq!(Dlc::at_least(65), None);
    }
}
