//! What the suites of RFC 8998 cost in TLS 1.3, against P-256 with AES-128-GCM by ring: CPU time of both ends together,
//! in memory, on one core.
//!
//! Chains have one certificate and its authority. Every figure is the median of 21 samples, in which both families take
//! turns.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use crypto_offload::certificate::{self, Issuer, Template, Usage};
use crypto_offload::job::SignatureScheme;
use crypto_offload::signing::SigningKey;
use crypto_offload::tls::{TLS_SM4_CCM_SM3, sm_provider};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::clock::cpu_time;
use crate::report::{Goal, figure};

const SAMPLES: usize = 21;
/// Seconds.
const SAMPLE: f64 = 0.04;
/// The most that a handshake with SM suites may cost, by that of P-256.
const GOAL: f64 = 1.5;
const NAME: &str = "localhost";
const RECORD: usize = 1 << 14;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// One certificate for both ends.
struct Identity {
    ca: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// A family with its samples.
struct Contender {
    name: &'static str,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    handshakes: Vec<f64>,
    sends: Vec<f64>,
    receives: Vec<f64>,
}

/// All of it.
pub(crate) fn run() -> Outcome<()> {
    for mutual in [false, true] {
        let mut sm = Contender::new("sm", sm_provider(), &sm2_identity()?, mutual)?;
        let mut p256 = Contender::new("p256-ring", p256_provider(), &p256_identity()?, mutual)?;
        let mut ccm = sm_provider();
        ccm.cipher_suites.retain(|it| it.suite() == TLS_SM4_CCM_SM3);
        let mut ccm = Contender::new("sm-ccm", ccm, &sm2_identity()?, mutual)?;
        for _ in 0..SAMPLES {
            for contender in [&mut sm, &mut p256, &mut ccm] {
                contender.sample()?;
            }
        }
        let which = if mutual { "mutual" } else { "server-auth" };
        println!("# {which}: CPU time of both ends, one core, median of {SAMPLES} samples");
        for it in [&mut sm, &mut p256, &mut ccm] {
            let [time, send, receive] =
                [&mut it.handshakes, &mut it.sends, &mut it.receives].map(|it| median(it));
            println!("# {} handshake {:.1} us", it.name, time * 1e6);
            if !mutual {
                println!(
                    "# {} records of {RECORD} bytes: send {send:.0} MB/s, receive {receive:.0} MB/s",
                    it.name
                );
            }
        }
        let ratio = median(&mut sm.handshakes) / median(&mut p256.handshakes);
        figure(&format!("tls-handshake-{which}-sm-by-p256-ring"), ratio, "ratio", Goal::AtMost(GOAL));
    }
    Ok(())
}

impl Contender {
    fn new(name: &'static str, provider: CryptoProvider, identity: &Identity, mutual: bool) -> Outcome<Self> {
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add(identity.ca.clone())?;
        let roots = Arc::new(roots);
        let versions = &[&rustls::version::TLS13];
        let (chain, key) = (vec![identity.leaf.clone()], || identity.key.clone_key());
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?
            .with_root_certificates(roots.clone());
        let mut client = if mutual {
            client.with_client_auth_cert(chain.clone(), key())?
        } else {
            client.with_no_client_auth()
        };
        client.resumption = Resumption::disabled();
        let server =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
        let server = if mutual {
            server.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots, provider).build()?,
            )
        } else {
            server.with_no_client_auth()
        };
        let mut server = server.with_single_cert(chain, key())?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let (client, server) = (Arc::new(client), Arc::new(server));
        Ok(Self { name, client, server, handshakes: Vec::new(), sends: Vec::new(), receives: Vec::new() })
    }

    fn sample(&mut self) -> Outcome<()> {
        let start = cpu_time();
        let mut count = 0_u32;
        while cpu_time() - start < SAMPLE {
            self.connect()?;
            count += 1;
        }
        self.handshakes.push((cpu_time() - start) / f64::from(count));

        let (mut client, mut server) = self.connect()?;
        let (mut sent, mut received, mut bytes) = (0.0, 0.0, 0_u32);
        let (text, mut wire, mut heard) = (vec![0x5a; RECORD], Vec::new(), vec![0; RECORD]);
        while sent + received < SAMPLE {
            let start = cpu_time();
            client.writer().write_all(&text)?;
            wire.clear();
            client.write_tls(&mut wire)?;
            let half = cpu_time();
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest)?;
                server.process_new_packets()?;
            }
            server.reader().read_exact(&mut heard)?;
            sent += half - start;
            received += cpu_time() - half;
            bytes += 1 << 14;
        }
        self.sends.push(f64::from(bytes) / 1e6 / sent);
        self.receives.push(f64::from(bytes) / 1e6 / received);
        Ok(())
    }

    /// A whole handshake, both ends.
    fn connect(&self) -> Outcome<(ClientConnection, ServerConnection)> {
        let mut client = ClientConnection::new(self.client.clone(), ServerName::try_from(NAME)?)?;
        let mut server = ServerConnection::new(self.server.clone())?;
        let mut wire = Vec::new();
        while client.is_handshaking() || server.is_handshaking() || client.wants_write() {
            wire.clear();
            while client.wants_write() {
                client.write_tls(&mut wire)?;
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest)?;
            }
            server.process_new_packets()?;
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire)?;
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest)?;
            }
            client.process_new_packets()?;
        }
        Ok((client, server))
    }
}

fn sm2_identity() -> Outcome<Identity> {
    let ca_key = SigningKey::generate(SignatureScheme::Sm2Sm3)?;
    let leaf_key = SigningKey::generate(SignatureScheme::Sm2Sm3)?;
    let issuer = Issuer { common_name: "authority", key: &ca_key };
    let issue = |key: &SigningKey, common_name: &str, usage| -> Outcome<_> {
        let (not_before, not_after) = certificate::validity_from_now(Duration::from_secs(86_400));
        let template = Template { common_name: common_name.to_owned(), not_before, not_after, usage };
        Ok(CertificateDer::from(certificate::issue(&template, &key.public()?, &issuer)?))
    };
    let usage = Usage::Both(vec![NAME.to_owned()]);
    let key = PrivateKeyDer::from_pem_slice(leaf_key.to_pkcs8_pem()?.as_bytes())?;
    Ok(Identity {
        ca: issue(&ca_key, "authority", Usage::Authority)?,
        leaf: issue(&leaf_key, "both", usage)?,
        key,
    })
}

fn p256_identity() -> Outcome<Identity> {
    let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let certificate = ca.self_signed(&ca_key)?;
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let leaf = CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    Ok(Identity { ca: certificate.der().clone(), leaf: leaf.der().clone(), key })
}

fn p256_provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites.retain(|it| it.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider.kx_groups = vec![ring::kx_group::SECP256R1];
    provider
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
