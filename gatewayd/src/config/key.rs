//! Private keys for TLS: in a file, in a credential, or in a token that never gives them away.

use crypto_offload::pkcs11::{KeyUri, PinSource, UriError};
use serde::{Deserialize, Serialize};

use super::parts::Secret;

/// What a URI of a key in a token begins with (RFC 7512).
const SCHEME: &str = "pkcs11:";

/// Where a private key for TLS is kept; never the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum PrivateKey {
    /// In a PEM file, or a credential that holds one.
    Stored(Secret),
    /// In a PKCS#11 token: a P-256 key, written as `pkcs11:` URI.
    Token(Box<TokenKey>),
}

/// A key in a token, and where the token's PIN is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// Which key.
    pub uri: KeyUri,
    /// The PIN, in the first line.
    pub pin: Secret,
}

impl PrivateKey {
    /// The secret that the daemon itself reads for it: the key, or the PIN of its token.
    pub const fn secret(&self) -> &Secret {
        match self {
            Self::Stored(secret) => secret,
            Self::Token(key) => &key.pin,
        }
    }

    /// The key in a token, where it is in one.
    pub fn token(&self) -> Option<&TokenKey> {
        match self {
            Self::Stored(_) => None,
            Self::Token(key) => Some(key),
        }
    }
}

impl From<Secret> for PrivateKey {
    fn from(secret: Secret) -> Self {
        Self::Stored(secret)
    }
}

impl From<KeyUri> for PrivateKey {
    fn from(uri: KeyUri) -> Self {
        let pin = match &uri.pin_source {
            PinSource::File(path) => Secret::File(path.clone()),
            PinSource::Credential(name) => Secret::Credential(name.clone()),
        };
        Self::Token(Box::new(TokenKey { uri, pin }))
    }
}

impl TryFrom<String> for PrivateKey {
    type Error = UriError;

    fn try_from(text: String) -> Result<Self, UriError> {
        if text.starts_with(SCHEME) {
            return text.parse::<KeyUri>().map(Self::from);
        }
        Ok(Self::Stored(Secret::stored(&text)))
    }
}

impl From<PrivateKey> for String {
    fn from(key: PrivateKey) -> Self {
        match key {
            PrivateKey::Stored(secret) => secret.into(),
            PrivateKey::Token(key) => key.uri.to_string(),
        }
    }
}

/// A text that names no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token holds keys for cloud.key, mqtt.key and bus.key; this one is a file or credential:NAME")]
pub struct NotASecret;

impl TryFrom<String> for Secret {
    type Error = NotASecret;

    fn try_from(text: String) -> Result<Self, NotASecret> {
        if text.starts_with(SCHEME) { Err(NotASecret) } else { Ok(Self::stored(&text)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str =
        "pkcs11:token=vehicle;object=tls?module-path=/usr/lib/p11.so&pin-source=credential:gatewayd_pin";

    fn read(text: &str) -> Result<PrivateKey, UriError> {
        text.to_owned().try_into()
    }

    #[test]
    fn a_key_is_a_file_a_credential_or_in_a_token() {
        assert_eq!(read("/a/b").unwrap().secret(), &Secret::File("/a/b".into()));
        assert_eq!(read("credential:a").unwrap().secret(), &Secret::Credential("a".to_owned()));
        let key = read(URI).unwrap();
        assert_eq!(key.secret(), &Secret::Credential("gatewayd_pin".to_owned()));
        assert_eq!(key.token().unwrap().uri.object, "tls");
        for text in ["/a/b", "credential:a", URI] {
            assert_eq!(String::from(read(text).unwrap()), text);
        }
    }

    #[test]
    fn a_pin_in_the_configuration_is_refused_and_so_is_a_token_for_other_secrets() {
        let open = URI.replace("pin-source=credential:gatewayd_pin", "pin-value=1234");
        assert_eq!(read(&open), Err(UriError::PinValue));
        assert_eq!(Secret::try_from(URI.to_owned()), Err(NotASecret));
    }
}
