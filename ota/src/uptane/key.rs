//! Keys as root metadata lists them, and the ids that are computed from them.

use std::fmt;
use std::str::FromStr;

use crypto_offload::job::{HashAlgorithm, PublicKey, SignatureScheme, Verifier};
use serde::{Deserialize, Serialize};

use super::canonical;

/// SHA-256 over the canonical form of the key it names (TUF 1.0, section 4.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 32]);

/// A key id that is not 64 lower-case hex digits. The sender is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 64 lower-case hex digits, this is {0:?}")]
pub struct KeyIdError(pub String);

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let mut id = [0; 32];
        // Upper case would be a second spelling of the same id, and ids must be unique as text too.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) || hex::decode_to_slice(text, &mut id).is_err()
        {
            return Err(KeyIdError(text.chars().take(80).collect()));
        }
        Ok(Self(id))
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyIdError;

    fn try_from(text: String) -> Result<Self, KeyIdError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key object of root metadata. Its text is kept as it came, because the key id is computed over it; a scheme that
/// is not one of ours is kept too, and simply never counts towards a threshold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    keytype: String,
    scheme: String,
    keyval: KeyValue,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeyValue {
    public: String,
}

impl Key {
    /// The key object for a public key.
    pub fn from_public(key: &PublicKey) -> Self {
        Self {
            keytype: key_type(key.scheme).to_owned(),
            scheme: key.scheme.name().to_owned(),
            keyval: KeyValue { public: key.to_tuf() },
        }
    }

    /// The public key, or `None` where the scheme is unknown here, does not go with the key type, or the text is no
    /// key.
    pub fn to_public(&self) -> Option<PublicKey> {
        let scheme = SignatureScheme::from_name(&self.scheme)?;
        // Older writers repeat the scheme as the key type of ECDSA keys.
        if self.keytype != key_type(scheme) && self.keytype != scheme.name() {
            return None;
        }
        PublicKey::from_tuf(scheme, &self.keyval.public).ok()
    }

    /// The id of this key.
    pub fn id(&self, verifier: &dyn Verifier) -> KeyId {
        let object = serde_json::json!({
            "keytype": self.keytype, "scheme": self.scheme, "keyval": { "public": self.keyval.public },
        });
        // Three strings always have a canonical form, and SHA-256 always has 32 bytes; an engine that lied about
        // either would yield an id that matches no key.
        let canonical = canonical::to_canonical(&object).unwrap_or_default();
        let digest = verifier.digest(HashAlgorithm::Sha256, &[&canonical]);
        KeyId(digest.as_bytes().try_into().unwrap_or_default())
    }
}

const fn key_type(scheme: SignatureScheme) -> &'static str {
    match scheme {
        SignatureScheme::Ed25519 => "ed25519",
        SignatureScheme::EcdsaSha2Nistp256 => "ecdsa",
        SignatureScheme::RsaPssSha256 => "rsa",
        SignatureScheme::Sm2Sm3 => "sm2",
    }
}
