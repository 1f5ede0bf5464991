//! TLS 1.3 with client certificates, for both protocols.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, version};

/// Why no TLS configuration came about; always the fault of the files given.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not a PEM file of the right kind.
    #[error("cannot read {} as PEM: {source} (gateway-cloud publish keys makes such files)", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// The authority's certificate is not one.
    #[error("{} holds no usable certificate authority: {reason}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Certificate and key do not belong together.
    #[error("certificate {} and its key cannot be used: {source}", path.display())]
    Identity {
        /// The certificate's file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// The provider cannot do TLS 1.3.
    #[error("TLS 1.3 is not available: {0}")]
    Provider(rustls::Error),
}

/// A certificate and its key, both PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Certificate, followed by intermediate ones if any.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// A configuration that takes only clients with a certificate under `client_ca`, for the one protocol `alpn`.
pub(crate) fn server_config(
    identity: &Identity,
    client_ca: &Path,
    alpn: &[u8],
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let authority = |reason: String| TlsError::Authority { path: client_ca.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(client_ca)? {
        roots.add(certificate).map_err(|it| authority(it.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|it: VerifierBuilderError| authority(it.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|source| TlsError::Pem { path: identity.key.clone(), source })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .map_err(TlsError::Provider)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&identity.certificate)?, key)
        .map_err(|source| TlsError::Identity { path: identity.certificate.clone(), source })?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |source| TlsError::Pem { path: path.to_owned(), source };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(error)?.collect::<Result<_, _>>().map_err(error)?;
    if found.is_empty() { Err(error(pem::Error::NoItemsFound)) } else { Ok(found) }
}
