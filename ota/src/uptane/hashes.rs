//! Digests by several hash functions, as metadata lists them for every file.

use crypto_offload::job::{Digest, HashAlgorithm, Verifier};
use serde::{Deserialize, Serialize};

use crate::name::TargetName;

/// The digests of a file, by every function the metadata names that is known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HashesText", into = "HashesText")]
pub struct Hashes {
    sha256: Option<Digest>,
    sha512: Option<Digest>,
    sm3: Option<Digest>,
}

#[derive(Serialize, Deserialize)]
struct HashesText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha512: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sm3: Option<String>,
}

impl Hashes {
    /// The hash functions, in the order of preference for file names.
    pub const ALGORITHMS: [HashAlgorithm; 3] =
        [HashAlgorithm::Sha256, HashAlgorithm::Sha512, HashAlgorithm::Sm3];

    /// These digests; a digest of the wrong length for its function is left out.
    pub fn new(digests: impl IntoIterator<Item = (HashAlgorithm, Digest)>) -> Self {
        let mut hashes = Self::default();
        for (algorithm, digest) in digests {
            if digest.as_bytes().len() == algorithm.digest_len() {
                *hashes.slot(algorithm) = Some(digest);
            }
        }
        hashes
    }

    /// The digests of `bytes` by the functions that `self` names.
    pub fn same_functions(&self, bytes: &[u8], verifier: &dyn Verifier) -> Self {
        Self::new(self.iter().map(|(algorithm, _)| (algorithm, verifier.digest(algorithm, &[bytes]))))
    }

    /// Whether both name a function in common, and all those in common give the same digest.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let mut common = self.iter().filter_map(|(algorithm, digest)| Some((digest, other.by(algorithm)?)));
        common.next().is_some_and(|(a, b)| a == b) && common.all(|(a, b)| a == b)
    }

    /// Where a stored file with these digests lies below its repository; `None` without a known hash.
    pub(super) fn target_path(&self, name: &TargetName) -> Option<String> {
        let (_, digest) = self.iter().next()?;
        Some(format!("targets/{digest}.{name}"))
    }

    /// The digest by that function.
    pub const fn by(&self, algorithm: HashAlgorithm) -> Option<Digest> {
        match algorithm {
            HashAlgorithm::Sha256 => self.sha256,
            HashAlgorithm::Sha512 => self.sha512,
            HashAlgorithm::Sm3 => self.sm3,
        }
    }

    /// All of them, in the order of [`Hashes::ALGORITHMS`].
    pub fn iter(&self) -> impl Iterator<Item = (HashAlgorithm, Digest)> + '_ {
        Self::ALGORITHMS.into_iter().filter_map(|algorithm| Some((algorithm, self.by(algorithm)?)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    const fn slot(&mut self, algorithm: HashAlgorithm) -> &mut Option<Digest> {
        match algorithm {
            HashAlgorithm::Sha256 => &mut self.sha256,
            HashAlgorithm::Sha512 => &mut self.sha512,
            HashAlgorithm::Sm3 => &mut self.sm3,
        }
    }
}

impl TryFrom<HashesText> for Hashes {
    type Error = String;

    fn try_from(text: HashesText) -> Result<Self, String> {
        let mut hashes = Self::default();
        for (algorithm, text) in [
            (HashAlgorithm::Sha256, text.sha256),
            (HashAlgorithm::Sha512, text.sha512),
            (HashAlgorithm::Sm3, text.sm3),
        ] {
            if let Some(text) = text {
                *hashes.slot(algorithm) = Some(digest_from_hex(algorithm, &text)?);
            }
        }
        Ok(hashes)
    }
}

impl From<Hashes> for HashesText {
    fn from(hashes: Hashes) -> Self {
        let text = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
        Self { sha256: text(hashes.sha256), sha512: text(hashes.sha512), sm3: text(hashes.sm3) }
    }
}

/// A digest from its hex text; the message says what is wrong with it.
pub(super) fn digest_from_hex(algorithm: HashAlgorithm, text: &str) -> Result<Digest, String> {
    hex::decode(text)
        .ok()
        .filter(|bytes| bytes.len() == algorithm.digest_len())
        .and_then(|bytes| Digest::new(&bytes))
        .ok_or_else(|| {
            format!("{:?} is not a {} digest", text.chars().take(140).collect::<String>(), algorithm.name())
        })
}
