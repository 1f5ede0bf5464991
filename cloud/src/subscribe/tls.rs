//! TLS 1.3 to the broker: which suites, whom we trust, what we show.

use std::path::PathBuf;
use std::sync::Arc;

use crypto_offload::tls::{Family, Suites};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, version};

use crate::serve::{TlsError, certificates};

/// The PEM files of one end, and the policy.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The authorities that the broker's certificate may come from, both kinds in one file where both are allowed.
    pub ca: PathBuf,
    /// Certificate and key to show, one pair for each kind of key; none where the broker asks for none.
    pub identities: Vec<(PathBuf, PathBuf)>,
    /// Which suites to offer.
    pub suites: Suites,
}

/// Why TLS to the broker cannot be set up; always the fault of what was given.
#[derive(Debug, thiserror::Error)]
pub enum BrokerTlsError {
    /// `mqtts` without a word on whom to trust.
    #[error("mqtts needs the file of the authority that the broker's certificate comes from (--ca)")]
    NoAuthority,
    /// A PEM file is not one.
    #[error(transparent)]
    File(#[from] TlsError),
    /// TLS refuses the authority, or certificate and key together.
    #[error("TLS refuses the certificates given: {0}")]
    Rejected(#[from] rustls::Error),
}

/// One configuration for each family that the policy allows, in the order in which they are tried.
#[derive(Debug)]
pub(crate) struct BrokerTls {
    pub(crate) suites: Suites,
    pub(crate) attempts: Vec<(Family, Arc<ClientConfig>)>,
}

impl BrokerTls {
    pub(crate) fn new(files: Option<&TlsFiles>) -> Result<Self, BrokerTlsError> {
        let files = files.ok_or(BrokerTlsError::NoAuthority)?;
        let trusted = certificates(&files.ca)?;
        let attempt = |&family| Ok((family, Arc::new(client_config(family, &trusted, files)?)));
        let attempts = files.suites.families().iter().map(attempt).collect::<Result<_, BrokerTlsError>>()?;
        Ok(Self { suites: files.suites, attempts })
    }
}

/// TLS 1.3 only, the given authorities only, our certificate of this family shown where there is one.
fn client_config(
    family: Family,
    trusted: &[CertificateDer<'static>],
    files: &TlsFiles,
) -> Result<ClientConfig, BrokerTlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone())?;
    }
    let config = ClientConfig::builder_with_provider(family.provider())
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(roots);
    for (path, key) in &files.identities {
        let chain = certificates(path)?;
        if chain.first().and_then(Family::of_certificate) == Some(family) {
            let wrong = |source: pem::Error| TlsError::Pem { path: key.clone(), source };
            let key = PrivateKeyDer::from_pem_file(key).map_err(wrong)?;
            return Ok(config.with_client_auth_cert(chain, key)?);
        }
    }
    Ok(config.with_no_client_auth())
}
