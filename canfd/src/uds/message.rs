//! Requests, responses and the code tables of ISO 14229-1.

use serde::Deserialize;
use std::fmt;

/// A service of ISO 14229-1, by its request identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum ServiceId {
    /// Clause 10.2: change the diagnostic session
    DiagnosticSessionControl = 0x10,
    /// Clause 10.3: reset the ECU
    EcuReset = 0x11,
    /// Clause 12.2: clear trouble codes
    ClearDiagnosticInformation = 0x14,
    /// Clause 12.3: read trouble codes
    ReadDtcInformation = 0x19,
    /// Clause 11.2: read data by identifier
    ReadDataByIdentifier = 0x22,
    /// Clause 11.3: read memory by address
    ReadMemoryByAddress = 0x23,
    /// Clause 10.4: seed and key
    SecurityAccess = 0x27,
    /// Clause 10.5: switch the ECU's ordinary communication off and on
    CommunicationControl = 0x28,
    /// Clause 10.6: certificate based unlocking
    Authentication = 0x29,
    /// Clause 11.7: write data by identifier
    WriteDataByIdentifier = 0x2E,
    /// Clause 13.2: take control of an input or output
    InputOutputControlByIdentifier = 0x2F,
    /// Clause 14.2: start, stop or ask a routine
    RoutineControl = 0x31,
    /// Clause 15.2: open a transfer towards the ECU
    RequestDownload = 0x34,
    /// Clause 15.3: open a transfer from the ECU
    RequestUpload = 0x35,
    /// Clause 15.4: one block of a transfer
    TransferData = 0x36,
    /// Clause 15.5: close a transfer
    RequestTransferExit = 0x37,
    /// Clause 15.6: file transfer
    RequestFileTransfer = 0x38,
    /// Clause 10.7: keep the session
    TesterPresent = 0x3E,
    /// Clause 10.8: switch the setting of trouble codes off and on
    ControlDtcSetting = 0x85,
}

impl ServiceId {
    /// Every service this crate knows.
    pub const ALL: [Self; 19] = [
        Self::DiagnosticSessionControl,
        Self::EcuReset,
        Self::ClearDiagnosticInformation,
        Self::ReadDtcInformation,
        Self::ReadDataByIdentifier,
        Self::ReadMemoryByAddress,
        Self::SecurityAccess,
        Self::CommunicationControl,
        Self::Authentication,
        Self::WriteDataByIdentifier,
        Self::InputOutputControlByIdentifier,
        Self::RoutineControl,
        Self::RequestDownload,
        Self::RequestUpload,
        Self::TransferData,
        Self::RequestTransferExit,
        Self::RequestFileTransfer,
        Self::TesterPresent,
        Self::ControlDtcSetting,
    ];

    /// The request identifier on the wire.
    pub const fn to_byte(self) -> u8 {
        self as u8
    }

    /// The service of a request identifier, if this crate knows it.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.to_byte() == byte)
    }

    /// Whether the first parameter is a sub-function, whose bit 7 suppresses the positive response (clause 8.2.2).
    pub const fn has_sub_function(self) -> bool {
        matches!(
            self,
            Self::DiagnosticSessionControl
                | Self::EcuReset
                | Self::ReadDtcInformation
                | Self::SecurityAccess
                | Self::CommunicationControl
                | Self::Authentication
                | Self::RoutineControl
                | Self::TesterPresent
                | Self::ControlDtcSetting
        )
    }

    /// How many bytes of the request's parameters a positive response repeats.
    const fn echo_len(self) -> usize {
        match self {
            Self::DiagnosticSessionControl
            | Self::EcuReset
            | Self::ReadDtcInformation
            | Self::SecurityAccess
            | Self::CommunicationControl
            | Self::Authentication
            | Self::TesterPresent
            | Self::ControlDtcSetting
            | Self::TransferData
            | Self::RequestFileTransfer => 1,
            Self::ReadDataByIdentifier
            | Self::WriteDataByIdentifier
            | Self::InputOutputControlByIdentifier => 2,
            Self::RoutineControl => 3,
            _ => 0,
        }
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} (0x{:02X})", self.to_byte())
    }
}

/// First byte of every negative response (clause 8.7).
pub const NEGATIVE_RESPONSE: u8 = 0x7F;
/// Added to a request identifier to form the positive response's (clause 8.5).
const POSITIVE_OFFSET: u8 = 0x40;
/// Bit 7 of a sub-function: no positive response wanted (clause 8.2.2).
pub const SUPPRESS_POSITIVE_RESPONSE: u8 = 0x80;

macro_rules! negative_response_codes {
    ($($variant:ident = $value:literal, $text:literal;)*) => {
        /// A negative response code, table A.1 of ISO 14229-1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Nrc {
            $(#[doc = $text] $variant,)*
            /// Any other code, reserved or the manufacturer's own
            Other(u8),
        }

        impl Nrc {
            /// Every named code.
            pub const NAMED: &[Self] = &[$(Self::$variant),*];

            /// The code on the wire.
            pub const fn to_byte(self) -> u8 {
                match self {
                    $(Self::$variant => $value,)*
                    Self::Other(byte) => byte,
                }
            }

            /// The code of a byte from the wire; every byte has one.
            pub const fn from_byte(byte: u8) -> Self {
                match byte {
                    $($value => Self::$variant,)*
                    other => Self::Other(other),
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(_) => "unnamed code",
                }
            }
        }
    };
}

negative_response_codes! {
    GeneralReject = 0x10, "general reject";
    ServiceNotSupported = 0x11, "service not supported";
    SubFunctionNotSupported = 0x12, "sub-function not supported";
    IncorrectMessageLengthOrInvalidFormat = 0x13, "incorrect message length or invalid format";
    ResponseTooLong = 0x14, "response too long";
    BusyRepeatRequest = 0x21, "busy, repeat request";
    ConditionsNotCorrect = 0x22, "conditions not correct";
    RequestSequenceError = 0x24, "request sequence error";
    NoResponseFromSubnetComponent = 0x25, "no response from subnet component";
    FailurePreventsExecution = 0x26, "failure prevents execution of requested action";
    RequestOutOfRange = 0x31, "request out of range";
    SecurityAccessDenied = 0x33, "security access denied";
    AuthenticationRequired = 0x34, "authentication required";
    InvalidKey = 0x35, "invalid key";
    ExceededNumberOfAttempts = 0x36, "exceeded number of attempts";
    RequiredTimeDelayNotExpired = 0x37, "required time delay not expired";
    UploadDownloadNotAccepted = 0x70, "upload or download not accepted";
    TransferDataSuspended = 0x71, "transfer data suspended";
    GeneralProgrammingFailure = 0x72, "general programming failure";
    WrongBlockSequenceCounter = 0x73, "wrong block sequence counter";
    ResponsePending = 0x78, "request correctly received, response pending";
    SubFunctionNotSupportedInActiveSession = 0x7E, "sub-function not supported in active session";
    ServiceNotSupportedInActiveSession = 0x7F, "service not supported in active session";
    VoltageTooHigh = 0x92, "voltage too high";
    VoltageTooLow = 0x93, "voltage too low";
    ResourceTemporarilyNotAvailable = 0x94, "resource temporarily not available";
}

impl fmt::Display for Nrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02X} {}", self.to_byte(), self.text())
    }
}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(transparent)]
pub struct RoutineId(pub u16);

/// A data identifier of services 0x22 and 0x2E.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "u8")]
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

/// One request, complete but for the transport's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    service: ServiceId,
    addressing: Addressing,
    suppress_positive_response: bool,
    pdu: Vec<u8>,
}

impl Request {
    /// A physically addressed request: `parameters` follow the service identifier.
    pub fn new(service: ServiceId, parameters: &[u8]) -> Self {
        let mut pdu = Vec::with_capacity(parameters.len() + 1);
        pdu.push(service.to_byte());
        pdu.extend_from_slice(parameters);
        Self { service, addressing: Addressing::Physical, suppress_positive_response: false, pdu }
    }

    /// Service 0x10.
    pub fn session(session: Session) -> Self {
        Self::new(ServiceId::DiagnosticSessionControl, &[session.to_byte()])
    }

    /// Service 0x22 for one identifier.
    pub fn read_data(did: DataIdentifier) -> Self {
        Self::new(ServiceId::ReadDataByIdentifier, &did.0.to_be_bytes())
    }

    /// Service 0x2E.
    pub fn write_data(did: DataIdentifier, record: &[u8]) -> Self {
        let mut parameters = did.0.to_be_bytes().to_vec();
        parameters.extend_from_slice(record);
        Self::new(ServiceId::WriteDataByIdentifier, &parameters)
    }

    /// Service 0x31.
    pub fn routine(control: RoutineControl, id: RoutineId, option: &[u8]) -> Self {
        let [high, low] = id.0.to_be_bytes();
        let mut parameters = vec![control.to_byte(), high, low];
        parameters.extend_from_slice(option);
        Self::new(ServiceId::RoutineControl, &parameters)
    }

    /// Service 0x36.
    pub fn transfer_data(counter: BlockSequenceCounter, data: &[u8]) -> Self {
        let mut pdu = Vec::with_capacity(data.len() + 2);
        pdu.extend_from_slice(&[ServiceId::TransferData.to_byte(), counter.to_byte()]);
        pdu.extend_from_slice(data);
        Self {
            service: ServiceId::TransferData,
            addressing: Addressing::Physical,
            suppress_positive_response: false,
            pdu,
        }
    }

    /// The same request, addressed as given.
    #[must_use]
    pub fn addressed(mut self, addressing: Addressing) -> Self {
        self.addressing = addressing;
        self
    }

    /// The same request with bit 7 of its sub-function set; a service without sub-function stays as it is.
    #[must_use]
    pub fn suppress_positive_response(mut self) -> Self {
        if self.service.has_sub_function()
            && let Some(sub_function) = self.pdu.get_mut(1)
        {
            *sub_function |= SUPPRESS_POSITIVE_RESPONSE;
            self.suppress_positive_response = true;
        }
        self
    }

    /// The service asked for.
    pub fn service(&self) -> ServiceId {
        self.service
    }

    /// Whom the request is for.
    pub fn addressing(&self) -> Addressing {
        self.addressing
    }

    /// Whether silence is an acceptable answer: functional, or positive response suppressed.
    pub fn may_stay_unanswered(&self) -> bool {
        self.suppress_positive_response || self.addressing == Addressing::Functional
    }

    /// The bytes to send.
    pub fn pdu(&self) -> &[u8] {
        &self.pdu
    }

    /// Sub-function without its suppress bit, for services that have one.
    pub fn sub_function(&self) -> Option<u8> {
        let byte = self.pdu.get(1)?;
        self.service.has_sub_function().then_some(byte & !SUPPRESS_POSITIVE_RESPONSE)
    }

    /// What follows the repeated part of the request in a positive response's `parameters`; `None` if they repeat
    /// something else, so answer another request.
    pub fn strip_echo<'a>(&self, parameters: &'a [u8]) -> Option<&'a [u8]> {
        let len = self.service.echo_len();
        let (echo, record) = parameters.split_at_checked(len)?;
        let asked = self.pdu.get(1..=len)?;
        let matches = echo.iter().zip(asked).enumerate().all(|(index, (got, want))| {
            let mask = if index == 0 && self.service.has_sub_function() {
                !SUPPRESS_POSITIVE_RESPONSE
            } else {
                0xFF
            };
            got == &(want & mask)
        });
        matches.then_some(record)
    }
}

/// A response as it lies in a PDU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response<'a> {
    /// The service was carried out
    Positive {
        /// Service answered
        service: ServiceId,
        /// What follows the response identifier
        parameters: &'a [u8],
    },
    /// The service was refused, or is still under way
    Negative {
        /// Service answered
        service: ServiceId,
        /// Why
        nrc: Nrc,
    },
}

impl<'a> Response<'a> {
    /// Reads a response PDU (clauses 8.5 and 8.7).
    ///
    /// # Errors
    /// Any PDU that is no response to a service this crate knows.
    pub fn parse(pdu: &'a [u8]) -> Result<Self, ResponseError> {
        match *pdu {
            [] => Err(ResponseError::Empty),
            [NEGATIVE_RESPONSE, service, nrc] => {
                let service =
                    ServiceId::from_byte(service).ok_or(ResponseError::UnknownService { service })?;
                Ok(Self::Negative { service, nrc: Nrc::from_byte(nrc) })
            }
            [NEGATIVE_RESPONSE, ..] => Err(ResponseError::NegativeLength { length: pdu.len() }),
            [first, ref parameters @ ..] => {
                let service = first.checked_sub(POSITIVE_OFFSET).and_then(ServiceId::from_byte);
                let service = service.ok_or(ResponseError::NotAResponse { first })?;
                Ok(Self::Positive { service, parameters })
            }
        }
    }

    /// The service answered.
    pub fn service(&self) -> ServiceId {
        match *self {
            Self::Positive { service, .. } | Self::Negative { service, .. } => service,
        }
    }
}

/// The bytes of a positive response.
pub fn positive_response(service: ServiceId, parameters: &[u8]) -> Vec<u8> {
    let mut pdu = Vec::with_capacity(parameters.len() + 1);
    pdu.push(service.to_byte() | POSITIVE_OFFSET);
    pdu.extend_from_slice(parameters);
    pdu
}

/// The bytes of a negative response; `service` is a byte because an unknown one is refused too.
pub fn negative_response(service: u8, nrc: Nrc) -> Vec<u8> {
    vec![NEGATIVE_RESPONSE, service, nrc.to_byte()]
}

/// Why a PDU is no response; the fault is the ECU's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// No bytes at all
    #[error("the response is empty")]
    Empty,
    /// A negative response is three bytes long, this one is not
    #[error("a negative response of {length} bytes, 3 are required")]
    NegativeLength {
        /// Length of the PDU
        length: usize,
    },
    /// A negative response to a service nobody knows
    #[error("a negative response to unknown service 0x{service:02X}")]
    UnknownService {
        /// The service byte
        service: u8,
    },
    /// The first byte starts no response
    #[error("0x{first:02X} starts no response")]
    NotAResponse {
        /// First byte of the PDU
        first: u8,
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
