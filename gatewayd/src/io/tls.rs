//! TLS 1.3 towards origin and broker: which suites, whom we trust, what we show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crypto_offload::pkcs11::{TokenError, TokenSigningKey};
use crypto_offload::tls::{Family, Suites};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use crate::config::key::{PrivateKey, TokenKey};
use crate::config::parts::{BusPart, CloudPart, MqttPart, Secret};

/// Why the gateway cannot authenticate itself or its peer.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file is missing or holds something else.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A credential is not there.
    #[error("{0}")]
    Credential(String),
    /// The key is in a token, and the token does not sign with it.
    #[error("cannot use key {object:?} of token {token:?}: {reason}")]
    Token {
        /// Label of the token.
        token: String,
        /// Label of the key.
        object: String,
        /// What is wrong with it.
        reason: TokenError,
    },
    /// The configured URL is not one.
    #[error("cloud.url: {0}")]
    Url(String),
    /// The policy allows a family for which no certificate was given.
    #[error("suites = \"{suites}\" needs a certificate with {}, and none of the gateway's has one", kind(*.family))]
    Missing {
        /// The policy.
        suites: Suites,
        /// The family.
        family: Family,
    },
    /// The certificate and the key do not go together, or TLS refuses them.
    #[error("TLS refuses the gateway's certificate or key: {0}")]
    Rejected(#[from] rustls::Error),
}

const fn kind(family: Family) -> &'static str {
    match family {
        Family::Sm => "an SM2 key",
        Family::International => "a P-256, RSA or Ed25519 key",
    }
}

/// A PEM file with a chain, and where its key is.
type Identity<'a> = (&'a Path, KeyPlace<'a>);

#[derive(Clone, Copy)]
enum KeyPlace<'a> {
    Stored(&'a Secret),
    Token(&'a TokenKey),
}

impl<'a> From<&'a PrivateKey> for KeyPlace<'a> {
    fn from(key: &'a PrivateKey) -> Self {
        match key {
            PrivateKey::Stored(secret) => Self::Stored(secret),
            PrivateKey::Token(key) => Self::Token(key),
        }
    }
}

/// One configuration for each family that the policy allows, in the order in which they are tried.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// The policy, to be held against what a handshake came to.
    pub suites: Suites,
    /// What to connect with, one after the other.
    pub attempts: Vec<(Family, Arc<ClientConfig>)>,
}

impl ClientTls {
    /// What `[cloud]` says.
    ///
    /// # Errors
    /// [`TlsError`] names the file at fault.
    pub fn for_origin(part: &CloudPart, credentials: Option<&Path>) -> Result<Self, TlsError> {
        Self::new(part.suites, &part.ca, &own(part), credentials)
    }

    /// What `[mqtt]` says, and `[cloud]` where it does not.
    ///
    /// # Errors
    /// [`TlsError`] names the file at fault.
    pub fn for_broker(
        part: &MqttPart,
        cloud: &CloudPart,
        credentials: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let mut identities = own(cloud);
        if let (Some(certificate), Some(key)) = (&part.certificate, &part.key) {
            identities.insert(0, (certificate, key.into()));
        }
        Self::new(cloud.suites, part.ca.as_ref().unwrap_or(&cloud.ca), &identities, credentials)
    }

    /// What a `[[bus]]` says, and `[cloud]` where it does not.
    ///
    /// # Errors
    /// [`TlsError`] names the file at fault.
    pub fn for_entity(
        part: &BusPart,
        cloud: &CloudPart,
        credentials: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let mut identities = own(cloud);
        if let (Some(certificate), Some(key)) = (&part.certificate, &part.key) {
            identities.insert(0, (certificate, key.into()));
        }
        Self::new(cloud.suites, part.ca.as_ref().unwrap_or(&cloud.ca), &identities, credentials)
    }

    fn new(
        suites: Suites,
        ca: &Path,
        identities: &[Identity<'_>],
        credentials: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let trusted = certificates(ca)?;
        let mut attempts = Vec::new();
        for &family in suites.families() {
            let config = client_config(suites, family, &trusted, identities, credentials)?;
            attempts.push((family, Arc::new(config)));
        }
        Ok(Self { suites, attempts })
    }
}

fn own(part: &CloudPart) -> Vec<Identity<'_>> {
    let sm = part.sm_certificate.as_deref().zip(part.sm_key.as_ref().map(KeyPlace::Stored));
    sm.into_iter().chain([(part.certificate.as_path(), (&part.key).into())]).collect()
}

/// TLS 1.3 only, the configured authorities only, our own certificate of this family shown.
fn client_config(
    suites: Suites,
    family: Family,
    trusted: &[CertificateDer<'static>],
    identities: &[Identity<'_>],
    credentials: Option<&Path>,
) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone())?;
    }
    for (path, key) in identities {
        let chain = certificates(path)?;
        if chain.first().and_then(Family::of_certificate) != Some(family) {
            continue;
        }
        let builder = ClientConfig::builder_with_provider(family.provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match key {
            KeyPlace::Stored(secret) => builder.with_client_auth_cert(chain, stored(secret, credentials)?)?,
            KeyPlace::Token(key) => {
                let key = in_token(key, &chain, credentials)?;
                let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, Arc::new(key)));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        // One peer, a few tickets: the default keeps room for 256 servers.
        config.resumption = Resumption::in_memory_sessions(8);
        return Ok(config);
    }
    Err(TlsError::Missing { suites, family })
}

fn stored(secret: &Secret, credentials: Option<&Path>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let path = secret.path(credentials).map_err(TlsError::Credential)?;
    PrivateKeyDer::from_pem_file(&path).map_err(|error| TlsError::File { path, reason: error.to_string() })
}

/// The token is opened and has signed once when this returns.
fn in_token(
    TokenKey { uri, pin }: &TokenKey,
    chain: &[CertificateDer<'_>],
    credentials: Option<&Path>,
) -> Result<TokenSigningKey, TlsError> {
    let pin = pin.path(credentials).map_err(TlsError::Credential)?;
    // An empty chain has no family and does not come here.
    let leaf = chain.first().map_or(CertificateDer::from_slice(&[]), |leaf| CertificateDer::from_slice(leaf));
    TokenSigningKey::open(uri, &pin, &leaf).map_err(|reason| TlsError::Token {
        token: uri.token.clone(),
        object: uri.object.clone(),
        reason,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |reason: String| TlsError::File { path: path.to_owned(), reason };
    let list: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(error.to_string()))?
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if list.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(list) }
}
