//! Responses.

use super::{Nrc, ServiceId};

/// First byte of every negative response (clause 8.7).
pub const NEGATIVE_RESPONSE: u8 = 0x7F;
/// Added to a request identifier to form the positive response's (clause 8.5).
const POSITIVE_OFFSET: u8 = 0x40;
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
