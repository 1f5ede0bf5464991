//! TLS 1.3 with client certificates, for both protocols.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crypto_offload::tls::{Family, Suites};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, version};

use super::Config;
use crate::certs::CertificateFiles;

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
    /// The policy allows a family for which no certificate was given.
    #[error(
        "suites = \"{suites}\" needs a certificate for {family:?} suites (gateway-cloud publish keys makes both kinds)"
    )]
    Missing {
        /// The policy.
        suites: Suites,
        /// The family.
        family: Family,
    },
    /// The provider cannot do TLS 1.3.
    #[error("TLS 1.3 is not available: {0}")]
    Provider(rustls::Error),
}

/// What one family of suites needs.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The origin's certificate and key.
    pub identity: Identity,
    /// PEM file of the authority that gateways' certificates must come from.
    pub client_ca: PathBuf,
}

impl From<CertificateFiles> for Credentials {
    fn from(files: CertificateFiles) -> Self {
        let identity = Identity { certificate: files.server, key: files.server_key };
        Self { identity, client_ca: files.ca }
    }
}

/// A certificate and its key, both PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Certificate, followed by intermediate ones if any.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// One configuration for each family of the policy; which of them answers is decided by the ClientHello.
#[derive(Clone, Debug)]
pub(crate) struct Choice<T> {
    pub(crate) suites: Suites,
    sm: Option<T>,
    international: Option<T>,
}

impl<T> Choice<T> {
    /// `make` is called for each family that `suites` allows.
    pub(crate) fn new<E>(suites: Suites, mut make: impl FnMut(Family) -> Result<T, E>) -> Result<Self, E> {
        let mut choice = Self { suites, sm: None, international: None };
        for &family in suites.families() {
            *choice.slot(family) = Some(make(family)?);
        }
        Ok(choice)
    }

    /// The same choice between other things.
    pub(crate) fn try_map<U, E>(&self, mut map: impl FnMut(&T) -> Result<U, E>) -> Result<Choice<U>, E> {
        Ok(Choice {
            suites: self.suites,
            sm: self.sm.as_ref().map(&mut map).transpose()?,
            international: self.international.as_ref().map(&mut map).transpose()?,
        })
    }

    fn slot(&mut self, family: Family) -> &mut Option<T> {
        match family {
            Family::Sm => &mut self.sm,
            Family::International => &mut self.international,
        }
    }

    /// What answers this ClientHello.
    pub(crate) fn for_hello(&self, hello: &ClientHello<'_>) -> Option<&T> {
        match self.suites.family_for_hello(hello) {
            Family::Sm => self.sm.as_ref(),
            Family::International => self.international.as_ref(),
        }
    }

    /// Any of them, for what they have in common.
    pub(crate) fn any(&self) -> Option<&T> {
        self.sm.as_ref().or(self.international.as_ref())
    }
}

/// Configurations that take only clients with a certificate, for the one protocol `alpn`.
pub(crate) fn server_configs(config: &Config, alpn: &[u8]) -> Result<Choice<Arc<ServerConfig>>, TlsError> {
    let suites = config.suites;
    Choice::new(suites, |family| {
        let credentials = match family {
            Family::Sm => config.sm.as_ref(),
            Family::International => config.international.as_ref(),
        };
        let credentials = credentials.ok_or(TlsError::Missing { suites, family })?;
        server_config(family, credentials, alpn).map(Arc::new)
    })
}

fn server_config(family: Family, credentials: &Credentials, alpn: &[u8]) -> Result<ServerConfig, TlsError> {
    let Credentials { identity, client_ca } = credentials;
    let provider = family.provider();
    let authority = |reason: String| TlsError::Authority { path: client_ca.clone(), reason };
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

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |source| TlsError::Pem { path: path.to_owned(), source };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(error)?.collect::<Result<_, _>>().map_err(error)?;
    if found.is_empty() { Err(error(pem::Error::NoItemsFound)) } else { Ok(found) }
}
