//! Why programming an ECU failed, and what the ECU runs now.

use crate::uds::client::ClientError;
use crate::uds::message::{DataIdentifier, Nrc, RoutineId, ServiceId};
use crate::uds::profile::Phase;
use std::time::Duration;

/// What an ECU runs after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EcuState {
    /// What it ran before this attempt, if anything; nothing was lost
    OldSoftware,
    /// Its only bank is erased or incomplete: it waits in its boot loader for another attempt
    NoApplication,
    /// The new software, although something after it failed
    NewSoftware,
    /// An erase, the last check, a switch or a reset was sent, now or in an earlier attempt, and its outcome is not
    /// known: read the version to find out
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
    /// A request was not carried out
    #[error(transparent)]
    Request(#[from] ClientError),
    /// The ECU is locked after wrong keys, or since its start
    #[error("the ECU denies security access for now ({nrc}), tried again after {waited:?}")]
    SecurityLocked {
        /// 0x36 or 0x37
        nrc: Nrc,
        /// How long was waited in vain
        waited: Duration,
    },
    /// The ECU could not prove itself in 0x29
    #[error("the ECU's certificate or its proof is not accepted")]
    ServerNotTrusted,
    /// Its answer is one, but makes no sense
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
    /// The caller gave up
    #[error("aborted by the caller")]
    Aborted,
}

/// How an ECU broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// A positive answer with contents that make no sense
    #[error("its answer to {service} holds {record:02X?}")]
    Record {
        /// Service asked for
        service: ServiceId,
        /// What followed the repeated part, at most 16 bytes of it
        record: Vec<u8>,
    },
    /// An erase that is asked for again and again has no end
    #[error("it is still erasing after {waited:?}")]
    EndlessErase {
        /// From the first request on
        waited: Duration,
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

impl Cause {
    /// A positive answer that makes no sense.
    pub(super) fn record(service: ServiceId, record: &[u8]) -> Self {
        let record = record.iter().copied().take(16).collect();
        Self::EcuMisbehaved(Misbehaviour::Record { service, record })
    }
}
