//! The words of the trade: algorithms, keys, jobs, completions.
//!
//! This module is all of the crate that sans-io cores may see. It does no cryptography.

pub(crate) mod der;
pub(crate) mod key_text;
pub(crate) mod pem;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use key_text::KeyTextError;

/// A hash function that metadata and chunk trees may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-256 (FIPS 180-4), 32 bytes.
    Sha256,
    /// SHA-512 (FIPS 180-4), 64 bytes.
    Sha512,
    /// SM3 (GB/T 32905-2016), 32 bytes.
    Sm3,
}

impl HashAlgorithm {
    /// Length of a digest in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha256 | Self::Sm3 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The name used in metadata: `sha256`, `sha512`, `sm3`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Sm3 => "sm3",
        }
    }

    /// The algorithm of that metadata name, or `None` where it is not one of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512, Self::Sm3].into_iter().find(|it| it.name() == name)
    }
}

/// An AEAD that may protect a chunk. Nonces are 12 bytes and tags 16 in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cipher {
    /// AES-128-GCM (NIST SP 800-38D).
    Aes128Gcm,
    /// AES-256-GCM (NIST SP 800-38D).
    Aes256Gcm,
    /// SM4-GCM (GB/T 32907-2016 in the mode of SP 800-38D, as RFC 8998 uses it).
    Sm4Gcm,
}

impl Cipher {
    /// Length of a nonce in bytes.
    pub const NONCE_LEN: usize = 12;
    /// Length of an authentication tag in bytes.
    pub const TAG_LEN: usize = 16;

    /// Length of a key in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Sm4Gcm => 16,
            Self::Aes256Gcm => 32,
        }
    }

    /// The name used in metadata: `aes-128-gcm`, `aes-256-gcm`, `sm4-gcm`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Sm4Gcm => "sm4-gcm",
        }
    }

    /// The cipher of that metadata name, or `None` where it is not one of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Aes128Gcm, Self::Aes256Gcm, Self::Sm4Gcm].into_iter().find(|it| it.name() == name)
    }
}

/// A signature scheme that metadata may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureScheme {
    /// Ed25519 (RFC 8032). Key: 32 raw bytes. Signature: 64 raw bytes.
    Ed25519,
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5). Key: SubjectPublicKeyInfo, DER. Signature: DER `SEQUENCE { r, s }`.
    EcdsaSha2Nistp256,
    /// RSASSA-PSS with SHA-256 and a 32-byte salt (RFC 8017), modulus of 2048 bits or more.
    /// Key: SubjectPublicKeyInfo, DER. Signature: as long as the modulus.
    RsaPssSha256,
    /// SM2 with SM3 (GB/T 32918.2-2016), user id `1234567812345678`. Key: 65 bytes, uncompressed point.
    /// Signature: DER `SEQUENCE { r, s }`.
    Sm2Sm3,
}

impl SignatureScheme {
    /// The name used in metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaSha2Nistp256 => "ecdsa-sha2-nistp256",
            Self::RsaPssSha256 => "rsassa-pss-sha256",
            Self::Sm2Sm3 => "sm2-sm3",
        }
    }

    /// The scheme of that metadata name, or `None` where it is not one of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ed25519, Self::EcdsaSha2Nistp256, Self::RsaPssSha256, Self::Sm2Sm3]
            .into_iter()
            .find(|it| it.name() == name)
    }
}

/// A digest of any of our hash functions. Equality takes the same time wherever two digests differ.
#[derive(Clone, Copy)]
pub struct Digest {
    bytes: [u8; 64],
    len: u8,
}

impl Digest {
    /// A digest from its bytes; `None` unless there are 32 or 64 of them.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let len = match bytes.len() {
            32 => 32,
            64 => 64,
            _ => return None,
        };
        let mut all = [0; 64];
        all[..bytes.len()].copy_from_slice(bytes);
        Some(Self { bytes: all, len })
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A secret key. Wiped when dropped; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey(Vec<u8>);

impl SecretKey {
    /// Takes ownership of the key's bytes.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The key's bytes, for the engine alone.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({} bytes)", self.0.len())
    }
}

/// A public key in the encoding that its scheme prescribes; see [`SignatureScheme`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The only scheme this key is for.
    pub scheme: SignatureScheme,
    /// The encoded key.
    pub bytes: Vec<u8>,
}

/// A hash computation that can be put down at any byte and taken up again, by another engine or after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashState {
    /// The hash function.
    pub algorithm: HashAlgorithm,
    /// Bytes hashed so far.
    pub hashed: u64,
    /// The function's midstate in the software engine's serialised form. Empty before the first byte.
    pub midstate: Vec<u8>,
}

impl HashState {
    /// A computation that has not seen a byte yet.
    pub const fn new(algorithm: HashAlgorithm) -> Self {
        Self { algorithm, hashed: 0, midstate: Vec::new() }
    }
}

/// How a chunk is sealed.
#[derive(Clone, Debug)]
pub struct Seal {
    /// The AEAD.
    pub cipher: Cipher,
    /// The image's content key.
    pub key: Arc<SecretKey>,
    /// Unique per chunk under this key.
    pub nonce: [u8; Cipher::NONCE_LEN],
    /// Bound to the ciphertext, not stored with it.
    pub aad: Vec<u8>,
}

/// Names a job between its submission and its completion. Unique per submitter, which chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One chunk on its way in: authenticated against the chunk tree, added to the whole-file hash, then opened.
///
/// The order is the contract: an engine opens nothing whose leaf did not match.
#[derive(Clone, Debug)]
pub struct ChunkOperation {
    /// Hash function of the chunk tree.
    pub tree_algorithm: HashAlgorithm,
    /// Hashed before the stored bytes, so that a leaf can stand for nothing but this chunk.
    pub leaf_prefix: Vec<u8>,
    /// What the leaf must be.
    pub expected_leaf: Digest,
    /// Whole-file hashes over the stored bytes, advanced by this chunk.
    pub running: Vec<HashState>,
    /// How to open it; `None` where the image is stored in the clear.
    pub seal: Option<Seal>,
    /// The stored bytes: ciphertext and tag, or the plain bytes.
    pub data: Vec<u8>,
}

/// What an engine is asked to do. Buffers belong to the job until its completion gives them back.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Authenticate and open one chunk.
    Chunk(ChunkOperation),
    /// Hash `data`.
    Digest {
        /// Hash function.
        algorithm: HashAlgorithm,
        /// What to hash.
        data: Vec<u8>,
    },
    /// Open `data` (ciphertext, then tag) in place.
    Open {
        /// Cipher, key, nonce, additional data.
        seal: Seal,
        /// Ciphertext and tag.
        data: Vec<u8>,
    },
    /// Check a signature.
    VerifySignature {
        /// Public key and scheme.
        key: PublicKey,
        /// The signed bytes, unhashed.
        message: Vec<u8>,
        /// The signature, in its scheme's encoding.
        signature: Vec<u8>,
    },
}

impl Operation {
    /// Bytes of data to work through, without keys and other small parts.
    pub fn len(&self) -> usize {
        match self {
            Self::Chunk(chunk) => chunk.data.len(),
            Self::Digest { data, .. } | Self::Open { data, .. } => data.len(),
            Self::VerifySignature { message, .. } => message.len(),
        }
    }

    /// Whether there is no data at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A unit of work for an engine.
#[derive(Clone, Debug)]
pub struct Job {
    /// Comes back with the completion.
    pub id: JobId,
    /// When the submitter stops waiting.
    pub deadline: Instant,
    /// What to do.
    pub operation: Operation,
}

/// The answer to a signature check.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The signature is the key holder's, over exactly this message.
    Valid,
    /// Anything else: wrong signature, malformed signature, unusable key.
    Invalid,
}

/// What an engine hands back for a job it carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The chunk is genuine: its plain bytes, in the buffer that was submitted.
    Chunk {
        /// Plain bytes.
        data: Vec<u8>,
        /// The whole-file hashes, advanced.
        running: Vec<HashState>,
    },
    /// The digest asked for.
    Digest(Digest),
    /// The opened bytes, in the buffer that was submitted.
    Opened(Vec<u8>),
    /// The signature's verdict.
    Signature(Verdict),
}

/// Why a job has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The data's fault: the stored bytes hash to another leaf than the signed tree says.
    #[error("chunk does not match the signed tree (leaf is {found}, expected {expected})")]
    LeafMismatch {
        /// What the tree says.
        expected: Digest,
        /// What the bytes hash to.
        found: Digest,
    },
    /// The data's or the key's fault: the authentication tag is wrong.
    #[error("authentication tag does not match ({0:?})")]
    TagMismatch(Cipher),
    /// The submitter's fault: a key of the wrong length for the cipher.
    #[error("{cipher:?} takes a key of {} bytes, this one has {found}", cipher.key_len())]
    KeyLength {
        /// The cipher.
        cipher: Cipher,
        /// Length of the key given.
        found: usize,
    },
    /// The submitter's fault: a hash midstate that is not one.
    #[error("hash midstate of {0:?} is damaged")]
    Midstate(HashAlgorithm),
    /// The engine's fault: it failed, or cannot do this operation.
    #[error("engine failed: {0}")]
    Engine(&'static str),
    /// The engine's fault: the deadline passed.
    #[error("engine did not answer in time")]
    Deadline,
}

/// A finished job.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The job's id.
    pub id: JobId,
    /// What came of it.
    pub result: Result<Outcome, JobError>,
}

/// Hashing and signature checks that are too small to queue: metadata, key ids, tree nodes.
///
/// Cores that may not do cryptography themselves take one of these as an argument.
pub trait Verifier {
    /// The digest of `parts`, hashed one after the other as if they were one message.
    fn digest(&self, algorithm: HashAlgorithm, parts: &[&[u8]]) -> Digest;

    /// Whether `signature` is `key`'s over `message`.
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Verdict;
}
