//! Timestamp, snapshot and targets: what is current, and what there is.

use std::collections::BTreeMap;

use crypto_offload::job::Verifier;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MetadataError, Role, RoleMetadata};
use crate::name::TargetName;
use crate::uptane::hashes::Hashes;
use crate::uptane::target::{CampaignInfo, Target};

/// A line of timestamp or snapshot metadata: which version of a file is current.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    /// The file's version.
    pub version: u64,
    /// The file's length in bytes, where the repository says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The file's hashes, where the repository says them.
    #[serde(default, skip_serializing_if = "Hashes::is_empty")]
    pub hashes: Hashes,
}

/// Timestamp metadata: names the newest snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Meta", into = "Meta")]
pub struct Timestamp {
    /// The newest snapshot.
    pub snapshot: MetaFile,
}

/// Snapshot metadata: names the newest version of every targets file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Meta", into = "Meta")]
pub struct Snapshot {
    /// The top-level targets file.
    pub targets: MetaFile,
    /// All other files listed, by name; kept to see that none vanishes.
    pub others: BTreeMap<String, MetaFile>,
}

/// Targets metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// The images, by name.
    pub targets: BTreeMap<TargetName, Target>,
    /// The campaign, in the Director repository only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<CampaignInfo>,
    /// Kept only far enough to see that there are none.
    #[serde(default, skip_serializing)]
    delegations: Option<Delegations>,
}

impl Targets {
    /// Targets metadata without delegations.
    pub const fn new(targets: BTreeMap<TargetName, Target>, custom: Option<CampaignInfo>) -> Self {
        Self { targets, custom, delegations: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Delegations {
    #[serde(default)]
    keys: serde_json::Map<String, Value>,
    #[serde(default)]
    roles: Vec<Value>,
    #[serde(default)]
    succinct_roles: Option<Value>,
}

/// The `meta` object as it stands in JSON.
#[derive(Serialize, Deserialize)]
struct Meta {
    meta: BTreeMap<String, MetaFile>,
}

impl Meta {
    fn take(&mut self, role: Role) -> Result<MetaFile, MetadataError> {
        let name = role.listed_name();
        self.meta.remove(&name).ok_or(MetadataError::NotListed(name))
    }
}

impl TryFrom<Meta> for Timestamp {
    type Error = MetadataError;

    fn try_from(mut meta: Meta) -> Result<Self, MetadataError> {
        Ok(Self { snapshot: meta.take(Role::Snapshot)? })
    }
}

impl From<Timestamp> for Meta {
    fn from(timestamp: Timestamp) -> Self {
        Self { meta: BTreeMap::from([(Role::Snapshot.listed_name(), timestamp.snapshot)]) }
    }
}

impl TryFrom<Meta> for Snapshot {
    type Error = MetadataError;

    fn try_from(mut meta: Meta) -> Result<Self, MetadataError> {
        let targets = meta.take(Role::Targets)?;
        Ok(Self { targets, others: meta.meta })
    }
}

impl From<Snapshot> for Meta {
    fn from(snapshot: Snapshot) -> Self {
        let mut meta = snapshot.others;
        meta.insert(Role::Targets.listed_name(), snapshot.targets);
        Self { meta }
    }
}

impl RoleMetadata for Timestamp {
    const ROLE: Role = Role::Timestamp;

    fn check(&self, _: &dyn Verifier) -> Result<(), MetadataError> {
        Ok(())
    }
}

impl RoleMetadata for Snapshot {
    const ROLE: Role = Role::Snapshot;

    fn check(&self, _: &dyn Verifier) -> Result<(), MetadataError> {
        Ok(())
    }
}

impl RoleMetadata for Targets {
    const ROLE: Role = Role::Targets;

    fn check(&self, _: &dyn Verifier) -> Result<(), MetadataError> {
        if let Some(delegations) = &self.delegations
            && !(delegations.keys.is_empty()
                && delegations.roles.is_empty()
                && delegations.succinct_roles.is_none())
        {
            return Err(MetadataError::Delegations);
        }
        for (name, target) in &self.targets {
            target.check().map_err(|source| MetadataError::Target { name: name.clone(), source })?;
        }
        Ok(())
    }
}
