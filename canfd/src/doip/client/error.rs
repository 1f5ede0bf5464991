//! Why a connection ended or a message was not sent, and whose fault it is.

use crate::doip::LogicalAddress;
use crate::doip::codes::{ActivationCode, DiagnosticNackCode, NackCode};
use crate::doip::header::MessageError;
use std::time::Duration;

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The entity did not answer the routing activation request
    #[error("the DoIP entity did not answer the routing activation request within {waited:?}")]
    ActivationTimeout {
        /// A_DoIP_Ctrl
        waited: Duration,
    },
    /// The entity does not want this tester: its configuration or ours is at fault
    #[error("routing activation {code}")]
    ActivationDenied {
        /// Its reason
        code: ActivationCode,
    },
    /// Nobody confirmed the activation
    #[error("nobody in the vehicle confirmed the routing activation within {waited:?}")]
    NotConfirmed {
        /// How long
        waited: Duration,
    },
    /// The entity cannot read what we say
    #[error("the DoIP entity could not read our message: {code}")]
    Nack {
        /// Its reason
        code: NackCode,
    },
    /// We cannot read what the entity says
    #[error("the DoIP entity sent what cannot be read")]
    Message(#[source] MessageError),
    /// The entity sent more messages at once than any sane one
    #[error("the DoIP entity sent {events} messages at once")]
    Flood {
        /// How many
        events: usize,
    },
    /// A message was not acknowledged, and nothing else came either
    #[error("the DoIP entity was silent for {waited:?} after a diagnostic message")]
    Silent {
        /// A_DoIP_Diagnostic_Message
        waited: Duration,
    },
    /// The connection was not used
    #[error("the connection was not used for {waited:?}")]
    Inactive {
        /// T_TCP_General_Inactivity
        waited: Duration,
    },
    /// The entity closed the connection, or it broke
    #[error("the DoIP entity closed the connection")]
    ByPeer,
}

/// Why a diagnostic message was not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// By a diagnostic message negative acknowledgement
    #[error("the DoIP entity did not hand the message on: {0}")]
    Diagnostic(DiagnosticNackCode),
    /// By a generic header negative acknowledgement
    #[error("the DoIP entity did not take the message: {0}")]
    Header(NackCode),
}

/// Why a message was not taken; the caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Routing is not active yet, or the connection is over
    #[error("routing is not active on this connection")]
    NotActive,
    /// One message at a time to each target
    #[error("a message to {target} waits for its acknowledgement")]
    Busy {
        /// Whose
        target: LogicalAddress,
    },
    /// Too many targets at once
    #[error("{max} messages wait for their acknowledgements")]
    TooMany {
        /// How many may
        max: usize,
    },
    /// No payload has this length
    #[error("a diagnostic message of {len} bytes does not fit a payload of {max}")]
    Length {
        /// Bytes of the message
        len: usize,
        /// Bytes of a payload at most, addresses included
        max: u32,
    },
}
