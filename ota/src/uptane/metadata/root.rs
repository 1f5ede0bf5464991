//! Root metadata: which keys speak for which role, and the counting of their signatures.

use std::collections::BTreeMap;

use crypto_offload::job::{PublicKey, Verdict, Verifier};
use serde::{Deserialize, Serialize};

use super::{MetadataError, Role, RoleMetadata, Signed};
use crate::uptane::key::{Key, KeyId};

/// Root metadata: names the keys of all roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Whether file names carry versions. Must be true.
    pub consistent_snapshot: bool,
    /// All keys, each under the id computed from it.
    pub keys: BTreeMap<KeyId, Key>,
    /// Which keys speak for which role.
    pub roles: RootRoles,
}

/// The keys of each role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRoles {
    /// Who signs the next root.
    pub root: RoleKeys,
    /// Who signs timestamps.
    pub timestamp: RoleKeys,
    /// Who signs snapshots.
    pub snapshot: RoleKeys,
    /// Who signs targets.
    pub targets: RoleKeys,
}

/// The keys of one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// The keys that may sign.
    pub keyids: Vec<KeyId>,
    /// How many different ones must, 1 or more.
    pub threshold: u32,
}

/// Too few different keys signed. Either the file is forged, or its repository's keys are in disorder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{valid} valid signatures by different keys, {threshold} are needed")]
pub struct ThresholdNotMet {
    /// Different keys with a valid signature.
    pub valid: u32,
    /// Different keys needed.
    pub threshold: u32,
}

impl Root {
    /// The keys of a role.
    pub const fn role(&self, role: Role) -> &RoleKeys {
        match role {
            Role::Root => &self.roles.root,
            Role::Timestamp => &self.roles.timestamp,
            Role::Snapshot => &self.roles.snapshot,
            Role::Targets => &self.roles.targets,
        }
    }

    /// Checks that enough different keys of its role signed `metadata`.
    ///
    /// A key counts once, however many signatures it made and however many ids it might go by.
    pub fn verify<T: RoleMetadata>(
        &self,
        metadata: &Signed<T>,
        verifier: &dyn Verifier,
    ) -> Result<(), ThresholdNotMet> {
        let RoleKeys { keyids, threshold } = self.role(T::ROLE);
        let mut counted: Vec<PublicKey> = Vec::new();
        for signature in metadata.signatures() {
            if !keyids.contains(&signature.keyid) {
                continue;
            }
            let Some(key) = self.keys.get(&signature.keyid).and_then(Key::to_public) else { continue };
            if counted.contains(&key) {
                continue;
            }
            if verifier.verify(&key, metadata.signed_bytes(), &signature.sig) == Verdict::Valid {
                counted.push(key);
            }
        }
        // At most 64 signatures are ever parsed.
        let valid = u32::try_from(counted.len()).unwrap_or(u32::MAX);
        if valid < *threshold { Err(ThresholdNotMet { valid, threshold: *threshold }) } else { Ok(()) }
    }
}

impl RoleMetadata for Root {
    const ROLE: Role = Role::Root;

    fn check(&self, verifier: &dyn Verifier) -> Result<(), MetadataError> {
        if !self.consistent_snapshot {
            return Err(MetadataError::NotConsistentSnapshot);
        }
        for role in Role::ALL {
            if self.role(role).threshold == 0 {
                return Err(MetadataError::ZeroThreshold(role));
            }
        }
        for (listed, key) in &self.keys {
            let computed = key.id(verifier);
            if computed != *listed {
                return Err(MetadataError::KeyId { listed: *listed, computed });
            }
        }
        Ok(())
    }
}
