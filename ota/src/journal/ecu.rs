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
    /// Whether the bank that is to be written may be erased or half written. Set with the first [`Phase::Erasing`] and
    /// never taken back: with one bank, the ECU has no software from then on until it is done.
    pub touched: bool,
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
    /// The ECU has checked the whole image.
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
        Self { campaign, serial, name, banks, touched: false, phase: Phase::Pending }
    }

    /// The same ECU, further on. Pure: the record to write, or why there is none.
    ///
    /// No way leads out of [`Phase::Done`], none from [`Phase::Installed`] to [`Phase::Erasing`] but by failing first,
    /// and with one bank only a stored image leads to the first erase.
    pub fn advance(&self, to: Phase) -> Result<Self, IllegalTransition> {
        if !is_legal(self.banks, &self.phase, &to) {
            return Err(IllegalTransition { from: format!("{:?}", self.phase), to: format!("{to:?}") });
        }
        Ok(Self { touched: self.touched || to == Phase::Erasing, phase: to, ..self.clone() })
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
        // Another try: from the store where the whole image lies there, else from the first chunk.
        (Failed(_), Pending | Stored)
        | (Downloading(_), Stored)
        | (Transferring { .. }, Installed)
        | (Installed, Activated)
        | (Activated, Done { .. }) => true,
        // Others of the group may fail at any time, and this one then has to go back with them.
        (from, Failed(_)) => !matches!(from, Done { .. } | RolledBack | Failed(_)),
        (from, RolledBack) => !matches!(from, Done { .. } | RolledBack),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(banks: Banks) -> EcuRecord {
        let name = "brake.bin".parse().unwrap();
        EcuRecord::new("spring".parse().unwrap(), "brake-1".parse().unwrap(), name, banks)
    }

    fn progress(next_chunk: u64) -> ChunkProgress {
        let state =
            HashState { algorithm: HashAlgorithm::Sm3, hashed: next_chunk * 4096, midstate: vec![1, 2] };
        ChunkProgress { next_chunk, running: vec![RunningHash(state)] }
    }

    fn transferring(acknowledged: u64, streamed: Option<u64>) -> Phase {
        Phase::Transferring { acknowledged, streamed: streamed.map(progress) }
    }

    fn failed() -> Phase {
        let (code, message) = ("nrc_72".to_owned(), "the ECU reports a failure".to_owned());
        Phase::Failed(Failure { stage: Stage::Transfer, code, message })
    }

    fn done() -> Phase {
        Phase::Done { version: "2.1.0".parse().unwrap() }
    }

    fn walk(banks: Banks, phases: impl IntoIterator<Item = Phase>) -> EcuRecord {
        phases.into_iter().fold(record(banks), |record, phase| record.advance(phase).unwrap())
    }

    #[test]
    fn an_ecu_with_one_bank_goes_by_way_of_the_store() {
        let record = walk(
            Banks::One,
            [
                Phase::Downloading(progress(0)),
                Phase::Downloading(progress(3)),
                Phase::Stored,
                Phase::Erasing,
                transferring(0, None),
                transferring(4096, None),
                Phase::Installed,
                Phase::Activated,
                done(),
            ],
        );
        assert!(record.is_final() && record.touched);
    }

    #[test]
    fn an_ecu_with_one_bank_is_not_erased_before_its_image_is_stored() {
        for phase in [vec![], vec![Phase::Downloading(progress(0)), Phase::Downloading(progress(9))]] {
            assert!(walk(Banks::One, phase).advance(Phase::Erasing).is_err());
        }
        assert!(walk(Banks::Two, []).advance(Phase::Erasing).is_ok());
        let erasing = [Phase::Downloading(progress(0)), Phase::Stored, Phase::Erasing];
        assert!(walk(Banks::One, erasing).advance(transferring(0, Some(0))).is_err());
    }

    #[test]
    fn progress_never_goes_back() {
        let downloading =
            walk(Banks::One, [Phase::Downloading(progress(0)), Phase::Downloading(progress(5))]);
        assert!(downloading.advance(Phase::Downloading(progress(5))).is_ok());
        assert!(downloading.advance(Phase::Downloading(progress(4))).is_err());
        let streaming =
            walk(Banks::Two, [Phase::Erasing, transferring(0, Some(0)), transferring(4096, Some(2))]);
        assert!(streaming.advance(transferring(4095, Some(2))).is_err());
        assert!(streaming.advance(transferring(4096, Some(1))).is_err());
        assert!(streaming.advance(transferring(4096, None)).is_err());
        assert!(streaming.advance(transferring(4096, Some(2))).is_ok());
    }

    #[test]
    fn nothing_leads_out_of_done_and_rolled_back() {
        let start = [Phase::Erasing, transferring(0, None), Phase::Installed, Phase::Activated];
        let end = |last| walk(Banks::Two, start.iter().cloned().chain([last]));
        for record in [end(done()), end(Phase::RolledBack)] {
            for phase in [Phase::Pending, Phase::Stored, Phase::Erasing, failed(), Phase::RolledBack, done()]
            {
                let error = record.advance(phase.clone()).unwrap_err();
                assert_eq!(error.to, format!("{phase:?}"));
            }
        }
    }

    #[test]
    fn what_is_touched_stays_touched_through_failure_and_another_try() {
        let start = [Phase::Downloading(progress(0)), Phase::Stored, Phase::Erasing, failed()];
        assert!(walk(Banks::One, start.clone()).touched);
        let again = walk(Banks::One, start.into_iter().chain([Phase::Stored]));
        assert!(again.touched && again.advance(Phase::Erasing).is_ok());
        assert!(!walk(Banks::One, [failed(), Phase::Pending]).touched);
    }

    fn any_phase() -> impl Strategy<Value = Phase> {
        prop_oneof![
            Just(Phase::Pending),
            (0_u64..4).prop_map(|it| Phase::Downloading(progress(it))),
            Just(Phase::Stored),
            Just(Phase::Erasing),
            (0_u64..4, prop::option::of(0_u64..4)).prop_map(|(bytes, chunk)| transferring(bytes, chunk)),
            Just(Phase::Installed),
            Just(Phase::Activated),
            Just(done()),
            Just(failed()),
            Just(Phase::RolledBack),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_tried_the_rules_of_erasing_hold(
            two in any::<bool>(),
            phases in prop::collection::vec(any_phase(), 1..200),
        ) {
            let banks = if two { Banks::Two } else { Banks::One };
            let (mut record, mut stored, mut finished) = (record(banks), false, false);
            for phase in phases {
                let Ok(next) = record.advance(phase) else { continue };
                prop_assert!(!finished, "nothing follows the end");
                stored |= next.phase == Phase::Stored;
                let erased = next.phase == Phase::Erasing;
                // A first erase needs a stored image or a second bank.
                prop_assert!(!erased || stored || two);
                let verified = matches!(record.phase, Phase::Installed | Phase::Activated);
                prop_assert!(!(erased && verified));
                prop_assert!(!record.touched || next.touched);
                finished = next.is_final();
                record = next;
            }
        }
    }
}
