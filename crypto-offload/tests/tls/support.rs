//! Certificates, configurations, and two ends joined in memory.

use std::sync::Arc;
use std::time::Duration;

use crypto_offload::certificate::{self, Issuer, Template, Usage};
use crypto_offload::job::SignatureScheme;
use crypto_offload::signing::SigningKey;
use crypto_offload::tls::{Family, TLS_SM4_CCM_SM3, sm_provider};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

/// The name on the servers' certificates.
pub(crate) const NAME: &str = "origin.example.com";

/// A certificate and its private key.
pub(crate) struct Leaf {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: SigningKey,
}

impl Leaf {
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.to_pkcs8_pem().unwrap().as_bytes()).unwrap()
    }
}

/// An authority, a server and a client.
pub(crate) struct Hierarchy {
    pub(crate) ca: Leaf,
    pub(crate) server: Leaf,
    pub(crate) client: Leaf,
}

impl Hierarchy {
    pub(crate) fn new() -> Self {
        let key = SigningKey::generate(SignatureScheme::Sm2Sm3).unwrap();
        let issuer = Issuer { common_name: "authority", key: &key };
        let issue = |common_name: &str, usage, key: &SigningKey| {
            let (not_before, not_after) = certificate::validity_from_now(Duration::from_secs(86_400));
            let template = Template { common_name: common_name.to_owned(), not_before, not_after, usage };
            CertificateDer::from(certificate::issue(&template, &key.public().unwrap(), &issuer).unwrap())
        };
        let leaf = |common_name: &str, usage| {
            let key = SigningKey::generate(SignatureScheme::Sm2Sm3).unwrap();
            Leaf { certificate: issue(common_name, usage, &key), key }
        };
        let server = leaf("origin", Usage::Server(vec![NAME.to_owned(), "127.0.0.1".to_owned()]));
        let client = leaf("gateway", Usage::Client);
        let certificate = issue("authority", Usage::Authority, &key);
        Self { ca: Leaf { certificate, key }, server, client }
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate.clone()).unwrap();
        Arc::new(roots)
    }

    /// A client that trusts this authority and shows the client's certificate if `mutual`.
    pub(crate) fn client(&self, provider: CryptoProvider, mutual: bool) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots());
        if mutual {
            builder
                .with_client_auth_cert(vec![self.client.certificate.clone()], self.client.private_key())
                .unwrap()
        } else {
            builder.with_no_client_auth()
        }
    }

    /// A server that demands a client certificate if `mutual`.
    pub(crate) fn server(&self, provider: CryptoProvider, mutual: bool) -> ServerConfig {
        let provider = Arc::new(provider);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let builder = if mutual {
            let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        builder.with_single_cert(vec![self.server.certificate.clone()], self.server.private_key()).unwrap()
    }
}

/// The SM provider with one suite only.
pub(crate) fn only(suite: rustls::CipherSuite) -> CryptoProvider {
    let mut provider = sm_provider();
    provider.cipher_suites.retain(|it| it.suite() == suite);
    assert_eq!(provider.cipher_suites.len(), 1);
    provider
}

/// The SM provider that prefers CCM.
pub(crate) fn ccm_first() -> CryptoProvider {
    let mut provider = sm_provider();
    provider.cipher_suites.sort_by_key(|it| it.suite() != TLS_SM4_CCM_SM3);
    provider
}

/// Two ends.
pub(crate) struct Pair {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
}

/// Which end gave up, and why.
#[derive(Debug)]
pub(crate) enum Failure {
    Client(rustls::Error),
    Server(rustls::Error),
}

impl Pair {
    pub(crate) fn new(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Self {
        let name = ServerName::try_from(NAME).unwrap();
        Self {
            client: ClientConnection::new(client.clone(), name).unwrap(),
            server: ServerConnection::new(server.clone()).unwrap(),
        }
    }

    /// Carries bytes both ways until neither end has any, each flight changed by `tamper` on its way to the client.
    pub(crate) fn drive_with(&mut self, mut tamper: impl FnMut(&mut Vec<u8>)) -> Result<(), Failure> {
        self.carry(|from_server, flight| {
            if from_server {
                tamper(flight);
            }
        })
    }

    /// Carries bytes both ways until neither end has any. Each flight goes through `wire`, with whether it is the
    /// server's.
    pub(crate) fn carry(&mut self, mut wire: impl FnMut(bool, &mut Vec<u8>)) -> Result<(), Failure> {
        while self.client.wants_write() || self.server.wants_write() {
            let mut flight = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut flight).unwrap();
            }
            wire(false, &mut flight);
            feed(&flight, |bytes| self.server.read_tls(bytes).map(drop));
            self.server.process_new_packets().map_err(Failure::Server)?;
            let mut flight = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut flight).unwrap();
            }
            wire(true, &mut flight);
            feed(&flight, |bytes| self.client.read_tls(bytes).map(drop));
            self.client.process_new_packets().map_err(Failure::Client)?;
        }
        Ok(())
    }

    pub(crate) fn drive(&mut self) -> Result<(), Failure> {
        self.drive_with(|_| {})
    }

    /// A message there, another one back.
    pub(crate) fn exchange(&mut self) {
        self.exchange_over(|_, _| {});
    }

    /// The same through `wire`; see [`Pair::carry`].
    pub(crate) fn exchange_over(&mut self, wire: impl FnMut(bool, &mut Vec<u8>)) {
        use std::io::{Read as _, Write as _};
        self.client.writer().write_all(b"question").unwrap();
        self.server.writer().write_all(b"answer").unwrap();
        self.carry(wire).unwrap();
        let mut heard = [0; 8];
        self.server.reader().read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"question");
        let mut heard = [0; 6];
        self.client.reader().read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"answer");
    }
}

fn feed(flight: &[u8], mut read: impl FnMut(&mut &[u8]) -> std::io::Result<()>) {
    let mut rest = flight;
    while !rest.is_empty() {
        read(&mut rest).unwrap();
    }
}

/// A P-256 provider, where a test needs the other family.
pub(crate) fn international() -> CryptoProvider {
    CryptoProvider::clone(&Family::International.provider())
}
