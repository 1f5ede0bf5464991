//! One ECU's part in a campaign, and the only ways it may go.

use crypto_offload::job::{HashAlgorithm, HashState};
use serde::{Deserialize, Serialize};

use crate::name::{CampaignId, EcuSerial, SoftwareVersion, TargetName};
use crate::stage::Stage;
use crate::uptane::hex_text;

/// How many images an ECU holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Banks {
    /// One: it is without software from erase to activation, so its whole image must lie verified in the store first.
    One,
    /// Two: it runs on while the other bank is written, so chunks may be handed on as they come.
    Two,
}

/// One ECU's part in a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EcuRecord {
    /// The campaign.
    pub campaign: CampaignId,
    /// The ECU.
    pub serial: EcuSerial,
    /// Its new image.
    pub name: TargetName,
    /// How many images it holds.
    pub banks: Banks,
    /// How far it is.
    pub phase: Phase,
}

/// How far an ECU is. After a power cut it may be one step further than its record, and never behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Phase {
    /// Nothing was done.
    Pending,
    /// Chunks go into the store; the ECU is untouched.
    Downloading(ChunkProgress),
    /// The whole image lies verified in the store; the ECU is untouched.
    Stored,
    /// The ECU was, or is about to be, told to erase the bank that will be written. Recorded before the request.
    Erasing,
    /// The ECU takes the image.
    Transferring {
        /// Plain bytes that it acknowledged.
        acknowledged: u64,
        /// Where the download is, if chunks are handed on as they come rather than from the store.
        streamed: Option<ChunkProgress>,
    },
    /// The ECU has checked the whole image, and will not be erased again.
    Installed,
    /// The ECU was, or is about to be, told to start the new image. Recorded before the request.
    Activated,
    /// The ECU runs the new image. The end.
    Done {
        /// What it shows its reader.
        version: SoftwareVersion,
    },
    /// It went wrong.
    Failed(Failure),
    /// The ECU runs what it ran before. The end.
    RolledBack,
}

/// Where a download stands. Everything before `next_chunk` was authenticated and is on disk or in the ECU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkProgress {
    /// The first chunk that is still missing.
    pub next_chunk: u64,
    /// The whole-file hashes over the stored bytes before it.
    pub running: Vec<RunningHash>,
}

/// A [`HashState`] as it stands in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RunningHashText", into = "RunningHashText")]
pub struct RunningHash(pub HashState);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunningHashText {
    algorithm: String,
    hashed: u64,
    #[serde(with = "hex_text")]
    midstate: Vec<u8>,
}

impl TryFrom<RunningHashText> for RunningHash {
    type Error = String;

    fn try_from(text: RunningHashText) -> Result<Self, String> {
        let algorithm = HashAlgorithm::from_name(&text.algorithm)
            .ok_or_else(|| format!("hash function {:?} is unknown", text.algorithm))?;
        Ok(Self(HashState { algorithm, hashed: text.hashed, midstate: text.midstate }))
    }
}

impl From<RunningHash> for RunningHashText {
    fn from(RunningHash(state): RunningHash) -> Self {
        Self { algorithm: state.algorithm.name().to_owned(), hashed: state.hashed, midstate: state.midstate }
    }
}

/// Why an ECU's part went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// In which stage.
    pub stage: Stage,
    /// A stable word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether the bank that was to be written may be erased or half written. With one bank, the ECU then has no
    /// software until it is programmed.
    pub touched: bool,
}

/// A step that no campaign may take. The caller is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal cannot go from {from} to {to}")]
pub struct IllegalTransition {
    /// The phase recorded.
    pub from: String,
    /// The phase wanted.
    pub to: String,
}

impl EcuRecord {
    /// An ECU for which nothing was done yet.
    pub const fn new(campaign: CampaignId, serial: EcuSerial, name: TargetName, banks: Banks) -> Self {
        Self { campaign, serial, name, banks, phase: Phase::Pending }
    }

    /// The same ECU, further on. Pure: the record to write, or why there is none.
    ///
    /// No way leads from [`Phase::Installed`] or later back to [`Phase::Erasing`], and with one bank only a stored
    /// image leads there.
    pub fn advance(&self, to: Phase) -> Result<Self, IllegalTransition> {
        if !is_legal(self.banks, &self.phase, &to) {
            return Err(IllegalTransition { from: format!("{:?}", self.phase), to: format!("{to:?}") });
        }
        Ok(Self { phase: to, ..self.clone() })
    }

    /// Whether nothing more can happen in this campaign.
    pub const fn is_final(&self) -> bool {
        matches!(self.phase, Phase::Done { .. } | Phase::RolledBack)
    }
}

fn is_legal(banks: Banks, from: &Phase, to: &Phase) -> bool {
    use Phase::{
        Activated, Done, Downloading, Erasing, Failed, Installed, Pending, RolledBack, Stored, Transferring,
    };
    match (from, to) {
        (Pending, Downloading(progress)) => progress.next_chunk == 0,
        (Downloading(before), Downloading(after)) => after.next_chunk >= before.next_chunk,
        // A second bank may be written while the download runs.
        (Pending, Erasing) => banks == Banks::Two,
        (
            Transferring { acknowledged: before, streamed: a },
            Transferring { acknowledged: after, streamed: b },
        ) => {
            let chunk = |progress: &Option<ChunkProgress>| progress.as_ref().map(|it| it.next_chunk);
            after >= before && a.is_some() == b.is_some() && chunk(b) >= chunk(a)
        }
        (Erasing, Transferring { acknowledged, streamed }) => {
            *acknowledged == 0 && (streamed.is_none() || banks == Banks::Two)
        }
        // An interrupted transfer begins again with an erase: the image it was of is not in the ECU yet.
        (Stored | Erasing | Transferring { .. }, Erasing) => true,
        // What is touched stays touched, whatever comes after.
        (Pending | Downloading(_) | Stored, Failed(failure)) => !failure.touched,
        (Erasing | Transferring { .. } | Installed | Activated, Failed(failure)) => failure.touched,
        // Another try. An ECU with one bank that lost its software is programmed from the store, or from a new
        // download; in both cases from the beginning.
        (Failed(_), Pending) => true,
        (Downloading(_), Stored)
        | (Transferring { .. }, Installed)
        | (Installed, Activated)
        | (Activated, Done { .. })
        | (Failed(_) | Erasing | Transferring { .. } | Installed | Activated, RolledBack) => true,
        _ => false,
    }
}
