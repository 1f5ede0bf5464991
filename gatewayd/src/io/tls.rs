//! TLS 1.3 towards origin and broker: which suites, whom we trust, what we show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crypto_offload::tls::{Family, Suites};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

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
type Identity<'a> = (&'a Path, &'a Secret);

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
            identities.insert(0, (certificate, key));
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
            identities.insert(0, (certificate, key));
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
    let sm = part.sm_certificate.as_deref().zip(part.sm_key.as_ref());
    sm.into_iter().chain([(part.certificate.as_path(), &part.key)]).collect()
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
        let key_path = key.path(credentials).map_err(TlsError::Credential)?;
        let key = PrivateKeyDer::from_pem_file(&key_path)
            .map_err(|error| TlsError::File { path: key_path, reason: error.to_string() })?;
        let mut config = ClientConfig::builder_with_provider(family.provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        // One peer, a few tickets: the default keeps room for 256 servers.
        config.resumption = Resumption::in_memory_sessions(8);
        return Ok(config);
    }
    Err(TlsError::Missing { suites, family })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |reason: String| TlsError::File { path: path.to_owned(), reason };
    let list: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(error.to_string()))?
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if list.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(list) }
}
