//! Protocol control information: the first bytes of each frame (ISO 15765-2:2016, clause 9.6).

use super::timing::StMin;

/// What the receiver tells the sender to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowStatus {
    /// Go on with the next block.
    ContinueToSend,
    /// Stay quiet; another flow control frame follows.
    Wait,
    /// The message does not fit.
    Overflow,
    /// A value the standard reserves.
    Reserved(u8),
}

/// The content of a flow control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowControl {
    /// What to do.
    pub status: FlowStatus,
    /// Consecutive frames until the next flow control frame; 0 is all that are left.
    pub block_size: u8,
    /// Least time between consecutive frames.
    pub st_min: StMin,
}

/// The control information of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pci {
    /// A whole message of 1 to 62 bytes.
    SingleFrame {
        /// Message length in bytes.
        len: u8,
    },
    /// The start of a longer message.
    FirstFrame {
        /// Message length in bytes.
        len: u32,
    },
    /// A further piece.
    ConsecutiveFrame {
        /// Sequence number, 0 to 15.
        sn: u8,
    },
    /// From the receiver.
    FlowControl(FlowControl),
}

/// Lengths above this need the 32-bit form of the first frame.
pub(super) const FIRST_FRAME_SHORT_MAX: u32 = 4095;

impl Pci {
    /// Splits a data field into control information and payload. A single frame's payload is cut to its length;
    /// that of the others still holds whatever padding follows.
    ///
    /// # Errors
    /// [`PciError`]; the standard has receivers ignore such frames.
    #[inline]
    pub fn parse(data: &[u8]) -> Result<(Self, &[u8]), PciError> {
        Self::parse_behind(None, data)
    }

    /// The same, behind an address byte that must be `prefix` where there is one.
    ///
    /// # Errors
    /// [`PciError`]; the standard has receivers ignore such frames.
    #[inline]
    pub fn parse_behind(prefix: Option<u8>, data: &[u8]) -> Result<(Self, &[u8]), PciError> {
        let can_dl = data.len();
        let (mut first, mut rest) = data.split_first().ok_or(PciError::TooShort)?;
        if let Some(prefix) = prefix {
            if *first != prefix {
                return Err(PciError::Address(*first));
            }
            (first, rest) = rest.split_first().ok_or(PciError::TooShort)?;
        }
        let low = first & 0x0F;
        match first >> 4 {
            0 => Self::parse_single(low, can_dl, rest),
            1 => {
                let (&second, payload) = rest.split_first().ok_or(PciError::TooShort)?;
                // What stands behind the address, which makes the least length one less.
                let room = rest.len() + 1;
                let short = u32::from(low) << 8 | u32::from(second);
                if short != 0 {
                    return Self::first(short, can_dl, room, payload);
                }
                let (len, payload) = payload.split_first_chunk::<4>().ok_or(PciError::TooShort)?;
                let len = u32::from_be_bytes(*len);
                if len <= FIRST_FRAME_SHORT_MAX {
                    return Err(PciError::Length(len));
                }
                Self::first(len, can_dl, room, payload)
            }
            2 => Ok((Self::ConsecutiveFrame { sn: low }, rest)),
            3 => {
                let [block_size, st_min, ..] = *rest else { return Err(PciError::TooShort) };
                let status = match low {
                    0 => FlowStatus::ContinueToSend,
                    1 => FlowStatus::Wait,
                    2 => FlowStatus::Overflow,
                    reserved => FlowStatus::Reserved(reserved),
                };
                let flow = FlowControl { status, block_size, st_min: StMin::from_code(st_min) };
                Ok((Self::FlowControl(flow), &[]))
            }
            reserved => Err(PciError::Type(reserved)),
        }
    }

    fn parse_single(low: u8, can_dl: usize, rest: &[u8]) -> Result<(Self, &[u8]), PciError> {
        let (len, payload) = match low {
            // The escape exists only where the data field is longer than a classical one.
            0 if can_dl > 8 => {
                rest.split_first().map(|(len, payload)| (*len, payload)).ok_or(PciError::TooShort)?
            }
            _ if can_dl > 8 => return Err(PciError::Length(low.into())),
            len => (len, rest),
        };
        match payload.get(..usize::from(len)) {
            Some(payload) if len != 0 => Ok((Self::SingleFrame { len }, payload)),
            _ => Err(PciError::Length(len.into())),
        }
    }

    fn first(len: u32, can_dl: usize, room: usize, payload: &[u8]) -> Result<(Self, &[u8]), PciError> {
        // FF_DLmin: what would have fitted in a single frame of this CAN_DL must not be segmented.
        let minimum = match can_dl {
            0..8 => return Err(PciError::TooShort),
            8 => room,
            _ => room - 1,
        };
        if u32::try_from(minimum).is_ok_and(|minimum| len < minimum) {
            return Err(PciError::Length(len));
        }
        Ok((Self::FirstFrame { len }, payload))
    }

    /// Writes the control information to the front of a data field and returns how many bytes it took.
    /// The escape of a single frame is used above 7 bytes, that of a first frame above 4095.
    #[inline]
    pub fn write(self, field: &mut [u8; 64]) -> usize {
        self.write_behind(None, field)
    }

    /// The same, behind an address byte where there is one. The escape of a single frame is then used above 6 bytes.
    #[inline]
    pub fn write_behind(self, prefix: Option<u8>, field: &mut [u8; 64]) -> usize {
        let at = usize::from(prefix.is_some());
        if let Some(prefix) = prefix {
            field[0] = prefix;
        }
        let low_byte = |value: u32| value.to_be_bytes()[3];
        match self {
            Self::SingleFrame { len } if usize::from(len) + at <= 7 => {
                field[at] = len;
                at + 1
            }
            Self::SingleFrame { len } => {
                field[at..at + 2].copy_from_slice(&[0, len]);
                at + 2
            }
            Self::FirstFrame { len } if len <= FIRST_FRAME_SHORT_MAX => {
                field[at..at + 2].copy_from_slice(&[0x10 | low_byte(len >> 8), low_byte(len)]);
                at + 2
            }
            Self::FirstFrame { len } => {
                field[at..at + 2].copy_from_slice(&[0x10, 0]);
                field[at + 2..at + 6].copy_from_slice(&len.to_be_bytes());
                at + 6
            }
            Self::ConsecutiveFrame { sn } => {
                field[at] = 0x20 | (sn & 0x0F);
                at + 1
            }
            Self::FlowControl(FlowControl { status, block_size, st_min }) => {
                let status = match status {
                    FlowStatus::ContinueToSend => 0,
                    FlowStatus::Wait => 1,
                    FlowStatus::Overflow => 2,
                    FlowStatus::Reserved(value) => value & 0x0F,
                };
                field[at..at + 3].copy_from_slice(&[0x30 | status, block_size, st_min.code()]);
                at + 3
            }
        }
    }
}

/// Why a frame carries no control information of ours; its sender is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PciError {
    /// The data field ends before the control information does.
    #[error("frame too short for its control information")]
    TooShort,
    /// The byte in front is the address of somebody else.
    #[error("frame for address {0:#04x}")]
    Address(u8),
    /// A reserved frame type.
    #[error("reserved frame type {0:#x}")]
    Type(u8),
    /// A length that this frame must not announce.
    #[error("length {0} is not allowed in this frame")]
    Length(u32),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(pci: Pci, can_dl: usize) -> Vec<u8> {
        let mut field = [0xCC; 64];
        pci.write(&mut field);
        field[..can_dl].to_vec()
    }

    #[test]
    fn a_single_frame_of_seven_is_short_and_of_eight_takes_the_escape() {
        assert_eq!(written(Pci::SingleFrame { len: 7 }, 2), [7, 0xCC]);
        assert_eq!(written(Pci::SingleFrame { len: 8 }, 3), [0, 8, 0xCC]);
    }

    #[test]
    fn a_first_frame_of_4095_is_short_and_of_4096_takes_the_escape() {
        assert_eq!(written(Pci::FirstFrame { len: 4095 }, 3), [0x1F, 0xFF, 0xCC]);
        assert_eq!(written(Pci::FirstFrame { len: 4096 }, 7), [0x10, 0, 0, 0, 0x10, 0, 0xCC]);
    }

    #[test]
    fn lengths_that_the_standard_rules_out_are_refused() {
        let refused = |data: &[u8]| Pci::parse(data).unwrap_err();
        let field = |first: &[u8], can_dl: usize| {
            let mut data = first.to_vec();
            data.resize(can_dl, 0xCC);
            data
        };
        assert_eq!(refused(&[]), PciError::TooShort);
        assert_eq!(refused(&field(&[0], 8)), PciError::Length(0));
        assert_eq!(refused(&field(&[8], 8)), PciError::Length(8));
        assert_eq!(refused(&[3, 1, 2]), PciError::Length(3));
        assert_eq!(refused(&field(&[5], 12)), PciError::Length(5));
        assert_eq!(refused(&field(&[0, 63], 64)), PciError::Length(63));
        assert_eq!(refused(&field(&[0x10, 7], 8)), PciError::Length(7));
        assert_eq!(refused(&field(&[0x10, 62], 64)), PciError::Length(62));
        assert_eq!(refused(&field(&[0x10, 0, 0, 0, 0x0F, 0xFF], 64)), PciError::Length(4095));
        assert_eq!(refused(&field(&[0x10, 20], 7)), PciError::TooShort);
        assert_eq!(refused(&[0x30, 0]), PciError::TooShort);
        assert_eq!(refused(&field(&[0x40], 8)), PciError::Type(4));
    }

    fn any_pci() -> impl Strategy<Value = Pci> {
        let status = prop_oneof![
            Just(FlowStatus::ContinueToSend),
            Just(FlowStatus::Wait),
            Just(FlowStatus::Overflow),
            (3u8..16).prop_map(FlowStatus::Reserved),
        ];
        prop_oneof![
            (8u8..=62).prop_map(|len| Pci::SingleFrame { len }),
            (63u32..).prop_map(|len| Pci::FirstFrame { len }),
            (0u8..16).prop_map(|sn| Pci::ConsecutiveFrame { sn }),
            (status, any::<u8>(), any::<u8>()).prop_map(|(status, block_size, st_min)| {
                Pci::FlowControl(FlowControl { status, block_size, st_min: StMin::from_code(st_min) })
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_parses_to_the_same(pci in any_pci()) {
            let data = written(pci, 64);
            prop_assert_eq!(Pci::parse(&data).map(|(pci, _)| pci), Ok(pci));
        }

        #[test]
        fn short_single_frames_parse_to_the_same(len in 1u8..=7) {
            let data = written(Pci::SingleFrame { len }, 8);
            let (pci, payload) = Pci::parse(&data).unwrap();
            prop_assert_eq!(pci, Pci::SingleFrame { len });
            prop_assert_eq!(payload.len(), usize::from(len));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok((_, payload)) = Pci::parse(&data) {
                prop_assert!(payload.len() < data.len());
            }
        }
    }
}
