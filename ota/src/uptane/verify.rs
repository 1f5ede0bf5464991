//! Full verification (Uptane 2.1, section 5.4.4.2), without I/O: which file to fetch next, and what to make of it.
//!
//! Both repositories are walked root, timestamp, snapshot, targets. The Director's walk comes first, and the Image
//! repository is asked only if the Director wants something installed that is not. Then both must agree.

use std::collections::VecDeque;

use crypto_offload::job::Verifier;
use serde::{Deserialize, Serialize};

use super::metadata::{Repository, Role};
use super::target::{CampaignInfo, Hashes, Target};
use super::time::UtcTime;
use crate::name::{EcuSerial, HardwareIdentifier, TargetName, Vin};

mod assign;
mod error;
mod walk;

pub use error::{Attack, Document, FetchFailure, VerifyError};
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

/// The files of one repository that were verified last, byte for byte as the store kept them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedRepository {
    /// The newest trusted root. The first one comes with the vehicle.
    pub root: Vec<u8>,
    /// The newest trusted timestamp.
    pub timestamp: Option<Vec<u8>>,
    /// The newest trusted snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// The newest trusted targets.
    pub targets: Option<Vec<u8>>,
}

impl TrustedRepository {
    /// A repository of which nothing but the root is known.
    pub const fn new(root: Vec<u8>) -> Self {
        Self { root, timestamp: None, snapshot: None, targets: None }
    }

    /// Does to these files what a store must do on [`Event::Persist`].
    pub fn persist(&mut self, persist: &Persist) {
        if persist.forget_timestamp_and_snapshot {
            self.timestamp = None;
            self.snapshot = None;
        }
        let bytes = persist.bytes.clone();
        match persist.role {
            Role::Root => self.root = bytes,
            Role::Timestamp => self.timestamp = Some(bytes),
            Role::Snapshot => self.snapshot = Some(bytes),
            Role::Targets => self.targets = Some(bytes),
        }
    }
}

/// The trusted files of both repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedMetadata {
    /// The Director repository.
    pub director: TrustedRepository,
    /// The Image repository.
    pub image: TrustedRepository,
}

impl TrustedMetadata {
    /// Does to these files what a store must do on [`Event::Persist`].
    pub fn persist(&mut self, persist: &Persist) {
        match persist.repository {
            Repository::Director => self.director.persist(persist),
            Repository::Image => self.image.persist(persist),
        }
    }
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

/// A file is trusted from now on, and replaces its predecessor.
///
/// Files come in the order in which they were verified, and each is to be on disk before the next: a power cut in
/// between leaves a store from which the next cycle goes on, and never one that would accept an older file than
/// before. One `Persist` is one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// Whose file.
    pub repository: Repository,
    /// Which file.
    pub role: Role,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// In the same transaction, remove the repository's timestamp and snapshot: this root changed their keys, which
    /// is how a repository recovers from a thief who gave them versions no honest one could reach.
    pub forget_timestamp_and_snapshot: bool,
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

/// One ECU and its new image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The ECU.
    pub serial: EcuSerial,
    /// The image's name.
    pub name: TargetName,
    /// The image, as the Director lists it.
    pub target: Target,
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
        let base = format!("director/{}", vehicle.vin);
        Ok(Self {
            director: Walk::new(Repository::Director, base, trusted.director, limits, verifier)?,
            image: Walk::new(Repository::Image, "image".to_owned(), trusted.image, limits, verifier)?,
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
