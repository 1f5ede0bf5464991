//! Why programming an ECU failed, and what the ECU runs now.

use crate::uds::client::{ClientError, TransportFailure};
use crate::uds::message::{DataIdentifier, Nrc, ResponseError, RoutineId, ServiceId};
use crate::uds::profile::Phase;
use std::time::Duration;

/// What an ECU runs after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EcuState {
    /// What it ran before; nothing was lost
    OldSoftware,
    /// Its only bank is erased or incomplete: it waits in its boot loader for another attempt
    NoApplication,
    /// The new software, although something after it failed
    NewSoftware,
    /// An erase, a switch or a reset was sent and its outcome is not known: read the version to find out
    Unknown,
}

/// The end of an attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("programming failed in phase {phase:?}, ECU state {ecu_state:?}")]
pub struct ProgrammingError {
    /// The step that failed
    pub phase: Phase,
    /// What the ECU runs now
    pub ecu_state: EcuState,
    /// What went wrong, and whose fault it is
    #[source]
    pub cause: Cause,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The ECU said no
    #[error("the ECU refused {service}: {nrc}")]
    EcuRefused {
        /// Service asked for
        service: ServiceId,
        /// Its reason
        nrc: Nrc,
    },
    /// The ECU is locked after wrong keys, or since its start
    #[error("the ECU denies security access for now ({nrc}), tried again after {waited:?}")]
    SecurityLocked {
        /// 0x36 or 0x37
        nrc: Nrc,
        /// How long was waited in vain
        waited: Duration,
    },
    /// The ECU did not answer
    #[error("no answer to {service}, {discarded} unrelated answers discarded")]
    NoAnswer {
        /// Service asked for
        service: ServiceId,
        /// Answers that belonged to no request
        discarded: u32,
    },
    /// The ECU promised an answer for too long
    #[error("the ECU answered {service} with response pending {count} times without an end")]
    ResponsePendingTooLong {
        /// Service asked for
        service: ServiceId,
        /// How often
        count: u32,
    },
    /// The ECU was busy for too long
    #[error("the ECU answered {service} with busy {count} times")]
    BusyTooLong {
        /// Service asked for
        service: ServiceId,
        /// How often
        count: u32,
    },
    /// The ECU broke the protocol
    #[error("the ECU misbehaved")]
    EcuMisbehaved(#[from] Misbehaviour),
    /// The routine ran and found the memory wrong
    #[error("checksum routine {routine} reports status {status:#04X}: what was written is not the image")]
    ChecksumRejected {
        /// Routine asked
        routine: RoutineId,
        /// First byte of its status record
        status: u8,
    },
    /// The routine ran and found the image not fit for this ECU
    #[error("dependency routine {routine} reports status {status:#04X}: the image does not fit this ECU")]
    DependenciesRejected {
        /// Routine asked
        routine: RoutineId,
        /// First byte of its status record
        status: u8,
    },
    /// Not the hardware the image is for
    #[error("the ECU reports hardware {reported:02X?}, the image is for {expected:02X?}")]
    HardwareMismatch {
        /// From the plan
        expected: Vec<u8>,
        /// From the ECU
        reported: Vec<u8>,
    },
    /// The plan's bank is the running one
    #[error("bank {bank} is the one the ECU runs from")]
    BankIsRunning {
        /// From the plan
        bank: usize,
    },
    /// After the reset the ECU runs something else
    #[error("the ECU reports version {reported:02X?} after the reset, expected {expected:02X?}")]
    VersionMismatch {
        /// From the plan
        expected: Vec<u8>,
        /// From the ECU
        reported: Vec<u8>,
    },
    /// After the reset the ECU never answered
    #[error("the ECU did not come back within {waited:?} after the reset")]
    DidNotComeBack {
        /// From the reset on
        waited: Duration,
    },
    /// The way to the ECU failed
    #[error("the transport failed during {service}")]
    Transport {
        /// Service asked for
        service: ServiceId,
        /// What the transport said
        #[source]
        source: TransportFailure,
    },
    /// The caller gave up
    #[error("aborted by the caller")]
    Aborted,
}

/// How an ECU broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// What came back is no response
    #[error("its answer to {service} is no response")]
    Malformed {
        /// Service asked for
        service: ServiceId,
        /// What is wrong with it
        #[source]
        source: ResponseError,
    },
    /// A positive answer with contents that make no sense
    #[error("its answer to {service} holds {record:02X?}")]
    Record {
        /// Service asked for
        service: ServiceId,
        /// What followed the repeated part, at most 16 bytes of it
        record: Vec<u8>,
    },
    /// The running bank it reports is not in the profile
    #[error("{did} reports bank {bank}, the profile has {count}")]
    ActiveBank {
        /// Where it was read
        did: DataIdentifier,
        /// What was read
        bank: u8,
        /// How many banks the profile has
        count: usize,
    },
}

impl From<ClientError> for Cause {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { service, nrc } => Self::EcuRefused { service, nrc },
            ClientError::NoAnswer { service, discarded } => Self::NoAnswer { service, discarded },
            ClientError::ResponsePendingTooLong { service, count } => {
                Self::ResponsePendingTooLong { service, count }
            }
            ClientError::BusyTooLong { service, count } => Self::BusyTooLong { service, count },
            ClientError::Malformed { service, source } => {
                Self::EcuMisbehaved(Misbehaviour::Malformed { service, source })
            }
            ClientError::Transport { service, source } => Self::Transport { service, source },
        }
    }
}

impl Cause {
    /// A positive answer that makes no sense.
    pub(super) fn record(service: ServiceId, record: &[u8]) -> Self {
        let record = record.iter().copied().take(16).collect();
        Self::EcuMisbehaved(Misbehaviour::Record { service, record })
    }
}
