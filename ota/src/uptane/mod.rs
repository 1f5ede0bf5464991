//! Uptane 2.1: metadata, targets, and the full verification that a Primary does.

pub mod canonical;
mod hashes;
pub(crate) mod hex_text;
mod key;
mod metadata;
mod target;
mod time;
pub mod verify;

pub use hashes::Hashes;
pub use key::{Key, KeyId, KeyIdError};
pub use metadata::{
    MetaFile, MetadataError, Repository, Role, RoleKeys, RoleMetadata, Root, RootRoles, Signature, Signed,
    Snapshot, Targets, ThresholdNotMet, Timestamp,
};
pub use target::{
    CampaignInfo, Chunks, EcuAssignment, Install, Target, TargetCustom, TargetError, TreeRoot, WrappedKey,
};
pub use time::{UtcTime, UtcTimeError};

pub use crate::name::{
    CampaignId, EcuSerial, GroupName, HardwareIdentifier, KekId, NameError, Precondition, SoftwareVersion,
    TargetName, Vin,
};
