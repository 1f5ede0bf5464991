//! Full verification (Uptane 2.1, section 5.4.4.2), without I/O: which file to fetch next, and what to make of it.
//!
//! Both repositories are walked root, timestamp, snapshot, targets. The Director's walk comes first, and the Image
//! repository is asked only if the Director wants something installed that is not. Then both must agree.

use std::collections::VecDeque;

use crypto_offload::job::Verifier;
use serde::{Deserialize, Serialize};

use super::hashes::Hashes;
use super::metadata::Repository;
use super::target::{CampaignInfo, Target, TargetCustom, TargetError};
use super::time::UtcTime;
use crate::name::{EcuSerial, HardwareIdentifier, TargetName, Vin};

mod assign;
mod error;
mod trusted;
mod walk;

pub use error::{Attack, Document, FetchFailure, VerifyError};
pub use trusted::{Persist, TrustedMetadata, TrustedRepository};
use walk::Walk;

/// The vehicle that the metadata must be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VehicleIdentity {
    /// The vehicle.
    pub vin: Vin,
    /// Every ECU of the vehicle that can be updated, the gateway included.
    pub ecus: Vec<EcuIdentity>,
}

/// What is known of one ECU before the update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcuIdentity {
    /// The ECU.
    pub serial: EcuSerial,
    /// Its hardware.
    pub hardware_id: HardwareIdentifier,
    /// The release counter of what it runs; 0 where that is not known.
    pub release_counter: u64,
    /// The hashes of the stored image it runs, as metadata listed them; `None` where that is not known, and any
    /// assignment is therefore new.
    pub installed: Option<Hashes>,
}

/// How much a repository may send, so that none can send for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest root file, in bytes.
    pub root: usize,
    /// Longest timestamp file, in bytes.
    pub timestamp: usize,
    /// Longest snapshot file, in bytes; metadata that names a shorter length wins.
    pub snapshot: usize,
    /// Longest targets file, in bytes; metadata that names a shorter length wins.
    pub targets: usize,
    /// Most new roots in one cycle. More of them are taken in the next.
    pub root_rotations: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { root: 512 << 10, timestamp: 16 << 10, snapshot: 1 << 20, targets: 4 << 20, root_rotations: 64 }
    }
}

/// A file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataRequest {
    /// Where from.
    pub repository: Repository,
    /// Where it lies, relative to the root of the static file server: `director/<vin>/2.root.json`.
    pub path: String,
    /// Stop reading after this many bytes, and answer [`FetchFailure::TooLong`] if there are more.
    pub max_len: usize,
}

/// What verification has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file is trusted from now on.
    Persist(Persist),
    /// Both repositories agree on something to install. The last event.
    Verified(Verified),
    /// Every ECU already runs what the Director wants. The last event.
    NothingNew(NothingNew),
}

/// What is to be installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// For whom and for which campaign.
    pub campaign: CampaignInfo,
    /// Version of the Director's targets file.
    pub director_version: u64,
    /// Who gets what: by install order, then by serial. Never empty.
    pub assignments: Vec<Assignment>,
    /// ECUs that the campaign names and that already run what it wants.
    pub current: Vec<EcuSerial>,
}

/// One ECU and its new image, as the Director lists it. The Image repository says the same of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AssignmentText")]
pub struct Assignment {
    /// The ECU.
    pub serial: EcuSerial,
    /// The image's name.
    pub name: TargetName,
    /// Bytes of the stored file.
    pub length: u64,
    /// Digests of the stored file.
    pub hashes: Hashes,
    /// What a gateway needs to know on top.
    pub custom: TargetCustom,
}

impl Assignment {
    /// Where the stored file lies on the static file server: `image/targets/<hash>.<name>`. `None` without a known
    /// hash, which no verified assignment is.
    pub fn path(&self) -> Option<String> {
        self.hashes.target_path(&self.name).map(|path| format!("image/{path}"))
    }

    /// Where the chunk tree lies: beside the stored file, with `.tree` at the end of its name.
    pub fn tree_path(&self) -> Option<String> {
        self.path().map(|path| path + ".tree")
    }
}

/// An assignment from a journal, before its fields were held against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AssignmentText {
    serial: EcuSerial,
    name: TargetName,
    length: u64,
    hashes: Hashes,
    custom: TargetCustom,
}

impl TryFrom<AssignmentText> for Assignment {
    type Error = TargetError;

    fn try_from(text: AssignmentText) -> Result<Self, TargetError> {
        let AssignmentText { serial, name, length, hashes, custom } = text;
        let target = Target { length, hashes, custom: Some(custom.clone()) };
        target.check()?;
        Ok(Self { serial, name, length, hashes, custom })
    }
}

/// There is nothing to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NothingNew {
    /// What the Director says it is doing.
    pub campaign: CampaignInfo,
    /// Version of the Director's targets file.
    pub director_version: u64,
    /// ECUs that the campaign names and that already run what it wants.
    pub current: Vec<EcuSerial>,
}

/// One cycle of full verification.
///
/// While [`poll_request`](Self::poll_request) gives something, fetch it and give it to
/// [`handle_response`](Self::handle_response), then drain [`poll_event`](Self::poll_event). After an error the cycle
/// is over; what was persisted until then stays trusted.
#[derive(Debug)]
pub struct Verification {
    vehicle: VehicleIdentity,
    director: Walk,
    image: Walk,
    phase: Phase,
    asked: bool,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum Phase {
    Director,
    Image(assign::Plan),
    Over,
}

impl Verification {
    /// Starts from what is trusted. Fails if the store's own files are damaged.
    pub fn new(
        vehicle: VehicleIdentity,
        trusted: TrustedMetadata,
        limits: Limits,
        verifier: &dyn Verifier,
    ) -> Result<Self, VerifyError> {
        let walk = |repository: Repository, stored| {
            Walk::new(repository, repository.folder(&vehicle.vin), stored, limits, verifier)
        };
        Ok(Self {
            director: walk(Repository::Director, trusted.director)?,
            image: walk(Repository::Image, trusted.image)?,
            vehicle,
            phase: Phase::Director,
            asked: false,
            events: VecDeque::new(),
        })
    }

    /// The next file to fetch. `None` while one is on its way, and when the cycle is over.
    pub fn poll_request(&mut self) -> Option<MetadataRequest> {
        if self.asked {
            return None;
        }
        let request = match self.phase {
            Phase::Director => self.director.request(),
            Phase::Image(_) => self.image.request(),
            Phase::Over => None,
        };
        self.asked = request.is_some();
        request
    }

    /// Takes the answer to the last request. `utc` is a time from a source that the caller trusts.
    pub fn handle_response(
        &mut self,
        utc: UtcTime,
        response: Result<Vec<u8>, FetchFailure>,
        verifier: &dyn Verifier,
    ) -> Result<(), VerifyError> {
        if !std::mem::take(&mut self.asked) {
            return Err(VerifyError::NotAskedFor);
        }
        let result = self.advance(utc, response, verifier);
        if result.is_err() {
            self.phase = Phase::Over;
        }
        result
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn advance(
        &mut self,
        utc: UtcTime,
        response: Result<Vec<u8>, FetchFailure>,
        verifier: &dyn Verifier,
    ) -> Result<(), VerifyError> {
        match &self.phase {
            Phase::Director => {
                self.director.handle(utc, response, verifier, &mut self.events)?;
                let Some(targets) = self.director.outcome() else { return Ok(()) };
                let plan = assign::plan(&self.vehicle, targets)?;
                if plan.assignments.is_empty() {
                    self.phase = Phase::Over;
                    let assign::Plan { campaign, director_version, current, .. } = plan;
                    self.events.push_back(Event::NothingNew(NothingNew {
                        campaign,
                        director_version,
                        current,
                    }));
                } else {
                    self.phase = Phase::Image(plan);
                }
            }
            Phase::Image(plan) => {
                self.image.handle(utc, response, verifier, &mut self.events)?;
                let Some(targets) = self.image.outcome() else { return Ok(()) };
                assign::match_image(plan, targets.body())?;
                if let Phase::Image(plan) = std::mem::replace(&mut self.phase, Phase::Over) {
                    let assign::Plan { campaign, director_version, assignments, current } = plan;
                    self.events.push_back(Event::Verified(Verified {
                        campaign,
                        director_version,
                        assignments,
                        current,
                    }));
                }
            }
            Phase::Over => return Err(VerifyError::NotAskedFor),
        }
        Ok(())
    }
}
