//! What can be wrong with a repository, whose fault it is, and which attack it looks like.

use std::fmt;

use crypto_offload::job::HashAlgorithm;

use crate::name::{EcuSerial, HardwareIdentifier, TargetName, Vin};
use crate::uptane::metadata::{MetadataError, Repository, Role, ThresholdNotMet};
use crate::uptane::time::UtcTime;

/// One file of one repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Document {
    /// Whose file.
    pub repository: Repository,
    /// Which file.
    pub role: Role,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.repository, self.role)
    }
}

/// Why a file could not be fetched, in the words of whoever tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailure {
    /// The server says that there is no such file.
    #[error("there is no such file")]
    NotFound,
    /// The server went on after the request's `max_len` bytes.
    #[error("it goes on past its limit")]
    TooLong,
    /// The server sent too slowly, or stopped sending.
    #[error("it comes too slowly")]
    TooSlow,
    /// No answer, or one that makes no sense.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
}

/// The attacks of Uptane 2.1, section 4.3, that full verification can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attack {
    /// Requests are not answered.
    DropRequest,
    /// Answers come so slowly that nothing is ever finished.
    SlowRetrieval,
    /// Old but genuine metadata is offered for ever.
    Freeze,
    /// Older software or metadata than before.
    Rollback,
    /// An answer that never ends.
    EndlessData,
    /// Genuine parts that do not belong together.
    MixAndMatch,
    /// Something that the holders of the keys never signed, or not for this vehicle.
    ArbitrarySoftware,
}

impl Attack {
    /// The word for reports: `rollback`, `mix_and_match`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::DropRequest => "drop_request",
            Self::SlowRetrieval => "slow_retrieval",
            Self::Freeze => "freeze",
            Self::Rollback => "rollback",
            Self::EndlessData => "endless_data",
            Self::MixAndMatch => "mix_and_match",
            Self::ArbitrarySoftware => "arbitrary_software",
        }
    }
}

/// Why a cycle of verification ended without a verdict to install.
///
/// Unless said otherwise the repository is at fault: its keepers, or someone between it and the vehicle.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The server or the link.
    #[error("{document} was not fetched")]
    Fetch {
        /// The file.
        document: Document,
        /// What happened.
        #[source]
        failure: FetchFailure,
    },
    /// Longer than asked for.
    #[error("{document} has {found} bytes, at most {limit} are allowed")]
    TooLong {
        /// The file.
        document: Document,
        /// The limit.
        limit: usize,
        /// Bytes received.
        found: usize,
    },
    /// More new roots than one cycle takes. Those taken stay trusted; the next cycle goes on from them.
    #[error("{repository} root changed more than {limit} times since the last look")]
    TooManyRoots {
        /// The repository.
        repository: Repository,
        /// The limit.
        limit: u32,
    },
    /// Not metadata.
    #[error("{document} is malformed")]
    Malformed {
        /// The file.
        document: Document,
        /// What is wrong with it.
        #[source]
        source: MetadataError,
    },
    /// Too few signatures.
    #[error("{document} is not signed as root version {root} wants")]
    Signatures {
        /// The file.
        document: Document,
        /// The root whose keys were wanted.
        root: u64,
        /// How many there were.
        #[source]
        source: ThresholdNotMet,
    },
    /// Roots follow each other without gap.
    #[error("{repository} root has version {found}, expected {expected}")]
    RootVersion {
        /// The repository.
        repository: Repository,
        /// One more than the trusted version.
        expected: u64,
        /// The version offered.
        found: u64,
    },
    /// A file with a lower version than the trusted one, or one that lists another file with a lower version.
    #[error("{by} offers version {offered} of {document}, version {trusted} was trusted before")]
    Rollback {
        /// The file that says so.
        by: Document,
        /// The file that would go back.
        document: Document,
        /// The version trusted before.
        trusted: u64,
        /// The version offered.
        offered: u64,
    },
    /// A snapshot lists another file with a lower version than before.
    #[error("{document} lists version {offered} of {file:?}, listed version {trusted} before")]
    ListedRollback {
        /// The snapshot.
        document: Document,
        /// The file that would go back.
        file: String,
        /// The version listed before.
        trusted: u64,
        /// The version listed now.
        offered: u64,
    },
    /// A snapshot no longer lists a file.
    #[error("{document} no longer lists {file:?}")]
    Vanished {
        /// The snapshot.
        document: Document,
        /// The file that is gone.
        file: String,
    },
    /// The file is no longer valid.
    #[error("{document} expired at {expires}, it is {now}")]
    Expired {
        /// The file.
        document: Document,
        /// The first second at which it is not valid.
        expires: UtcTime,
        /// The time that was passed in.
        now: UtcTime,
    },
    /// The file is not the version that the metadata above it lists.
    #[error("{document} has version {found}, version {listed} is listed")]
    WrongVersion {
        /// The file.
        document: Document,
        /// The version listed.
        listed: u64,
        /// The version it has.
        found: u64,
    },
    /// The file is not as long as the metadata above it lists.
    #[error("{document} has {found} bytes, {listed} are listed")]
    WrongLength {
        /// The file.
        document: Document,
        /// The length listed.
        listed: u64,
        /// The length it has.
        found: u64,
    },
    /// The file does not have the hash that the metadata above it lists.
    #[error("{document} does not have the {} digest listed for it", algorithm.name())]
    WrongHash {
        /// The file.
        document: Document,
        /// The first hash function that tells.
        algorithm: HashAlgorithm,
    },
    /// The Director does not say for which vehicle and campaign its targets are.
    #[error("director targets name no vehicle and campaign")]
    NoCampaign,
    /// The Director's targets are for another vehicle.
    #[error("director targets are for vehicle {found}, this is {expected}")]
    WrongVehicle {
        /// This vehicle.
        expected: Vin,
        /// The other vehicle.
        found: Vin,
    },
    /// The Director lists a target without what a gateway needs to know of it.
    #[error("director target {target} has no `{field}`")]
    Incomplete {
        /// The target.
        target: TargetName,
        /// What is missing.
        field: &'static str,
    },
    /// The Director assigns two targets to one ECU.
    #[error("director targets assign both {first} and {second} to ECU {serial}")]
    EcuTwice {
        /// The ECU.
        serial: EcuSerial,
        /// One of the targets.
        first: TargetName,
        /// The other.
        second: TargetName,
    },
    /// The Director assigns a target to an ECU that this vehicle does not have.
    #[error("director target {target} is for ECU {serial}, which this vehicle does not have")]
    UnknownEcu {
        /// The target.
        target: TargetName,
        /// The ECU.
        serial: EcuSerial,
    },
    /// The target is not for the ECU's hardware.
    #[error("director target {target} is not for ECU {serial}, whose hardware is {hardware_id}")]
    WrongHardware {
        /// The target.
        target: TargetName,
        /// The ECU.
        serial: EcuSerial,
        /// The ECU's hardware.
        hardware_id: HardwareIdentifier,
    },
    /// The target has a lower release counter than what the ECU runs.
    #[error("director target {target} has release counter {offered}, ECU {serial} runs {installed}")]
    ReleaseRollback {
        /// The target.
        target: TargetName,
        /// The ECU.
        serial: EcuSerial,
        /// What the ECU runs.
        installed: u64,
        /// What is offered.
        offered: u64,
    },
    /// The Director wants something that the Image repository does not have.
    #[error("director target {0} is not in the image repository")]
    NotInImageRepository(TargetName),
    /// The repositories do not agree on a target.
    #[error("director and image repository disagree on `{field}` of target {target}")]
    Disagree {
        /// The target.
        target: TargetName,
        /// The first field in which they differ.
        field: &'static str,
    },
    /// The vehicle's own store is at fault: a file that was trusted is damaged.
    #[error("stored {document} is damaged")]
    Store {
        /// The file.
        document: Document,
        /// What is wrong with it.
        #[source]
        source: MetadataError,
    },
    /// The vehicle's own store is at fault: the trusted root is not signed by its own keys.
    #[error("stored {repository} root is not signed by its own keys")]
    StoredRoot {
        /// The repository.
        repository: Repository,
        /// How many signatures there were.
        #[source]
        source: ThresholdNotMet,
    },
    /// The caller is at fault: an answer to nothing.
    #[error("no file was asked for")]
    NotAskedFor,
}

impl VerifyError {
    /// The attack this looks like; `None` where it looks like a mistake.
    pub const fn attack(&self) -> Option<Attack> {
        Some(match self {
            Self::Fetch { failure: FetchFailure::TooLong, .. }
            | Self::TooLong { .. }
            | Self::TooManyRoots { .. } => Attack::EndlessData,
            Self::Fetch { failure: FetchFailure::TooSlow, .. } => Attack::SlowRetrieval,
            Self::Fetch { .. } => Attack::DropRequest,
            Self::RootVersion { expected, found, .. } if *found < *expected => Attack::Rollback,
            Self::Rollback { .. }
            | Self::ListedRollback { .. }
            | Self::Vanished { .. }
            | Self::ReleaseRollback { .. } => Attack::Rollback,
            Self::Expired { .. } => Attack::Freeze,
            Self::RootVersion { .. }
            | Self::WrongVersion { .. }
            | Self::WrongLength { .. }
            | Self::WrongHash { .. }
            | Self::Disagree { .. } => Attack::MixAndMatch,
            Self::Signatures { .. }
            | Self::WrongVehicle { .. }
            | Self::WrongHardware { .. }
            | Self::NotInImageRepository(_) => Attack::ArbitrarySoftware,
            Self::Malformed { .. }
            | Self::NoCampaign
            | Self::Incomplete { .. }
            | Self::EcuTwice { .. }
            | Self::UnknownEcu { .. }
            | Self::Store { .. }
            | Self::StoredRoot { .. }
            | Self::NotAskedFor => return None,
        })
    }

    /// The file at which it was found, where it was one file.
    pub const fn document(&self) -> Option<Document> {
        Some(match self {
            Self::Fetch { document, .. }
            | Self::TooLong { document, .. }
            | Self::Malformed { document, .. }
            | Self::Signatures { document, .. }
            | Self::ListedRollback { document, .. }
            | Self::Vanished { document, .. }
            | Self::Expired { document, .. }
            | Self::WrongVersion { document, .. }
            | Self::WrongLength { document, .. }
            | Self::WrongHash { document, .. }
            | Self::Store { document, .. } => *document,
            Self::Rollback { by, .. } => *by,
            Self::TooManyRoots { repository, .. }
            | Self::RootVersion { repository, .. }
            | Self::StoredRoot { repository, .. } => Document { repository: *repository, role: Role::Root },
            Self::NoCampaign
            | Self::WrongVehicle { .. }
            | Self::Incomplete { .. }
            | Self::EcuTwice { .. }
            | Self::UnknownEcu { .. }
            | Self::WrongHardware { .. }
            | Self::ReleaseRollback { .. } => {
                Document { repository: Repository::Director, role: Role::Targets }
            }
            Self::NotInImageRepository(_) | Self::Disagree { .. } => {
                Document { repository: Repository::Image, role: Role::Targets }
            }
            Self::NotAskedFor => return None,
        })
    }
}
