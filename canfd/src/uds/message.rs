//! Requests, responses and the code tables of ISO 14229-1.

mod authentication;
mod codes;
mod fields;
mod request;
mod response;
mod transfer;

pub use authentication::{
    AUTHENTICATION_COMPLETE, AuthenticationRequest, DEAUTHENTICATION_SUCCESSFUL,
    OWNERSHIP_VERIFICATION_NECESSARY, ServerChallenge,
};
pub use codes::{Nrc, ServiceId};
pub use request::{Request, SUPPRESS_POSITIVE_RESPONSE};
pub use response::{NEGATIVE_RESPONSE, Response, ResponseError, negative_response, positive_response};
pub use transfer::{FileAccepted, FileMode, FileRequest, MemoryRange, crc16_x25, parse_max_block_length};

use serde::{Deserialize, Serialize};
use std::fmt;

/// A diagnostic session, table 25 of ISO 14229-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Session {
    /// 0x01: what an ECU starts in
    #[default]
    Default,
    /// 0x02: memory may be programmed
    Programming,
    /// 0x03: extended diagnostics
    Extended,
    /// 0x04: safety system
    Safety,
    /// A manufacturer's or supplier's session
    Other(u8),
}

impl Session {
    /// The sub-function on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Default => 0x01,
            Self::Programming => 0x02,
            Self::Extended => 0x03,
            Self::Safety => 0x04,
            Self::Other(byte) => byte,
        }
    }

    /// The session of a sub-function without its suppress bit.
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0x01 => Self::Default,
            0x02 => Self::Programming,
            0x03 => Self::Extended,
            0x04 => Self::Safety,
            other => Self::Other(other),
        }
    }
}

/// A routine identifier of service 0x31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct RoutineId(pub u16);

/// A data identifier of services 0x22 and 0x2E.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct DataIdentifier(pub u16);

impl fmt::Display for RoutineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04X}", self.0)
    }
}

impl fmt::Display for DataIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04X}", self.0)
    }
}

/// A security level, named by the odd sub-function that asks for its seed (1 to 0x7D).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct SecurityLevel(u8);

impl SecurityLevel {
    /// `None` unless `request_seed` is odd and below 0x7E.
    pub const fn new(request_seed: u8) -> Option<Self> {
        if request_seed % 2 == 1 && request_seed < 0x7E { Some(Self(request_seed)) } else { None }
    }

    /// Sub-function that asks for the seed.
    pub const fn request_seed(self) -> u8 {
        self.0
    }

    /// Sub-function that sends the key.
    pub const fn send_key(self) -> u8 {
        self.0 + 1
    }
}

impl From<SecurityLevel> for u8 {
    fn from(level: SecurityLevel) -> Self {
        level.request_seed()
    }
}

impl TryFrom<u8> for SecurityLevel {
    type Error = InvalidSecurityLevel;

    fn try_from(request_seed: u8) -> Result<Self, Self::Error> {
        Self::new(request_seed).ok_or(InvalidSecurityLevel(request_seed))
    }
}

/// A security level that no sub-function can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("security level 0x{0:02X} is not an odd number from 0x01 to 0x7D")]
pub struct InvalidSecurityLevel(pub u8);

/// The counter of service 0x36: starts at 1 and goes from 0xFF to 0x00 (clause 15.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSequenceCounter(u8);

impl BlockSequenceCounter {
    /// Counter of the first block after a 0x34.
    pub const FIRST: Self = Self(1);

    /// Counter of the block after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Counter of the block before this one.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }

    /// The counter on the wire.
    pub const fn to_byte(self) -> u8 {
        self.0
    }
}

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addressing {
    /// One ECU, which answers
    #[default]
    Physical,
    /// Every ECU on the bus; no answer is expected
    Functional,
}

/// What a routine is told to do (clause 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutineControl {
    /// 0x01
    Start,
    /// 0x02
    Stop,
    /// 0x03
    RequestResults,
}

impl RoutineControl {
    /// The sub-function on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Start => 0x01,
            Self::Stop => 0x02,
            Self::RequestResults => 0x03,
        }
    }

    /// `None` for a reserved sub-function.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Start),
            0x02 => Some(Self::Stop),
            0x03 => Some(Self::RequestResults),
            _ => None,
        }
    }
}

/// Why the fields of a message cannot be read; the fault is its sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It ends inside a field
    #[error("the message ends inside a field")]
    Short,
    /// Something follows the last field
    #[error("{extra} bytes follow the last field")]
    Long {
        /// How many
        extra: usize,
    },
    /// A width of a number that is none
    #[error("a number of {width} bytes, 1 to 8 are possible")]
    Width {
        /// As it stands
        width: usize,
    },
    /// A value that means nothing there
    #[error("0x{byte:02X} means nothing there")]
    Value {
        /// As it stands
        byte: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_named_code_survives_the_wire() {
        for nrc in Nrc::NAMED {
            assert_eq!(Nrc::from_byte(nrc.to_byte()), *nrc);
            assert!(!matches!(Nrc::from_byte(nrc.to_byte()), Nrc::Other(_)));
        }
        assert_eq!(Nrc::from_byte(0x15), Nrc::Other(0x15));
        assert_eq!(Nrc::ResponsePending.to_string(), "0x78 request correctly received, response pending");
    }

    #[test]
    fn block_counter_starts_at_one_and_wraps_to_zero() {
        let mut counter = BlockSequenceCounter::FIRST;
        assert_eq!(counter.to_byte(), 1);
        for _ in 0..254 {
            counter = counter.next();
        }
        assert_eq!(counter.to_byte(), 0xFF);
        assert_eq!(counter.next().to_byte(), 0x00);
        assert_eq!(counter.next().previous(), counter);
    }

    #[test]
    fn security_levels_are_odd_and_below_0x7e() {
        assert_eq!(SecurityLevel::new(0x7D).map(SecurityLevel::send_key), Some(0x7E));
        assert_eq!([0x00, 0x02, 0x7E, 0x7F, 0xFF].map(SecurityLevel::new), [None; 5]);
    }

    #[test]
    fn responses_are_read_by_the_clause() {
        let parsed = Response::parse(&[0x7F, 0x36, 0x73]);
        let nrc = Nrc::WrongBlockSequenceCounter;
        assert_eq!(parsed, Ok(Response::Negative { service: ServiceId::TransferData, nrc }));
        assert_eq!(Response::parse(&[]), Err(ResponseError::Empty));
        assert_eq!(Response::parse(&[0x7F, 0x36]), Err(ResponseError::NegativeLength { length: 2 }));
        assert_eq!(Response::parse(&[0x7F, 0x36, 1, 2]), Err(ResponseError::NegativeLength { length: 4 }));
        assert_eq!(Response::parse(&[0x7F, 0x99, 1]), Err(ResponseError::UnknownService { service: 0x99 }));
        assert_eq!(Response::parse(&[0x22, 1]), Err(ResponseError::NotAResponse { first: 0x22 }));
        let parsed = Response::parse(&[0xC5, 0x02]);
        assert_eq!(
            parsed,
            Ok(Response::Positive { service: ServiceId::ControlDtcSetting, parameters: &[2] })
        );
    }

    #[test]
    fn an_answer_to_another_identifier_is_not_an_answer() {
        let request = Request::read_data(DataIdentifier(0xF195));
        assert_eq!(request.strip_echo(&[0xF1, 0x95, 7]), Some(&[7][..]));
        assert_eq!(request.strip_echo(&[0xF1, 0x91, 7]), None);
        assert_eq!(request.strip_echo(&[0xF1]), None);
    }

    #[test]
    fn the_suppress_bit_is_not_part_of_the_echo() {
        let request = Request::session(Session::Extended).suppress_positive_response();
        assert_eq!(request.pdu(), [0x10, 0x83]);
        assert_eq!(request.strip_echo(&[0x03, 0, 50, 1, 0xF4]), Some(&[0, 50, 1, 0xF4][..]));
        let plain = Request::read_data(DataIdentifier(1)).suppress_positive_response();
        assert_eq!(plain.pdu(), [0x22, 0x00, 0x01]);
        assert!(!plain.may_stay_unanswered());
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(pdu in proptest::collection::vec(any::<u8>(), 0..64)) {
            match Response::parse(&pdu) {
                Ok(Response::Positive { service, parameters }) => {
                    prop_assert_eq!(positive_response(service, parameters), pdu);
                }
                Ok(Response::Negative { service, nrc }) => {
                    prop_assert_eq!(negative_response(service.to_byte(), nrc), pdu);
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
