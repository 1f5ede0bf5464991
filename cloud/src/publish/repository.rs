//! The metadata files of one repository: which version stands there, and writing the next one.

use std::path::{Path, PathBuf};

use crypto_offload::job::HashAlgorithm;
use crypto_offload::signing::SigningError;
use crypto_offload::software::SoftwareVerifier;
use crypto_offload::software::hash;
use ota::uptane::canonical::Bounds;
use ota::uptane::{
    Hashes, Key, MetaFile, MetadataError, Role, RoleKeys, RoleMetadata, Root, RootRoles, Signed, Snapshot,
    Targets, Timestamp, UtcTime,
};

use super::keys::RepositoryKeys;
use crate::fsio::{self, Access, FileError};

/// Longest metadata file of our own that is read back.
const MAX_METADATA: usize = 16 << 20;

/// Why a repository cannot be continued.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A file of the repository is damaged.
    #[error("{} is not the metadata that belongs there: {source} (restore it, or start an empty repository)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: MetadataError,
    },
    /// The caller's fault: keys of another repository.
    #[error("the key directory is not the one that {} was made with (give the right --keys)", path.display())]
    WrongKeys {
        /// The repository's root.
        path: PathBuf,
    },
    /// What we would publish breaks a rule that vehicles check.
    #[error("the {role} metadata would not be accepted by a vehicle: {source}")]
    Refused {
        /// The role.
        role: Role,
        /// The rule.
        source: MetadataError,
    },
    /// A key does not sign.
    #[error("cannot sign {role} metadata: {source}")]
    Sign {
        /// The role.
        role: Role,
        /// Why not.
        source: SigningError,
    },
    /// The file system's.
    #[error(transparent)]
    File(#[from] FileError),
}

/// One repository below the served directory.
#[derive(Debug)]
pub(crate) struct RepositoryWriter<'a> {
    dir: PathBuf,
    keys: &'a RepositoryKeys,
    /// Versions that stand there; 0 where there is nothing yet.
    targets_version: u64,
    snapshot_version: u64,
    timestamp_version: u64,
    /// The targets that stand there.
    pub(crate) current: Option<Targets>,
}

/// When the parts of one publication expire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpiryTimes {
    pub(crate) root: UtcTime,
    pub(crate) targets: UtcTime,
    pub(crate) snapshot: UtcTime,
    pub(crate) timestamp: UtcTime,
}

impl<'a> RepositoryWriter<'a> {
    /// Opens a repository, empty or with what stands there, and makes sure that its keys are ours.
    pub(crate) fn open(dir: PathBuf, keys: &'a RepositoryKeys) -> Result<Self, RepositoryError> {
        fsio::create_dir(&dir)?;
        let mut writer =
            Self { dir, keys, targets_version: 0, snapshot_version: 0, timestamp_version: 0, current: None };
        let root_path = writer.dir.join(Role::Root.file_name(1));
        if root_path.exists() {
            let root: Signed<Root> = read(&root_path)?;
            if !writer.knows_our_keys(root.body()) {
                return Err(RepositoryError::WrongKeys { path: root_path });
            }
        }
        let timestamp_path = writer.dir.join(Role::Timestamp.file_name(0));
        if timestamp_path.exists() {
            let timestamp: Signed<Timestamp> = read(&timestamp_path)?;
            writer.timestamp_version = timestamp.version();
            writer.snapshot_version = timestamp.body().snapshot.version;
            let snapshot: Signed<Snapshot> =
                read(&writer.dir.join(Role::Snapshot.file_name(writer.snapshot_version)))?;
            writer.targets_version = snapshot.body().targets.version;
            let targets: Signed<Targets> =
                read(&writer.dir.join(Role::Targets.file_name(writer.targets_version)))?;
            writer.current = Some(targets.body().clone());
        }
        Ok(writer)
    }

    /// Writes the first root if there is none, the next targets and the next snapshot. Vehicles see nothing of it
    /// before the timestamp that comes back is written, by [`RepositoryWriter::switch`].
    pub(crate) fn prepare(&self, targets: Targets, expiry: &ExpiryTimes) -> Result<Vec<u8>, RepositoryError> {
        let root_path = self.root_path();
        if !root_path.exists() {
            let root = self.sign(1, expiry.root, self.root())?;
            fsio::write_atomically(&root_path, &root, Access::Public)?;
        }
        let targets_version = self.targets_version + 1;
        let targets = self.sign(targets_version, expiry.targets, targets)?;
        self.write(Role::Targets, targets_version, &targets)?;

        let snapshot_version = self.snapshot_version + 1;
        let body = Snapshot { targets: listed(targets_version, &targets), others: Default::default() };
        let snapshot = self.sign(snapshot_version, expiry.snapshot, body)?;
        self.write(Role::Snapshot, snapshot_version, &snapshot)?;

        let body = Timestamp { snapshot: listed(snapshot_version, &snapshot) };
        self.sign(self.timestamp_version + 1, expiry.timestamp, body)
    }

    /// Makes what was prepared the current state, at once.
    pub(crate) fn switch(&self, timestamp: &[u8]) -> Result<(), RepositoryError> {
        self.write(Role::Timestamp, self.timestamp_version + 1, timestamp)
    }

    /// The root a vehicle starts from.
    pub(crate) fn root_path(&self) -> PathBuf {
        self.dir.join(Role::Root.file_name(1))
    }

    /// The version that the next targets get.
    pub(crate) const fn next_version(&self) -> u64 {
        self.targets_version + 1
    }

    fn write(&self, role: Role, version: u64, bytes: &[u8]) -> Result<(), RepositoryError> {
        Ok(fsio::write_atomically(&self.dir.join(role.file_name(version)), bytes, Access::Public)?)
    }

    fn sign<T: RoleMetadata>(
        &self,
        version: u64,
        expires: UtcTime,
        body: T,
    ) -> Result<Vec<u8>, RepositoryError> {
        let refused = |source| RepositoryError::Refused { role: T::ROLE, source };
        let mut metadata = Signed::new(version, expires, body, &SoftwareVerifier).map_err(refused)?;
        for key in self.keys.of(T::ROLE) {
            let signature = key
                .secret
                .sign(metadata.signed_bytes())
                .map_err(|source| RepositoryError::Sign { role: T::ROLE, source })?;
            metadata.sign_with(|_| (key.id, signature.clone()));
        }
        metadata.to_bytes().map_err(refused)
    }

    fn root(&self) -> Root {
        let role = |role| {
            let keyids: Vec<_> = self.keys.of(role).iter().map(|it| it.id).collect();
            // One or two keys.
            RoleKeys { threshold: u32::try_from(keyids.len()).unwrap_or(u32::MAX), keyids }
        };
        let all = Role::ALL.into_iter().flat_map(|role| self.keys.of(role));
        Root {
            consistent_snapshot: true,
            keys: all.map(|it| (it.id, Key::from_public(&it.public))).collect(),
            roles: RootRoles {
                root: role(Role::Root),
                timestamp: role(Role::Timestamp),
                snapshot: role(Role::Snapshot),
                targets: role(Role::Targets),
            },
        }
    }

    fn knows_our_keys(&self, root: &Root) -> bool {
        Role::ALL.into_iter().all(|role| {
            let known = &root.role(role).keyids;
            self.keys.of(role).iter().all(|it| known.contains(&it.id))
        })
    }
}

fn listed(version: u64, bytes: &[u8]) -> MetaFile {
    let digest = hash::digest(HashAlgorithm::Sha256, &[bytes]);
    MetaFile {
        version,
        length: Some(bytes.len() as u64),
        hashes: Hashes::new([(HashAlgorithm::Sha256, digest)]),
    }
}

fn read<T: RoleMetadata>(path: &Path) -> Result<Signed<T>, RepositoryError> {
    let bytes = std::fs::read(path).map_err(FileError::new("read", path))?;
    Signed::parse(&bytes, Bounds::metadata(MAX_METADATA), &SoftwareVerifier)
        .map_err(|source| RepositoryError::Damaged { path: path.to_owned(), source })
}
