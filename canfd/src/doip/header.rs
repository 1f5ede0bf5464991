//! The eight bytes in front of every message (ISO 13400-2:2019, clause 9.2), and what may follow them.

use super::codes::NackCode;

/// Bytes of a header.
pub const HEADER_LEN: usize = 8;

/// The edition of the standard that a message follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolVersion {
    /// ISO 13400-2:2012
    Iso2012,
    /// ISO 13400-2:2019
    Iso2019,
    /// For vehicle identification requests of testers that do not know the vehicle's edition
    Any,
}

impl ProtocolVersion {
    /// The value on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Iso2012 => 0x02,
            Self::Iso2019 => 0x03,
            Self::Any => 0xFF,
        }
    }

    /// The edition of a value on the wire, if this crate speaks it.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x02 => Some(Self::Iso2012),
            0x03 => Some(Self::Iso2019),
            0xFF => Some(Self::Any),
            _ => None,
        }
    }
}

/// What a message is (table 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum PayloadType {
    /// The last message could not be read
    GenericNack = 0x0000,
    /// Who is there?
    IdentificationRequest = 0x0001,
    /// Is the entity of this EID there?
    IdentificationRequestEid = 0x0002,
    /// Is the vehicle of this VIN there?
    IdentificationRequestVin = 0x0003,
    /// Vehicle announcement, and the response to the three above
    Announcement = 0x0004,
    /// Route my diagnostic messages
    RoutingActivationRequest = 0x0005,
    /// Yes or no
    RoutingActivationResponse = 0x0006,
    /// Tester, are you there?
    AliveCheckRequest = 0x0007,
    /// It is
    AliveCheckResponse = 0x0008,
    /// What can you do?
    EntityStatusRequest = 0x4001,
    /// Connections and sizes
    EntityStatusResponse = 0x4002,
    /// Is the vehicle ready?
    PowerModeRequest = 0x4003,
    /// It is or is not
    PowerModeResponse = 0x4004,
    /// A UDS request or response
    Diagnostic = 0x8001,
    /// The last one was handed on
    DiagnosticAck = 0x8002,
    /// The last one was not handed on
    DiagnosticNack = 0x8003,
}

impl PayloadType {
    /// Every type this crate knows.
    pub const ALL: [Self; 16] = [
        Self::GenericNack,
        Self::IdentificationRequest,
        Self::IdentificationRequestEid,
        Self::IdentificationRequestVin,
        Self::Announcement,
        Self::RoutingActivationRequest,
        Self::RoutingActivationResponse,
        Self::AliveCheckRequest,
        Self::AliveCheckResponse,
        Self::EntityStatusRequest,
        Self::EntityStatusResponse,
        Self::PowerModeRequest,
        Self::PowerModeResponse,
        Self::Diagnostic,
        Self::DiagnosticAck,
        Self::DiagnosticNack,
    ];

    /// The value on the wire.
    pub const fn to_u16(self) -> u16 {
        self as u16
    }

    /// The type of a value on the wire, if this crate knows it.
    pub fn from_u16(value: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.to_u16() == value)
    }

    /// Whether a payload of so many bytes can be of this type.
    pub const fn takes(self, len: u32) -> bool {
        match self {
            Self::IdentificationRequest
            | Self::AliveCheckRequest
            | Self::EntityStatusRequest
            | Self::PowerModeRequest => len == 0,
            Self::GenericNack | Self::PowerModeResponse => len == 1,
            Self::IdentificationRequestEid => len == 6,
            Self::IdentificationRequestVin => len == 17,
            Self::Announcement => len == 32 || len == 33,
            Self::RoutingActivationRequest => len == 7 || len == 11,
            Self::RoutingActivationResponse => len == 9 || len == 13,
            Self::AliveCheckResponse => len == 2,
            Self::EntityStatusResponse => len == 3 || len == 7,
            // Two addresses and one byte of user data or a code.
            Self::Diagnostic | Self::DiagnosticAck | Self::DiagnosticNack => len >= 5,
        }
    }

    const fn identifies(self) -> bool {
        matches!(
            self,
            Self::IdentificationRequest
                | Self::IdentificationRequestEid
                | Self::IdentificationRequestVin
                | Self::Announcement
        )
    }
}

/// A header that was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Edition of the standard.
    pub version: ProtocolVersion,
    /// What follows.
    pub payload_type: PayloadType,
    /// How many bytes follow.
    pub len: u32,
}

impl Header {
    /// Reads a header. Payloads of more than `max` bytes are refused.
    ///
    /// # Errors
    /// In the order in which the standard's header handler looks: pattern, type, size, length.
    pub fn parse(bytes: [u8; HEADER_LEN], max: u32) -> Result<Self, MessageError> {
        let [version, inverse, type_high, type_low, length @ ..] = bytes;
        let len = u32::from_be_bytes(length);
        let payload_type = u16::from_be_bytes([type_high, type_low]);
        if version != !inverse {
            return Err(MessageError::Pattern { version, inverse });
        }
        let edition = ProtocolVersion::from_byte(version).ok_or(MessageError::Version { version })?;
        let payload_type =
            PayloadType::from_u16(payload_type).ok_or(MessageError::UnknownType { payload_type, len })?;
        if edition == ProtocolVersion::Any && !payload_type.identifies() {
            return Err(MessageError::Version { version });
        }
        if len > max {
            return Err(MessageError::TooLarge { payload_type, len, max });
        }
        if !payload_type.takes(len) {
            return Err(MessageError::Length { payload_type, len });
        }
        Ok(Self { version: edition, payload_type, len })
    }

    /// The bytes.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let version = self.version.to_byte();
        let [type_high, type_low] = self.payload_type.to_u16().to_be_bytes();
        let [a, b, c, d] = self.len.to_be_bytes();
        [version, !version, type_high, type_low, a, b, c, d]
    }
}

/// What is wrong with a message; its sender is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The second byte is not the inverse of the first
    #[error("version 0x{version:02X} and its inverse 0x{inverse:02X} do not match")]
    Pattern {
        /// First byte
        version: u8,
        /// Second byte
        inverse: u8,
    },
    /// A version that is not spoken here, or not for this type of message
    #[error("protocol version 0x{version:02X} is not spoken here")]
    Version {
        /// As received
        version: u8,
    },
    /// A type that nobody knows
    #[error("unknown payload type 0x{payload_type:04X} with {len} bytes")]
    UnknownType {
        /// As received
        payload_type: u16,
        /// Bytes announced
        len: u32,
    },
    /// More than there is room for
    #[error("{payload_type:?} of {len} bytes, at most {max} are taken")]
    TooLarge {
        /// What it is
        payload_type: PayloadType,
        /// Bytes announced
        len: u32,
        /// Bytes taken
        max: u32,
    },
    /// A length that this type cannot have
    #[error("{payload_type:?} cannot have {len} bytes")]
    Length {
        /// What it is
        payload_type: PayloadType,
        /// Bytes announced
        len: u32,
    },
    /// A datagram that ends before its header does, or not where its header says
    #[error("a datagram of {len} bytes is no DoIP message")]
    Datagram {
        /// Its length
        len: usize,
    },
}

impl MessageError {
    /// What to tell the sender.
    pub const fn nack_code(&self) -> NackCode {
        match self {
            Self::Pattern { .. } | Self::Version { .. } => NackCode::IncorrectPatternFormat,
            Self::UnknownType { .. } => NackCode::UnknownPayloadType,
            Self::TooLarge { .. } => NackCode::MessageTooLarge,
            Self::Length { .. } | Self::Datagram { .. } => NackCode::InvalidPayloadLength,
        }
    }

    /// How many bytes to pass over to the next message; `None` where the stream is lost and has to be closed.
    pub const fn skip(&self) -> Option<u32> {
        match self {
            Self::UnknownType { len, .. } | Self::TooLarge { len, .. } => Some(*len),
            Self::Pattern { .. } | Self::Version { .. } | Self::Length { .. } | Self::Datagram { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: [u8; 8]) -> Result<Header, MessageError> {
        Header::parse(bytes, 1_000)
    }

    #[test]
    fn a_header_stands_as_the_standard_draws_it() {
        let header = Header {
            version: ProtocolVersion::Iso2012,
            payload_type: PayloadType::Diagnostic,
            len: 0x0000_0102,
        };
        assert_eq!(header.to_bytes(), [0x02, 0xFD, 0x80, 0x01, 0, 0, 1, 2]);
        assert_eq!(parse(header.to_bytes()), Ok(header));
    }

    #[test]
    fn faults_are_found_in_the_order_of_the_standard() {
        let mut bytes = [0x03, 0xFB, 0x12, 0x34, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(parse(bytes), Err(MessageError::Pattern { version: 3, inverse: 0xFB }));
        bytes[1] = 0xFC;
        assert_eq!(parse(bytes), Err(MessageError::UnknownType { payload_type: 0x1234, len: u32::MAX }));
        bytes[2..4].copy_from_slice(&[0x00, 0x07]);
        let payload_type = PayloadType::AliveCheckRequest;
        assert_eq!(parse(bytes), Err(MessageError::TooLarge { payload_type, len: u32::MAX, max: 1_000 }));
        bytes[4..].copy_from_slice(&[0, 0, 0, 1]);
        assert_eq!(parse(bytes), Err(MessageError::Length { payload_type, len: 1 }));
        bytes[7] = 0;
        assert!(parse(bytes).is_ok());
        assert_eq!(parse([0x01, 0xFE, 0, 7, 0, 0, 0, 0]), Err(MessageError::Version { version: 1 }));
    }

    #[test]
    fn the_version_for_all_editions_is_for_identification_alone() {
        assert!(parse([0xFF, 0x00, 0x00, 0x01, 0, 0, 0, 0]).is_ok());
        assert_eq!(parse([0xFF, 0x00, 0x00, 0x07, 0, 0, 0, 0]), Err(MessageError::Version { version: 0xFF }));
    }

    #[test]
    fn a_payload_of_the_limit_is_taken_and_one_byte_more_is_not() {
        let header =
            |len| Header { version: ProtocolVersion::Iso2019, payload_type: PayloadType::Diagnostic, len };
        assert!(parse(header(1_000).to_bytes()).is_ok());
        assert!(matches!(parse(header(1_001).to_bytes()), Err(MessageError::TooLarge { len: 1_001, .. })));
        assert!(parse(header(5).to_bytes()).is_ok());
        assert!(matches!(parse(header(4).to_bytes()), Err(MessageError::Length { len: 4, .. })));
    }

    #[test]
    fn what_loses_the_stream_says_so() {
        let fatal = MessageError::Pattern { version: 0, inverse: 0 };
        assert_eq!((fatal.nack_code().to_byte(), fatal.skip()), (0x00, None));
        let passed = MessageError::UnknownType { payload_type: 9, len: 17 };
        assert_eq!((passed.nack_code().to_byte(), passed.skip()), (0x01, Some(17)));
    }
}
