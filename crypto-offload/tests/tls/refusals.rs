//! Handshakes that must not stand.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crypto_offload::certificate::{self, Issuer, Template, Usage};
use crypto_offload::job::SignatureScheme;
use crypto_offload::signing::SigningKey;
use crypto_offload::tls::{
    CURVE_SM2, Family, Negotiated, SM2SIG_SM3, Suites, TLS_SM4_CCM_SM3, TLS_SM4_GCM_SM3, sm_provider,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey as TlsKey, SingleCertAndKey};
use rustls::{
    AlertDescription, CertificateError, CipherSuite, Error, NamedGroup, PeerMisbehaved, SignatureAlgorithm,
};

use super::support::{Failure, Hierarchy, NAME, Pair, international, only};

fn run(client: rustls::ClientConfig, server: rustls::ServerConfig) -> Failure {
    Pair::new(&Arc::new(client), &Arc::new(server)).drive().expect_err("must be refused")
}

#[test]
fn families_do_not_meet() {
    let pki = Hierarchy::new();
    // SM-only towards a server that has nothing of it, and the other way round.
    let server = pki.server(sm_provider(), false);
    let failure = run(pki.client(international(), false), server);
    assert!(matches!(&failure, Failure::Server(Error::PeerIncompatible(_))), "{failure:?}");
    let mut server = pki.server(sm_provider(), false);
    server = {
        let mut other = rustls::ServerConfig::builder_with_provider(Arc::new(international()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(server.cert_resolver.clone());
        other.ignore_client_order = true;
        other
    };
    let failure = run(pki.client(sm_provider(), false), server);
    assert!(matches!(&failure, Failure::Server(Error::PeerIncompatible(_))), "{failure:?}");
}

#[test]
fn suites_that_do_not_meet_are_refused() {
    let pki = Hierarchy::new();
    let failure = run(pki.client(only(TLS_SM4_CCM_SM3), false), pki.server(only(TLS_SM4_GCM_SM3), false));
    assert!(matches!(&failure, Failure::Server(Error::PeerIncompatible(_))), "{failure:?}");
}

#[test]
fn a_client_without_certificate_is_told_that_one_is_required() {
    let pki = Hierarchy::new();
    let client = Arc::new(pki.client(sm_provider(), false));
    let mut pair = Pair::new(&client, &Arc::new(pki.server(sm_provider(), true)));
    let failure = pair.drive().unwrap_err();
    assert!(matches!(failure, Failure::Server(Error::NoCertificatesPresented)), "{failure:?}");
    let mut alert = Vec::new();
    pair.server.write_tls(&mut alert).unwrap();
    pair.client.read_tls(&mut alert.as_slice()).unwrap();
    let error = pair.client.process_new_packets().unwrap_err();
    assert_eq!(error, Error::AlertReceived(AlertDescription::CertificateRequired));
}

#[test]
fn certificates_of_another_authority_are_refused_on_either_side() {
    let (pki, stranger) = (Hierarchy::new(), Hierarchy::new());
    let failure = run(stranger.client(sm_provider(), false), pki.server(sm_provider(), false));
    assert!(
        matches!(
            &failure,
            Failure::Client(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            ))
        ),
        "{failure:?}"
    );
    let mut client = pki.client(sm_provider(), false);
    client.client_auth_cert_resolver = stranger.client(sm_provider(), true).client_auth_cert_resolver;
    let failure = run(client, pki.server(sm_provider(), true));
    assert!(
        matches!(
            &failure,
            Failure::Server(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            ))
        ),
        "{failure:?}"
    );
}

#[test]
fn a_certificate_for_another_name_usage_or_time_is_refused() {
    let pki = Hierarchy::new();
    let issue = |usage: Usage, not_after: u64| {
        let template = Template {
            common_name: "other".to_owned(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH + Duration::from_secs(not_after),
            usage,
        };
        let issuer = Issuer { common_name: "authority", key: &pki.ca.key };
        let der = certificate::issue(&template, &pki.server.key.public().unwrap(), &issuer).unwrap();
        let mut server = pki.server(sm_provider(), false);
        let key = sm_provider().key_provider.load_private_key(pki.server.private_key()).unwrap();
        let certified = CertifiedKey::new(vec![CertificateDer::from(der)], key);
        server.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        server
    };
    let names = |name: &str| Usage::Server(vec![name.to_owned()]);
    let late = 4_000_000_000;
    let mut pair =
        Pair::new(&Arc::new(pki.client(sm_provider(), false)), &Arc::new(issue(names(NAME), late)));
    pair.drive().unwrap();
    for (what, server) in [
        ("name", issue(names("other.example.com"), late)),
        ("usage", issue(Usage::Client, late)),
        ("time", issue(names(NAME), 1_000_000_000)),
    ] {
        let failure = run(pki.client(sm_provider(), false), server);
        assert!(matches!(failure, Failure::Client(Error::InvalidCertificate(_))), "{what}: {failure:?}");
    }
}

#[test]
fn one_bit_of_the_certificates_signature_counts() {
    let pki = Hierarchy::new();
    let mut der = pki.server.certificate.to_vec();
    *der.last_mut().unwrap() ^= 1;
    let key = sm_provider().key_provider.load_private_key(pki.server.private_key()).unwrap();
    let certified = CertifiedKey::new(vec![CertificateDer::from(der)], key);
    let mut server = pki.server(sm_provider(), false);
    server.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    let failure = run(pki.client(sm_provider(), false), server);
    let expected = Error::InvalidCertificate(CertificateError::BadSignature);
    assert!(matches!(&failure, Failure::Client(error) if *error == expected), "{failure:?}");
}

/// Signs handshakes in some other way than RFC 8998 has it.
#[derive(Debug)]
struct Forger {
    key: Arc<SigningKey>,
    flip: bool,
    scheme: rustls::SignatureScheme,
}

impl TlsKey for Forger {
    fn choose_scheme(&self, _: &[rustls::SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(Self { key: self.key.clone(), flip: self.flip, scheme: self.scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Forger {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        // `SigningKey` signs under the user id of certificates.
        let mut signature = self.key.sign(message).unwrap();
        if self.flip {
            *signature.last_mut().unwrap() ^= 1;
        }
        Ok(signature)
    }

    fn scheme(&self) -> rustls::SignatureScheme {
        self.scheme
    }
}

fn forged(pki: &Hierarchy, flip: bool, scheme: rustls::SignatureScheme) -> Arc<SingleCertAndKey> {
    let key = SigningKey::from_pkcs8_pem(&pki.server.key.to_pkcs8_pem().unwrap()).unwrap();
    let forger = Arc::new(Forger { key: Arc::new(key), flip, scheme });
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![pki.server.certificate.clone()], forger)))
}

#[test]
fn a_handshake_signed_under_the_certificates_user_id_is_refused() {
    let pki = Hierarchy::new();
    for flip in [false, true] {
        let mut server = pki.server(sm_provider(), false);
        server.cert_resolver = forged(&pki, flip, SM2SIG_SM3);
        let failure = run(pki.client(sm_provider(), false), server);
        let expected = Error::InvalidCertificate(CertificateError::BadSignature);
        assert!(matches!(&failure, Failure::Client(error) if *error == expected), "{failure:?}");
    }
}

#[test]
fn a_handshake_signed_with_a_scheme_that_was_not_offered_is_refused() {
    let pki = Hierarchy::new();
    let mut server = pki.server(sm_provider(), false);
    server.cert_resolver = forged(&pki, false, rustls::SignatureScheme::ECDSA_NISTP256_SHA256);
    let failure = run(pki.client(sm_provider(), false), server);
    let expected = Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme);
    assert!(matches!(&failure, Failure::Client(error) if *error == expected), "{failure:?}");
}

#[test]
fn a_server_hello_with_another_suite_or_group_is_refused() {
    let pki = Hierarchy::new();
    // Of the ServerHello, in the clear: AES-128-GCM in the suite's place, X25519 in the group's.
    let swaps: [(&[u8], &[u8]); 2] = [
        (&[0x00, 0xc6, 0x00, 0x00], &[0x13, 0x01, 0x00, 0x00]),
        (&[0x00, 0x29, 0x00, 0x41], &[0x00, 0x1d, 0x00, 0x41]),
    ];
    for (from, to) in swaps {
        let client = Arc::new(pki.client(sm_provider(), false));
        let mut pair = Pair::new(&client, &Arc::new(pki.server(sm_provider(), false)));
        let mut found = false;
        let failure = pair.drive_with(|flight| {
            let head = flight.len().min(160);
            if let Some(at) = flight[..head].windows(4).position(|it| it == from).filter(|_| !found) {
                flight[at..at + 4].copy_from_slice(to);
                found = true;
            }
        });
        assert!(found);
        assert!(matches!(failure, Err(Failure::Client(Error::PeerMisbehaved(_)))), "{failure:?}");
    }
}

#[test]
fn a_key_share_off_the_curve_is_refused() {
    let pki = Hierarchy::new();
    let client = Arc::new(pki.client(sm_provider(), false));
    let mut pair = Pair::new(&client, &Arc::new(pki.server(sm_provider(), false)));
    let mut found = false;
    let failure = pair.drive_with(|flight| {
        let head = [0x00, 0x29, 0x00, 0x41, 0x04];
        if let Some(at) = flight.windows(5).position(|it| it == head).filter(|_| !found) {
            flight[at + 40] ^= 1;
            found = true;
        }
    });
    assert!(found);
    let expected = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);
    assert!(matches!(&failure, Err(Failure::Client(error)) if *error == expected), "{failure:?}");
}

#[test]
fn a_record_changed_on_its_way_ends_the_connection() {
    use std::io::Write as _;
    let pki = Hierarchy::new();
    for suite in [TLS_SM4_GCM_SM3, TLS_SM4_CCM_SM3] {
        let client = Arc::new(pki.client(only(suite), false));
        let mut pair = Pair::new(&client, &Arc::new(pki.server(sm_provider(), false)));
        pair.drive().unwrap();
        pair.server.writer().write_all(b"answer").unwrap();
        let failure = pair.drive_with(|flight| {
            if let Some(last) = flight.last_mut() {
                *last ^= 1;
            }
        });
        assert!(matches!(&failure, Err(Failure::Client(Error::DecryptError))), "{failure:?}");
    }
}

#[test]
fn damaged_foreign_and_exchanged_private_keys_are_refused() {
    let pki = Hierarchy::new();
    let load = |der: &[u8]| {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.to_vec()));
        sm_provider().key_provider.load_private_key(key)
    };
    let genuine = pki.server.private_key();
    let genuine = genuine.secret_der();
    assert!(load(genuine).is_ok());
    let p256 = SigningKey::generate(SignatureScheme::EcdsaSha2Nistp256).unwrap();
    let p256 = PrivateKeyDer::from_pem_slice(p256.to_pkcs8_pem().unwrap().as_bytes()).unwrap();
    assert!(load(p256.secret_der()).is_err());
    // Another scalar beside the same public key, and any truncation.
    let scalar = genuine.windows(2).position(|it| it == [0x04, 0x20]).unwrap() + 2;
    let mut exchanged = genuine.to_vec();
    exchanged[scalar + 31] ^= 1;
    assert!(load(&exchanged).is_err());
    for len in 0..genuine.len() {
        assert!(load(&genuine[..len]).is_err(), "{len}");
    }
    // A certificate of another key.
    let error = rustls::ServerConfig::builder_with_provider(Arc::new(sm_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pki.client.certificate.clone()], pki.server.private_key())
        .unwrap_err();
    assert!(matches!(error, Error::InconsistentKeys(_)), "{error:?}");
}

#[test]
fn mixtures_break_every_policy() {
    let aes = CipherSuite::TLS13_AES_128_GCM_SHA256;
    let (sm, international) = (Some(Family::Sm), Some(Family::International));
    let rows = [
        (TLS_SM4_GCM_SM3, CURVE_SM2, sm, [true, true, false]),
        (TLS_SM4_CCM_SM3, CURVE_SM2, None, [true, true, false]),
        (aes, NamedGroup::X25519, international, [false, true, true]),
        (aes, NamedGroup::X25519, None, [false, true, true]),
        (TLS_SM4_GCM_SM3, NamedGroup::X25519, sm, [false; 3]),
        (TLS_SM4_GCM_SM3, CURVE_SM2, international, [false; 3]),
        (aes, CURVE_SM2, international, [false; 3]),
        (aes, NamedGroup::X25519, sm, [false; 3]),
    ];
    for (suite, group, peer, expected) in rows {
        let found = Negotiated { suite, group, peer };
        let allowed = Suites::ALL.map(|policy| found.check(policy).is_ok());
        assert_eq!(allowed, expected, "{found:?}");
    }
}

#[test]
fn a_server_answers_in_the_family_that_is_offered_whole() {
    use rustls::SignatureScheme as Scheme;
    let suites = [CipherSuite::TLS13_AES_128_GCM_SHA256, TLS_SM4_GCM_SM3];
    let groups = [NamedGroup::X25519, CURVE_SM2];
    let schemes = [Scheme::ED25519, SM2SIG_SM3];
    let whole = |policy: Suites| policy.family_for(&suites, &groups, &schemes);
    assert_eq!(Suites::ALL.map(whole), [Family::Sm, Family::Sm, Family::International]);
    let preferred = Suites::SmPreferred;
    assert_eq!(preferred.family_for(&suites[..1], &groups, &schemes), Family::International);
    assert_eq!(preferred.family_for(&suites, &groups[..1], &schemes), Family::International);
    assert_eq!(preferred.family_for(&suites, &groups, &schemes[..1]), Family::International);
    for policy in Suites::ALL {
        assert_eq!(policy.name().parse(), Ok(policy));
    }
    assert!("SM-ONLY".parse::<Suites>().is_err());
}
