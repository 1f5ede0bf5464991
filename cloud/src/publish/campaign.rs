//! A whole campaign: images first, then metadata, the two timestamps last.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crypto_offload::job::{Digest, SecretKey};
use crypto_offload::signing::{self, SigningError, WrapError};
use ota::uptane::{
    CampaignInfo, EcuAssignment, EcuSerial, GroupName, Install, NameError, Repository, Target, TargetCustom,
    TargetName, Targets, UtcTime, Vin, WrappedKey,
};

use super::description::{Campaign, DescriptionError, TargetDescription};
use super::keys::KeyRing;
use super::package::{self, PackageError, Progress, StoredImage};
use super::repository::{ExpiryTimes, RepositoryError, RepositoryWriter};
use crate::fsio::{self, FileError};

/// Seconds from now until each role's metadata expires; negative for metadata that has expired already (for tests).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Root, written by the first publication only. Defaults to 365 days.
    pub root: i64,
    /// Targets. Defaults to 30 days.
    pub targets: i64,
    /// Snapshot. Defaults to 7 days.
    pub snapshot: i64,
    /// Timestamp. Defaults to 1 day.
    pub timestamp: i64,
}

const DAY: i64 = 86_400;

impl Default for Expiry {
    fn default() -> Self {
        Self { root: 365 * DAY, targets: 30 * DAY, snapshot: 7 * DAY, timestamp: DAY }
    }
}

impl Expiry {
    fn at(&self, now: UtcTime) -> ExpiryTimes {
        let at = |seconds: i64| UtcTime::from_unix(now.unix().saturating_add_signed(seconds));
        ExpiryTimes {
            root: at(self.root),
            targets: at(self.targets),
            snapshot: at(self.snapshot),
            timestamp: at(self.timestamp),
        }
    }
}

/// Why a campaign was not published. Vehicles still see what stood there before, unless the error says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another publication is under way in the same directory.
    #[error("another publication is writing to {} (wait for it)", .0.display())]
    Busy(PathBuf),
    /// The campaign contradicts itself.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// A package cannot be published.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A repository cannot be continued.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A content key cannot be made.
    #[error("cannot make a content key: {0}")]
    ContentKey(#[from] SigningError),
    /// A content key cannot be wrapped.
    #[error("cannot wrap a content key: {0}")]
    Wrap(#[source] Box<WrapError>),
    /// A serial that cannot be the name of a group, which no serial is.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The file system's.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<WrapError> for PublishError {
    fn from(error: WrapError) -> Self {
        Self::Wrap(Box::new(error))
    }
}

/// What was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Version of the Director's targets for this vehicle.
    pub director_version: u64,
    /// Version of the Image repository's targets.
    pub image_version: u64,
    /// The Director's root that a vehicle is to start from.
    pub director_root: PathBuf,
    /// The Image repository's.
    pub image_root: PathBuf,
    /// The images, in the order of the campaign.
    pub targets: Vec<PublishedTarget>,
}

/// One stored image.
#[derive(Clone, Debug)]
pub struct PublishedTarget {
    /// Its name in metadata.
    pub name: TargetName,
    /// The ECU that is to install it.
    pub ecu_serial: EcuSerial,
    /// Path of the stored file below the served directory, as a URL has it and as faults take it.
    pub path: String,
    /// What metadata says of it.
    pub target: Target,
    /// What metadata signs of its chunks.
    pub tree_root: Digest,
}

/// Publishes `campaign` below `root`: stores every package, then signs new metadata for both repositories with
/// `keys`. `progress` is called after every chunk.
///
/// Blocks on the disk and the cipher; call it from a thread that may. A second publication into the same directory
/// fails at once rather than wait. Memory: one chunk and one tree, whatever the size of a package.
///
/// # Errors
/// [`PublishError`] says whose fault it is and what to do.
pub fn publish(
    root: &Path,
    keys: &KeyRing,
    campaign: &Campaign,
    expiry: &Expiry,
    now: UtcTime,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Published, PublishError> {
    campaign.check()?;
    let images = root.join("image/targets");
    fsio::create_dir(&images)?;
    let _lock = lock(root)?;
    let director_dir = root.join("director").join(campaign.vin.as_str());
    let director = RepositoryWriter::open(director_dir, keys.repository(Repository::Director))?;
    let image = RepositoryWriter::open(root.join("image"), keys.repository(Repository::Image))?;

    let mut director_targets = BTreeMap::new();
    // The Image repository keeps what it has: other vehicles may still be told to install it.
    let mut image_targets = image.current.as_ref().map_or_else(BTreeMap::new, |it| it.targets.clone());
    let mut published = Vec::new();
    for description in &campaign.targets {
        let key = description.cipher.map(SecretKey::generate).transpose()?.map(Arc::new);
        let stored = package::store(description, key.as_ref(), &images, progress)?;
        let target = image_target(description, &stored);
        let for_vehicle = director_target(description, &campaign.vin, key.as_deref(), keys, &target)?;
        director_targets.insert(description.name.clone(), for_vehicle.clone());
        published.push(PublishedTarget {
            name: description.name.clone(),
            ecu_serial: description.ecu_serial.clone(),
            path: format!("image/targets/{}", stored.file_name),
            target: for_vehicle,
            tree_root: stored.chunks.tree.root,
        });
        image_targets.insert(description.name.clone(), target);
    }

    let info = CampaignInfo {
        vin: campaign.vin.clone(),
        campaign: campaign.campaign.clone(),
        ota_trace_id: campaign.trace_id,
    };
    let expiry = expiry.at(now);
    let image_timestamp = image.prepare(Targets::new(image_targets, None), &expiry)?;
    let director_timestamp = director.prepare(Targets::new(director_targets, Some(info)), &expiry)?;
    // The Director last: a vehicle that hears of an image must find it.
    image.switch(&image_timestamp)?;
    director.switch(&director_timestamp)?;
    Ok(Published {
        director_version: director.next_version(),
        image_version: image.next_version(),
        director_root: director.root_path(),
        image_root: image.root_path(),
        targets: published,
    })
}

/// Held until the publication is done; the system lets go of it if we die.
fn lock(root: &Path) -> Result<File, PublishError> {
    let path = root.join(".publish.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(FileError::new("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(PublishError::Busy(root.to_owned())),
        Err(TryLockError::Error(error)) => Err(FileError::new("lock", &path)(error).into()),
    }
}

fn image_target(description: &TargetDescription, stored: &StoredImage) -> Target {
    Target {
        length: stored.chunks.layout.stored_size(),
        hashes: stored.hashes,
        custom: Some(TargetCustom {
            hardware_ids: vec![description.hardware_id.clone()],
            release_counter: description.release_counter,
            version: description.version.clone(),
            chunks: stored.chunks,
            ecu_identifiers: BTreeMap::new(),
            content_key: None,
            install: None,
        }),
    }
}

fn director_target(
    description: &TargetDescription,
    vin: &Vin,
    key: Option<&SecretKey>,
    keys: &KeyRing,
    image: &Target,
) -> Result<Target, PublishError> {
    let content_key = match (description.cipher, key) {
        (Some(cipher), Some(key)) => {
            let (id, wrapping, kek) = keys.kek_for(cipher);
            let wrapped = signing::wrap(kek, wrapping, &WrappedKey::aad(vin, &description.name), key)?;
            Some(WrappedKey { kek: id.parse()?, wrapped })
        }
        _ => None,
    };
    let group = match &description.group {
        Some(group) => group.clone(),
        None => description.ecu_serial.as_str().parse::<GroupName>()?,
    };
    let assignment = EcuAssignment { hardware_id: description.hardware_id.clone() };
    let mut target = image.clone();
    if let Some(custom) = &mut target.custom {
        custom.ecu_identifiers = BTreeMap::from([(description.ecu_serial.clone(), assignment)]);
        custom.content_key = content_key;
        custom.install = Some(Install {
            order: description.order,
            group,
            preconditions: description.preconditions.clone(),
        });
    }
    Ok(target)
}
