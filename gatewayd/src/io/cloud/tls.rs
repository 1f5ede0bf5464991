//! Mutual TLS 1.3 towards the origin.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::parts::CloudPart;

/// Why the gateway cannot authenticate itself or the origin.
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
    /// The certificate and the key do not go together, or TLS refuses them.
    #[error("TLS refuses the gateway's certificate or key: {0}")]
    Rejected(#[from] rustls::Error),
}

/// TLS 1.3 only, the configured authority only, our own certificate shown.
pub(super) fn client_config(part: &CloudPart, credentials: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&part.ca)? {
        roots.add(certificate)?;
    }
    let key_path = part.key.path(credentials).map_err(TlsError::Credential)?;
    let key = PrivateKeyDer::from_pem_file(&key_path)
        .map_err(|error| TlsError::File { path: key_path, reason: error.to_string() })?;
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&part.certificate)?, key)?;
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |reason: String| TlsError::File { path: path.to_owned(), reason };
    let list: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(error.to_string()))?
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if list.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(list) }
}
