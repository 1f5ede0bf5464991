//! The services and the negative response codes of ISO 14229-1.

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
    pub(super) const fn echo_len(self) -> usize {
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
    CertificateInvalidTimePeriod = 0x50, "certificate verification failed: invalid time period";
    CertificateInvalidSignature = 0x51, "certificate verification failed: invalid signature";
    CertificateInvalidChainOfTrust = 0x52, "certificate verification failed: invalid chain of trust";
    CertificateInvalidType = 0x53, "certificate verification failed: invalid type";
    CertificateInvalidFormat = 0x54, "certificate verification failed: invalid format";
    CertificateInvalidContent = 0x55, "certificate verification failed: invalid content";
    CertificateInvalidScope = 0x56, "certificate verification failed: invalid scope";
    CertificateRevoked = 0x57, "certificate verification failed: revoked";
    OwnershipVerificationFailed = 0x58, "ownership verification failed";
    ChallengeCalculationFailed = 0x59, "challenge calculation failed";
    SettingAccessRightsFailed = 0x5A, "setting access rights failed";
    SessionKeyCreationFailed = 0x5B, "session key creation or derivation failed";
    ConfigurationDataUsageFailed = 0x5C, "configuration data usage failed";
    DeAuthenticationFailed = 0x5D, "de-authentication failed";
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
