//! Why a request failed, and whose fault it is.

use crate::uds::message::{Nrc, ResponseError, ServiceId};

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The ECU said no
    #[error("the ECU refused {service}: {nrc}")]
    Refused {
        /// Service asked for
        service: ServiceId,
        /// Its reason
        nrc: Nrc,
    },
    /// The ECU did not answer in time
    #[error("no answer to {service}, {discarded} unrelated answers discarded")]
    NoAnswer {
        /// Service asked for
        service: ServiceId,
        /// Answers that belonged to no outstanding request
        discarded: u32,
    },
    /// The ECU kept answering "response pending"
    #[error("the ECU answered {service} with response pending {count} times without an end")]
    ResponsePendingTooLong {
        /// Service asked for
        service: ServiceId,
        /// How often
        count: u32,
    },
    /// The ECU kept answering "busy"
    #[error("the ECU answered {service} with busy {count} times")]
    BusyTooLong {
        /// Service asked for
        service: ServiceId,
        /// How often
        count: u32,
    },
    /// The ECU's answer is no response at all
    #[error("the ECU answered {service} with something that is no response")]
    Malformed {
        /// Service asked for
        service: ServiceId,
        /// What is wrong with it
        #[source]
        source: ResponseError,
    },
    /// The request did not reach the ECU, or its answer did not reach us
    #[error("the transport failed during {service}")]
    Transport {
        /// Service asked for
        service: ServiceId,
        /// What the transport said
        #[source]
        source: TransportFailure,
    },
}

/// The transport's bad news, after N_Result of ISO 15765-2 or its DoIP counterpart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportFailure {
    /// The request could not be sent whole
    #[error("the request was not sent: {0}")]
    Send(String),
    /// The answer started but did not arrive whole
    #[error("the answer was not received: {0}")]
    Receive(String),
    /// The transport did not confirm the request in time
    #[error("the request was not confirmed as sent in time")]
    NotConfirmed,
}

/// A request was handed in while another is outstanding; the fault is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{outstanding} is still outstanding")]
pub struct Busy {
    /// Service of the outstanding request
    pub outstanding: ServiceId,
}
