//! What a simulated ECU shows in TLS, from PEM files.

use crypto_offload::tls::Family;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::path::Path;
use std::sync::Arc;

/// TLS 1.3 with the chain in `certificate` and its `key`. With `ca`, testers have to show a certificate that it signed.
///
/// # Errors
/// A file that cannot be used, or that TLS refuses.
pub fn server_config(
    certificate: &Path,
    key: &Path,
    ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, TlsFileError> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let provider = Family::International.provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(ca)? {
                roots.add(certificate?)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?))
}

/// Why an ECU has no TLS; whoever wrote its bench file is at fault.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// Not a PEM file, or not there
    #[error("a PEM file cannot be used")]
    Pem(#[from] pem::Error),
    /// Certificate and key do not go together
    #[error("TLS refuses a certificate or a key")]
    Refused(#[from] rustls::Error),
    /// Nobody to trust
    #[error("no tester can be trusted")]
    Verifier(#[from] VerifierBuilderError),
}
