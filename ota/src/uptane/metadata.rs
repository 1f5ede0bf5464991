//! The four roles of TUF 1.0 as types, read and written by the same code.

use std::fmt;

use crypto_offload::job::Verifier;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::{self, Bounds, NotCanonical, ParseError};
use super::key::KeyId;
use super::target::TargetError;
use super::time::UtcTime;
use super::{TargetName, Vin, hex_text};

mod roles;
mod root;

pub use roles::{MetaFile, Snapshot, Targets, Timestamp};
pub use root::{RoleKeys, Root, RootRoles, ThresholdNotMet};

/// Signatures that one file may carry. Each costs a signature check, so there must be a bound.
const MAX_SIGNATURES: usize = 64;

/// The specification version written in new files.
const SPEC_VERSION: &str = "1.0.31";

/// The two repositories of Uptane 2.1, section 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repository {
    /// Says what this vehicle is to install.
    Director,
    /// Says what images there are.
    Image,
}

impl Repository {
    /// The repository's folder on the static file server, for one vehicle: `director/<vin>` or `image`.
    pub fn folder(self, vin: &Vin) -> String {
        match self {
            Self::Director => format!("director/{vin}"),
            Self::Image => "image".to_owned(),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Director => "director",
            Self::Image => "image",
        })
    }
}

/// The top-level roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Names the keys of all roles.
    Root,
    /// Names the newest snapshot.
    Timestamp,
    /// Names the newest version of every targets file.
    Snapshot,
    /// Names the images.
    Targets,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Timestamp, Self::Snapshot, Self::Targets];

    /// The name in `_type` and in file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }

    /// The name by which other metadata lists this role's file: `targets.json`.
    pub fn listed_name(self) -> String {
        format!("{}.json", self.name())
    }

    /// The name under which the repository stores that version: `7.targets.json`, but `timestamp.json`.
    pub fn file_name(self, version: u64) -> String {
        match self {
            Self::Timestamp => self.listed_name(),
            _ => format!("{version}.{}.json", self.name()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes are not metadata of a role. Whoever wrote the repository is at fault.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Not acceptable as JSON.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A number that is no integer.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// A field is missing, of the wrong type, or breaks its rule.
    #[error("a field does not follow its format")]
    Fields(#[source] serde_json::Error),
    /// Metadata of another role.
    #[error("`_type` is {found:?}, expected {expected}")]
    WrongType {
        /// The role asked for.
        expected: Role,
        /// What the file says it is.
        found: String,
    },
    /// A specification other than 1.x.
    #[error("specification version {0:?} is not 1.x")]
    SpecVersion(String),
    /// Versions begin at 1 and end where JSON integers of common readers end.
    #[error("version {0} is not between 1 and 2^53-1")]
    Version(u64),
    /// More signatures than anyone needs.
    #[error("{found} signatures, at most {MAX_SIGNATURES} are checked")]
    TooManySignatures {
        /// Signatures in the file.
        found: usize,
    },
    /// A key stands under an id that is not its own.
    #[error("key {listed} has the id {computed}")]
    KeyId {
        /// The id it stands under.
        listed: KeyId,
        /// The id computed from it.
        computed: KeyId,
    },
    /// A threshold of zero would let anyone sign.
    #[error("the threshold of {0} is zero")]
    ZeroThreshold(Role),
    /// File names without their version cannot be updated consistently.
    #[error("`consistent_snapshot` is not true")]
    NotConsistentSnapshot,
    /// The file delegates, and delegations are not followed here.
    #[error("delegations are not supported")]
    Delegations,
    /// The file lists nothing under the name it exists to list.
    #[error("{0:?} is not listed")]
    NotListed(String),
    /// A target breaks a rule that spans several of its fields.
    #[error("target {name}")]
    Target {
        /// The target.
        name: TargetName,
        /// The rule.
        #[source]
        source: TargetError,
    },
}

/// A signature over the canonical form of `signed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Who signed.
    pub keyid: KeyId,
    /// The signature in its scheme's encoding; hex in JSON.
    #[serde(with = "hex_text")]
    pub sig: Vec<u8>,
}

/// What the four roles have in common. Sealed: TUF has no others at the top level.
pub trait RoleMetadata: Serialize + DeserializeOwned + sealed::Sealed {
    /// Which role this is.
    const ROLE: Role;

    /// Rules that span several fields.
    #[doc(hidden)]
    fn check(&self, verifier: &dyn Verifier) -> Result<(), MetadataError>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Root {}
    impl Sealed for super::Timestamp {}
    impl Sealed for super::Snapshot {}
    impl Sealed for super::Targets {}
}

/// A metadata file: the role's own fields, version and expiry, and signatures over their canonical form.
///
/// Having one says that it is well formed, not that its signatures were checked: [`Root::verify`] does that. What was
/// signed is kept as it came, with fields that nobody here knows, so a file can be written again and stay signed.
#[derive(Clone, Debug)]
pub struct Signed<T> {
    version: u64,
    expires: UtcTime,
    body: T,
    signed: Value,
    signed_bytes: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    signatures: Vec<Signature>,
    signed: Value,
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "_type")]
    role: String,
    spec_version: String,
    version: u64,
    expires: UtcTime,
}

#[derive(Serialize)]
struct WithHeader<'a, T> {
    #[serde(flatten)]
    header: Header,
    #[serde(flatten)]
    body: &'a T,
}

impl<T: RoleMetadata> Signed<T> {
    /// New metadata, not signed yet. The verifier computes key ids.
    pub fn new(
        version: u64,
        expires: UtcTime,
        body: T,
        verifier: &dyn Verifier,
    ) -> Result<Self, MetadataError> {
        let header = Header {
            role: T::ROLE.name().to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version,
            expires,
        };
        let signed =
            serde_json::to_value(WithHeader { header, body: &body }).map_err(MetadataError::Fields)?;
        // Read back what was written: a publisher must not be able to make what a vehicle refuses.
        Self::from_parts(signed, Vec::new(), verifier)
    }

    /// Reads a metadata file. The verifier computes key ids and checks no signature.
    pub fn parse(bytes: &[u8], bounds: Bounds, verifier: &dyn Verifier) -> Result<Self, MetadataError> {
        let value = canonical::parse(bytes, bounds)?;
        let envelope: Envelope = serde_json::from_value(value).map_err(MetadataError::Fields)?;
        Self::from_parts(envelope.signed, envelope.signatures, verifier)
    }

    fn from_parts(
        signed: Value,
        signatures: Vec<Signature>,
        verifier: &dyn Verifier,
    ) -> Result<Self, MetadataError> {
        if signatures.len() > MAX_SIGNATURES {
            return Err(MetadataError::TooManySignatures { found: signatures.len() });
        }
        let header = Header::deserialize(&signed).map_err(MetadataError::Fields)?;
        if header.role != T::ROLE.name() {
            return Err(MetadataError::WrongType { expected: T::ROLE, found: header.role });
        }
        if !header.spec_version.starts_with("1.") {
            return Err(MetadataError::SpecVersion(header.spec_version));
        }
        if !(1..1 << 53).contains(&header.version) {
            return Err(MetadataError::Version(header.version));
        }
        let body: T = serde_json::from_value(signed.clone()).map_err(MetadataError::Fields)?;
        body.check(verifier)?;
        let signed_bytes = canonical::to_canonical(&signed)?;
        Ok(Self { version: header.version, expires: header.expires, body, signed, signed_bytes, signatures })
    }
}

impl<T> Signed<T> {
    /// The role's version, 1 or more.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The first second at which this is no longer valid.
    pub const fn expires(&self) -> UtcTime {
        self.expires
    }

    /// The role's own fields.
    pub const fn body(&self) -> &T {
        &self.body
    }

    /// What signatures are made over: the canonical form of `signed`.
    pub fn signed_bytes(&self) -> &[u8] {
        &self.signed_bytes
    }

    /// The signatures, checked or not.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature; `sign` gets the bytes to sign. A second one by the same key replaces the first.
    pub fn sign_with(&mut self, mut sign: impl FnMut(&[u8]) -> (KeyId, Vec<u8>)) {
        let (keyid, sig) = sign(&self.signed_bytes);
        self.signatures.retain(|signature| signature.keyid != keyid);
        self.signatures.push(Signature { keyid, sig });
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MetadataError> {
        let envelope = Envelope { signatures: self.signatures.clone(), signed: self.signed.clone() };
        let value = serde_json::to_value(envelope).map_err(MetadataError::Fields)?;
        Ok(canonical::to_file(&value)?)
    }
}
