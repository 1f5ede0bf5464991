//! The records that survive power loss: what they hold, how they are written, and which may follow which.
//!
//! Writing them is somebody else's work, under one rule: a record is on disk before the step after it begins. So each
//! phase says what may already have happened to the ECU, not what certainly has.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::name::{EcuSerial, HardwareIdentifier, SoftwareVersion};
use crate::uptane::Hashes;
use crate::uptane::canonical::{self, Bounds, ParseError};
use crate::uptane::verify::{EcuIdentity, Verified};

mod ecu;

pub use ecu::{Banks, ChunkProgress, EcuRecord, Failure, IllegalTransition, Phase, RunningHash};

/// The format written here, and the only one read.
pub const VERSION: u32 = 1;

/// Longest record, in bytes: a campaign over all ECUs of a vehicle.
const MAX_RECORD: usize = 8 << 20;

/// Why bytes are no record. The store is at fault, or another version of the software wrote them.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Not acceptable as JSON.
    #[error("journal record is damaged")]
    Parse(#[from] ParseError),
    /// A field is missing, unknown, or of the wrong type.
    #[error("journal record does not follow its format")]
    Fields(#[source] serde_json::Error),
    /// A record of another kind.
    #[error("journal record is of kind {found:?}, expected {expected:?}")]
    Kind {
        /// The kind asked for.
        expected: &'static str,
        /// The kind found.
        found: String,
    },
    /// Written by another version of the software.
    #[error("journal record has version {0}, this software reads version {VERSION}")]
    Version(u32),
}

/// What can be a record. Sealed.
pub trait Record: Serialize + DeserializeOwned + sealed::Sealed {
    /// The name of the kind, written into every record.
    const KIND: &'static str;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::CampaignRecord {}
    impl Sealed for super::EcuRecord {}
    impl Sealed for super::InstalledRecord {}
}

impl Record for CampaignRecord {
    const KIND: &'static str = "campaign";
}

impl Record for EcuRecord {
    const KIND: &'static str = "ecu";
}

impl Record for InstalledRecord {
    const KIND: &'static str = "installed";
}

/// The bytes of a record.
pub fn encode<R: Record>(record: &R) -> Result<Vec<u8>, JournalError> {
    serde_json::to_vec(&Envelope { record: R::KIND.to_owned(), version: VERSION, body: record })
        .map_err(JournalError::Fields)
}

/// The record of these bytes.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<R, JournalError> {
    let value = canonical::parse(bytes, Bounds::metadata(MAX_RECORD))?;
    // Kind and version first: a record of another version may have any other body.
    let Envelope { record, version, body } =
        serde_json::from_value::<Envelope<serde_json::Value>>(value).map_err(JournalError::Fields)?;
    if record != R::KIND {
        return Err(JournalError::Kind { expected: R::KIND, found: record });
    }
    if version != VERSION {
        return Err(JournalError::Version(version));
    }
    serde_json::from_value(body).map_err(JournalError::Fields)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<T> {
    record: String,
    version: u32,
    body: T,
}

/// A campaign: everything that is needed to go on with it without the cloud's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignRecord {
    /// What was verified.
    pub verified: Verified,
    /// How far it is.
    pub state: CampaignState,
}

/// How far a campaign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignState {
    /// Verified; nothing has been done yet.
    Accepted,
    /// ECUs are being updated; how far each is, its own record says.
    Running,
    /// Every ECU is done, and this is still to be reported.
    Succeeded,
    /// Every ECU is done or failed or rolled back, and this is still to be reported.
    Incomplete,
    /// Reported. The end.
    Reported,
    /// Another campaign took its place before anything was done. The end.
    Superseded,
}

impl CampaignRecord {
    /// A campaign that was verified just now.
    pub const fn new(verified: Verified) -> Self {
        Self { verified, state: CampaignState::Accepted }
    }

    /// The same campaign, further on.
    pub fn advance(&self, to: CampaignState) -> Result<Self, IllegalTransition> {
        use CampaignState::{Accepted, Incomplete, Reported, Running, Succeeded, Superseded};
        let legal = matches!(
            (self.state, to),
            (Accepted, Running | Incomplete | Superseded)
                | (Running, Succeeded | Incomplete)
                | (Succeeded | Incomplete, Reported)
        );
        if !legal {
            return Err(IllegalTransition { from: format!("{:?}", self.state), to: format!("{to:?}") });
        }
        Ok(Self { verified: self.verified.clone(), state: to })
    }
}

/// What an ECU runs, as far as this gateway installed it. Kept when campaigns are long forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstalledRecord {
    /// The ECU.
    pub serial: EcuSerial,
    /// Its release counter, below which nothing is installed.
    pub release_counter: u64,
    /// The hashes of the stored image.
    pub hashes: Hashes,
    /// What the ECU showed its reader after activation.
    pub version: SoftwareVersion,
}

impl InstalledRecord {
    /// The ECU as verification wants to know it.
    pub fn identity(&self, hardware_id: HardwareIdentifier) -> EcuIdentity {
        EcuIdentity {
            serial: self.serial.clone(),
            hardware_id,
            release_counter: self.release_counter,
            installed: Some(self.hashes),
        }
    }
}
