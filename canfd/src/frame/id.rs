//! CAN identifiers, valid by construction (ISO 11898-1, 11-bit base and 29-bit extended formats).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An 11-bit identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StandardId(u16);

impl StandardId {
    /// The highest 11-bit identifier.
    pub const MAX: u16 = 0x7FF;

    /// The identifier, or `None` above [`Self::MAX`].
    pub const fn new(raw: u16) -> Option<Self> {
        if raw <= Self::MAX { Some(Self(raw)) } else { None }
    }

    /// The bits as a number.
    pub const fn as_raw(self) -> u16 {
        self.0
    }
}

/// A 29-bit identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedId(u32);

impl ExtendedId {
    /// The highest 29-bit identifier.
    pub const MAX: u32 = 0x1FFF_FFFF;

    /// A parameter group number's place with two addresses behind it; bits of `base` that others need are ignored.
    pub(crate) const fn from_fields(base: u32, target: u8, source: u8) -> Self {
        Self(base & 0x1FFF_0000 | (target as u32) << 8 | source as u32)
    }

    /// The identifier, or `None` above [`Self::MAX`].
    pub const fn new(raw: u32) -> Option<Self> {
        if raw <= Self::MAX { Some(Self(raw)) } else { None }
    }

    /// The bits as a number.
    pub const fn as_raw(self) -> u32 {
        self.0
    }
}

/// An identifier of either format.
///
/// In text it is hexadecimal as in can-utils: up to three digits are an 11-bit identifier (`7E0`), exactly eight
/// a 29-bit one (`18DA10F1`); a leading `0x` is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CanId {
    /// Base format, 11 bits.
    Standard(StandardId),
    /// Extended format, 29 bits.
    Extended(ExtendedId),
}

/// Flag of a 29-bit identifier in `can_id` of `linux/can.h`.
const CAN_EFF_FLAG: u32 = 0x8000_0000;

impl CanId {
    /// An 11-bit identifier.
    ///
    /// # Errors
    /// [`IdError::Standard`] above 0x7FF.
    pub const fn standard(raw: u16) -> Result<Self, IdError> {
        match StandardId::new(raw) {
            Some(id) => Ok(Self::Standard(id)),
            None => Err(IdError::Standard(raw)),
        }
    }

    /// A 29-bit identifier.
    ///
    /// # Errors
    /// [`IdError::Extended`] above 0x1FFF_FFFF.
    pub const fn extended(raw: u32) -> Result<Self, IdError> {
        match ExtendedId::new(raw) {
            Some(id) => Ok(Self::Extended(id)),
            None => Err(IdError::Extended(raw)),
        }
    }

    /// The identifier as `can_id` of `linux/can.h`, with the flag of the extended format.
    pub const fn to_can_id(self) -> u32 {
        match self {
            Self::Standard(id) => id.as_raw() as u32,
            Self::Extended(id) => id.as_raw() | CAN_EFF_FLAG,
        }
    }

    /// A key that orders identifiers as arbitration does: the lower key wins (ISO 11898-1, dominant is 0).
    ///
    /// A base-format data frame beats an extended one with the same first 11 bits, by its dominant IDE bit.
    pub const fn arbitration_key(self) -> u32 {
        // Base identifier, then SRR and IDE as they stand on the wire, then the extension.
        match self {
            Self::Standard(id) => (id.as_raw() as u32) << 20,
            Self::Extended(id) => {
                let raw = id.as_raw();
                ((raw >> 18) << 20) | (0b11 << 18) | (raw & 0x3_FFFF)
            }
        }
    }
}

impl fmt::Display for CanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(id) => write!(f, "{:03X}", id.as_raw()),
            Self::Extended(id) => write!(f, "{:08X}", id.as_raw()),
        }
    }
}

impl FromStr for CanId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::Text(text.chars().take(32).collect());
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        if !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
            return Err(bad());
        }
        match digits.len() {
            1..=3 => Self::standard(u16::from_str_radix(digits, 16).map_err(|_| bad())?),
            8 => Self::extended(u32::from_str_radix(digits, 16).map_err(|_| bad())?),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for CanId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<CanId> for String {
    fn from(id: CanId) -> Self {
        id.to_string()
    }
}

/// The two identifiers of one diagnostic conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanIds {
    /// From the tester to the ECU.
    pub request: CanId,
    /// From the ECU to the tester.
    pub response: CanId,
}

/// A number or text that is no CAN identifier; whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Above 11 bits.
    #[error("CAN identifier {0:#x} does not fit in 11 bits")]
    Standard(u16),
    /// Above 29 bits.
    #[error("CAN identifier {0:#x} does not fit in 29 bits")]
    Extended(u32),
    /// Neither one to three nor eight hexadecimal digits.
    #[error(
        "`{0}` is no CAN identifier: write up to 3 hexadecimal digits for 11 bits, exactly 8 for 29 bits"
    )]
    Text(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_identifier_fits_and_one_past_it_does_not() {
        assert_eq!(CanId::standard(0x7FF).unwrap().to_can_id(), 0x7FF);
        assert_eq!(CanId::standard(0x800), Err(IdError::Standard(0x800)));
        assert_eq!(CanId::extended(0x1FFF_FFFF).unwrap().to_can_id(), 0x9FFF_FFFF);
        assert_eq!(CanId::extended(0x2000_0000), Err(IdError::Extended(0x2000_0000)));
    }

    #[test]
    fn text_round_trips_and_the_number_of_digits_tells_the_format() {
        for text in ["000", "7E0", "18DA10F1", "000007E0"] {
            assert_eq!(text.parse::<CanId>().unwrap().to_string(), text);
        }
        assert_eq!("0x7e0".parse::<CanId>(), CanId::standard(0x7E0));
        for bad in ["", "0x", "800", "7E0F", "FFFFFFFF", "7G0", "+7E", "123456789"] {
            assert!(bad.parse::<CanId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_base_frame_beats_an_extended_frame_of_the_same_base() {
        let base = CanId::standard(0x123).unwrap();
        let extended = CanId::extended(0x123 << 18).unwrap();
        let lower = CanId::extended(0x122 << 18 | 0x3_FFFF).unwrap();
        assert!(base.arbitration_key() < extended.arbitration_key());
        assert!(lower.arbitration_key() < base.arbitration_key());
    }
}
