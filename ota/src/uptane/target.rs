//! What targets metadata says of one image, and what a gateway needs to know on top (`custom`).

use std::collections::BTreeMap;

use crypto_offload::job::{Cipher, Digest, HashAlgorithm};
use serde::{Deserialize, Serialize};

use super::hashes::{Hashes, digest_from_hex};
use super::hex_text;
use crate::image::{ChunkLayout, LayoutError};
use crate::name::{
    CampaignId, EcuSerial, GroupName, HardwareIdentifier, KekId, Precondition, SoftwareVersion, TargetName,
    Vin,
};
use crate::stage::TraceId;
use crate::tree::{TreeError, TreeShape};

/// Entries that one list of a target may have.
const MAX_LIST: usize = 256;

/// A rule that a target breaks. Whoever published it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No hash that is known here.
    #[error("none of sha256, sha512, sm3 is listed")]
    NoHash,
    /// The length is not that of the chunks.
    #[error("length is {length}, its chunks take {stored} bytes")]
    Length {
        /// `length`.
        length: u64,
        /// What `chunks` adds up to.
        stored: u64,
    },
    /// No hardware could ever take it.
    #[error("no hardware id is listed")]
    NoHardware,
    /// A list is longer than any vehicle needs.
    #[error("{field} has {found} entries, at most {MAX_LIST} are allowed")]
    ListTooLong {
        /// The field.
        field: &'static str,
        /// Its entries.
        found: usize,
    },
    /// A wrapped key is nonce, ciphertext and tag.
    #[error("wrapped key has {found} bytes, expected {expected}")]
    WrappedKeyLength {
        /// What the cipher needs.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// A key for an image that is stored in the clear.
    #[error("a content key for an image that is not encrypted")]
    KeyWithoutCipher,
    /// A release counter that other readers of JSON would round.
    #[error("release counter {0} is above 2^53-1")]
    ReleaseCounter(u64),
}

/// One image, as targets metadata lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Bytes of the stored file.
    pub length: u64,
    /// Digests of the stored file.
    pub hashes: Hashes,
    /// What a gateway needs on top. Images without it can be listed, but not assigned to an ECU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<TargetCustom>,
}

impl Target {
    /// Where the stored file lies below the Image repository: `targets/<hash>.<name>`. `None` without a known hash.
    pub fn path(&self, name: &TargetName) -> Option<String> {
        self.hashes.target_path(name)
    }

    /// Where the chunk tree lies below the Image repository: `targets/<hash>.<name>.tree`.
    pub fn tree_path(&self, name: &TargetName) -> Option<String> {
        self.path(name).map(|path| path + ".tree")
    }

    /// Rules that span several fields.
    pub(super) fn check(&self) -> Result<(), TargetError> {
        if self.hashes.is_empty() {
            return Err(TargetError::NoHash);
        }
        let Some(custom) = &self.custom else { return Ok(()) };
        let stored = custom.chunks.layout.stored_size();
        if self.length != stored {
            return Err(TargetError::Length { length: self.length, stored });
        }
        custom.check()
    }
}

/// The `custom` object of a target. The last three fields stand in the Director's metadata only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetCustom {
    /// The kinds of hardware that can run the image. One or more.
    pub hardware_ids: Vec<HardwareIdentifier>,
    /// Never lower than what the ECU runs (Uptane 2.1, section 5.2.3.1).
    pub release_counter: u64,
    /// What the ECU shows its reader once the image runs.
    pub version: SoftwareVersion,
    /// How the image is stored.
    pub chunks: Chunks,
    /// The ECUs that are to install the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ecu_identifiers: BTreeMap<EcuSerial, EcuAssignment>,
    /// The image's content key, wrapped for this vehicle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_key: Option<WrappedKey>,
    /// When and under which conditions to install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<Install>,
}

impl TargetCustom {
    fn check(&self) -> Result<(), TargetError> {
        if self.hardware_ids.is_empty() {
            return Err(TargetError::NoHardware);
        }
        if self.release_counter >= 1 << 53 {
            return Err(TargetError::ReleaseCounter(self.release_counter));
        }
        for (field, found) in [
            ("hardware_ids", self.hardware_ids.len()),
            ("ecu_identifiers", self.ecu_identifiers.len()),
            ("preconditions", self.install.as_ref().map_or(0, |install| install.preconditions.len())),
        ] {
            if found > MAX_LIST {
                return Err(TargetError::ListTooLong { field, found });
            }
        }
        let Some(key) = &self.content_key else { return Ok(()) };
        let cipher = self.chunks.layout.cipher().ok_or(TargetError::KeyWithoutCipher)?;
        let expected = Cipher::NONCE_LEN + cipher.key_len() + Cipher::TAG_LEN;
        if key.wrapped.len() != expected {
            return Err(TargetError::WrappedKeyLength { expected, found: key.wrapped.len() });
        }
        Ok(())
    }
}

/// How an image is stored: its chunks and the tree over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ChunksText", into = "ChunksText")]
pub struct Chunks {
    /// Sizes and cipher.
    pub layout: ChunkLayout,
    /// The hash tree.
    pub tree: TreeRoot,
}

#[derive(Serialize, Deserialize)]
struct ChunksText {
    plain_size: u64,
    chunk_size: u64,
    cipher: String,
    tree: TreeRoot,
}

/// The name of "no cipher" in metadata.
const NO_CIPHER: &str = "none";

impl TryFrom<ChunksText> for Chunks {
    type Error = String;

    fn try_from(text: ChunksText) -> Result<Self, String> {
        let cipher = match text.cipher.as_str() {
            NO_CIPHER => None,
            name => Some(Cipher::from_name(name).ok_or_else(|| format!("cipher {name:?} is unknown"))?),
        };
        let chunk_size = u32::try_from(text.chunk_size)
            .map_err(|_| LayoutError::ChunkSize(text.chunk_size).to_string())?;
        let layout =
            ChunkLayout::new(text.plain_size, chunk_size, cipher).map_err(|error| error.to_string())?;
        let chunks = Self { layout, tree: text.tree };
        chunks.shape().map_err(|error| error.to_string())?;
        Ok(chunks)
    }
}

impl From<Chunks> for ChunksText {
    fn from(chunks: Chunks) -> Self {
        Self {
            plain_size: chunks.layout.plain_size(),
            chunk_size: chunks.layout.chunk_size().into(),
            cipher: chunks.layout.cipher().map_or(NO_CIPHER, Cipher::name).to_owned(),
            tree: chunks.tree,
        }
    }
}

impl Chunks {
    /// The shape of the tree. Fails for a hash function that trees cannot use, which metadata cannot bring in.
    pub fn shape(&self) -> Result<TreeShape, TreeError> {
        TreeShape::new(self.layout.chunk_count(), self.tree.algorithm)
    }
}

/// The signed end of a chunk tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TreeRootText", into = "TreeRootText")]
pub struct TreeRoot {
    /// The hash function of leaves and nodes.
    pub algorithm: HashAlgorithm,
    /// The digest of the top node.
    pub root: Digest,
}

#[derive(Serialize, Deserialize)]
struct TreeRootText {
    algorithm: String,
    root: String,
}

impl TryFrom<TreeRootText> for TreeRoot {
    type Error = String;

    fn try_from(text: TreeRootText) -> Result<Self, String> {
        let algorithm = HashAlgorithm::from_name(&text.algorithm)
            .ok_or_else(|| format!("hash function {:?} is unknown", text.algorithm))?;
        Ok(Self { algorithm, root: digest_from_hex(algorithm, &text.root)? })
    }
}

impl From<TreeRoot> for TreeRootText {
    fn from(tree: TreeRoot) -> Self {
        Self { algorithm: tree.algorithm.name().to_owned(), root: tree.root.to_string() }
    }
}

/// One ECU that is to install a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcuAssignment {
    /// The hardware the Director believes the ECU to be.
    pub hardware_id: HardwareIdentifier,
}

/// A content key, encrypted for one vehicle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The vehicle's key-encryption key to open it with.
    pub kek: KekId,
    /// Nonce (12 bytes), ciphertext, tag (16 bytes); hex in JSON.
    #[serde(with = "hex_text")]
    pub wrapped: Vec<u8>,
}

impl WrappedKey {
    /// What the wrapping is bound to: the vehicle and the target.
    pub fn aad(vin: &Vin, name: &TargetName) -> Vec<u8> {
        [b"gatewayd content key 1", vin.as_str().as_bytes(), b"\0", name.as_str().as_bytes()].concat()
    }
}

/// When and under which conditions an image is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    /// Lower orders are installed first; equal ones at the same time.
    pub order: u32,
    /// ECUs of one group are activated together or not at all.
    pub group: GroupName,
    /// What must hold before programming begins.
    #[serde(default)]
    pub preconditions: Vec<Precondition>,
}

/// The `custom` object of the Director's targets metadata: for whom and for which campaign it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignInfo {
    /// The only vehicle the metadata is for.
    pub vin: Vin,
    /// The campaign.
    pub campaign: CampaignId,
    /// Goes with every request, log line, event and span of the campaign.
    pub ota_trace_id: TraceId,
}
