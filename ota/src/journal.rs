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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAMPAIGN: &str = r#"{
        "record": "campaign", "version": 1, "body": { "state": "running", "verified": {
            "campaign": { "vin": "WDB9066331S123456", "campaign": "spring", "ota_trace_id": "G0123456789abcde" },
            "director_version": 3, "current": [], "assignments": [{
                "serial": "brake-1", "name": "brake.bin",
                    "length": 10032, "hashes": { "sm3": "0707070707070707070707070707070707070707070707070707070707070707" },
                    "custom": {
                        "hardware_ids": ["brake-s32k3"], "release_counter": 7, "version": "2.1.0",
                        "chunks": { "plain_size": 10000, "chunk_size": 8192, "cipher": "sm4-gcm", "tree": {
                            "algorithm": "sm3",
                            "root": "0808080808080808080808080808080808080808080808080808080808080808" } },
                        "ecu_identifiers": { "brake-1": { "hardware_id": "brake-s32k3" } },
                        "content_key": { "kek": "kek-1", "wrapped": "0011223300112233001122330011223300112233001122330011223300112233001122330011223300112233" },
                        "install": { "order": 1, "group": "chassis", "preconditions": ["speed=0"] }
                    } }] } } }"#;

    fn ecu(phase: Phase) -> EcuRecord {
        let (campaign, serial) = ("spring".parse().unwrap(), "brake-1".parse().unwrap());
        EcuRecord { phase, ..EcuRecord::new(campaign, serial, "brake.bin".parse().unwrap(), Banks::Two) }
    }

    #[test]
    fn a_campaign_is_read_and_written_without_loss() {
        let record: CampaignRecord = decode(CAMPAIGN.as_bytes()).unwrap();
        let written = encode(&record).unwrap();
        assert_eq!(decode::<CampaignRecord>(&written).unwrap(), record);
        let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
        assert_eq!(json(&written), json(CAMPAIGN.as_bytes()));
    }

    #[test]
    fn every_phase_of_an_ecu_is_read_as_it_was_written() {
        let state = crypto_offload::job::HashState {
            algorithm: crypto_offload::job::HashAlgorithm::Sm3,
            hashed: 1 << 40,
            midstate: vec![0, 255],
        };
        let progress = ChunkProgress { next_chunk: 7, running: vec![RunningHash(state)] };
        for phase in [
            Phase::Pending,
            Phase::Downloading(progress.clone()),
            Phase::Stored,
            Phase::Erasing,
            Phase::Transferring { acknowledged: 9, streamed: None },
            Phase::Transferring { acknowledged: 9, streamed: Some(progress) },
            Phase::Installed,
            Phase::Activated,
            Phase::Done { version: "2.1.0".parse().unwrap() },
            Phase::Failed(Failure {
                stage: crate::stage::Stage::Install,
                code: "crc".to_owned(),
                message: "wrong checksum".to_owned(),
            }),
            Phase::RolledBack,
        ] {
            let record = ecu(phase);
            assert_eq!(decode::<EcuRecord>(&encode(&record).unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn damaged_foreign_and_future_records_are_refused() {
        let good = String::from_utf8(encode(&ecu(Phase::Pending)).unwrap()).unwrap();
        let read = |text: &str| decode::<EcuRecord>(text.as_bytes()).unwrap_err();
        assert!(matches!(read(&good[..good.len() - 1]), JournalError::Parse(_)));
        assert!(matches!(read(CAMPAIGN), JournalError::Kind { expected: "ecu", .. }));
        assert!(matches!(read(&good.replace("\"version\":1", "\"version\":2")), JournalError::Version(2)));
        assert!(matches!(read(&good.replace("\"phase\"", "\"new\":1,\"phase\"")), JournalError::Fields(_)));
        assert!(matches!(read(&good.replace("pending", "unheard_of")), JournalError::Fields(_)));
    }

    #[test]
    fn a_campaign_whose_fields_do_not_add_up_is_refused() {
        let bent = CAMPAIGN.replace("\"length\": 10032", "\"length\": 10033");
        assert_ne!(bent, CAMPAIGN);
        assert!(matches!(decode::<CampaignRecord>(bent.as_bytes()), Err(JournalError::Fields(_))));
    }

    #[test]
    fn a_campaign_goes_forward_only() {
        use CampaignState::{Accepted, Incomplete, Reported, Running, Succeeded, Superseded};
        let record: CampaignRecord = decode(CAMPAIGN.as_bytes()).unwrap();
        for (from, to) in [
            (Running, Accepted),
            (Running, Superseded),
            (Succeeded, Running),
            (Incomplete, Succeeded),
            (Reported, Running),
            (Superseded, Running),
            (Accepted, Succeeded),
        ] {
            assert!(CampaignRecord { state: from, ..record.clone() }.advance(to).is_err(), "{from:?} {to:?}");
        }
        let mut record = CampaignRecord::new(record.verified);
        for state in [Running, Succeeded, Reported] {
            record = record.advance(state).unwrap();
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<CampaignRecord>(&bytes);
            let _ = decode::<EcuRecord>(&bytes);
            let _ = decode::<InstalledRecord>(&bytes);
        }

        #[test]
        fn a_record_with_any_byte_changed_is_refused_or_another_record(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let record = ecu(Phase::Transferring { acknowledged: 9, streamed: None });
            let mut bytes = encode(&record).unwrap();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            prop_assert!(decode::<EcuRecord>(&bytes).map_or(true, |read| read != record));
        }
    }
}
