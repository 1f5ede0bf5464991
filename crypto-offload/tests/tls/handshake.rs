//! Handshakes that must stand.

use std::sync::{Arc, Mutex};

use crypto_offload::sm2::{PublicKey, SecretKey, Signature, UserId};
use crypto_offload::tls::{
    CURVE_SM2, Family, Negotiated, SignerError, Sm2Signer, Sm2SigningKey, SoftwareSigner, Suites,
    TLS_SM4_CCM_SM3, TLS_SM4_GCM_SM3, sm_provider,
};
use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{HandshakeKind, NamedGroup};

use super::support::{Hierarchy, Pair, ccm_first, only};

#[test]
fn both_suites_stand_with_and_without_a_client_certificate() {
    let pki = Hierarchy::new();
    for suite in [TLS_SM4_GCM_SM3, TLS_SM4_CCM_SM3] {
        for mutual in [false, true] {
            let client = Arc::new(pki.client(only(suite), mutual));
            let server = Arc::new(pki.server(sm_provider(), mutual));
            let mut pair = Pair::new(&client, &server);
            pair.drive().unwrap();
            pair.exchange();
            let seen = Negotiated::of(&pair.client).unwrap();
            assert_eq!((seen.suite, seen.group), (suite, CURVE_SM2));
            assert_eq!(seen.check(Suites::SmOnly), Ok(Family::Sm));
            let seen = Negotiated::of(&pair.server).unwrap();
            assert_eq!(seen.peer, mutual.then_some(Family::Sm));
            assert_eq!(seen.check(Suites::SmOnly), Ok(Family::Sm));
        }
    }
}

#[test]
fn the_server_follows_the_clients_order_of_suites() {
    let pki = Hierarchy::new();
    let server = Arc::new(pki.server(sm_provider(), false));
    for (provider, expected) in [(sm_provider(), TLS_SM4_GCM_SM3), (ccm_first(), TLS_SM4_CCM_SM3)] {
        let mut pair = Pair::new(&Arc::new(pki.client(provider, false)), &server);
        pair.drive().unwrap();
        assert_eq!(Negotiated::of(&pair.client).unwrap().suite, expected);
    }
}

#[test]
fn a_second_connection_resumes_with_a_stateful_and_with_a_stateless_server() {
    let pki = Hierarchy::new();
    for stateless in [false, true] {
        let mut server = pki.server(sm_provider(), true);
        if stateless {
            server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        }
        let (client, server) = (Arc::new(pki.client(sm_provider(), true)), Arc::new(server));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut pair = Pair::new(&client, &server);
            pair.drive().unwrap();
            pair.exchange();
            assert_eq!(pair.client.handshake_kind(), Some(expected), "stateless: {stateless}");
            // The session remembers whose certificates it began with.
            for end in [Negotiated::of(&pair.client), Negotiated::of(&pair.server)] {
                assert_eq!(end.unwrap().check(Suites::SmOnly), Ok(Family::Sm));
            }
        }
    }
}

#[test]
fn a_ticket_of_one_suite_resumes_with_the_other_for_they_share_their_hash() {
    let pki = Hierarchy::new();
    let server = Arc::new(pki.server(sm_provider(), false));
    let mut first = pki.client(only(TLS_SM4_GCM_SM3), false);
    first.resumption = Resumption::in_memory_sessions(4);
    let mut second = pki.client(only(TLS_SM4_CCM_SM3), false);
    second.resumption = first.resumption.clone();
    Pair::new(&Arc::new(first), &server).drive().unwrap();
    let mut pair = Pair::new(&Arc::new(second), &server);
    pair.drive().unwrap();
    assert_eq!(Negotiated::of(&pair.client).unwrap().suite, TLS_SM4_CCM_SM3);
}

#[test]
fn keys_are_updated_on_demand_from_either_end() {
    let pki = Hierarchy::new();
    for suite in [TLS_SM4_GCM_SM3, TLS_SM4_CCM_SM3] {
        let client = Arc::new(pki.client(only(suite), false));
        let server = Arc::new(pki.server(sm_provider(), false));
        let mut pair = Pair::new(&client, &server);
        pair.drive().unwrap();
        pair.client.refresh_traffic_keys().unwrap();
        pair.exchange();
        pair.server.refresh_traffic_keys().unwrap();
        pair.exchange();
        pair.exchange();
    }
}

#[test]
fn a_server_without_the_clients_share_asks_for_another_one() {
    // The client guesses X25519 first; the server knows curveSM2 only.
    let pki = Hierarchy::new();
    let mut mixed = sm_provider();
    mixed.kx_groups.insert(0, rustls::crypto::aws_lc_rs::kx_group::X25519);
    let client = Arc::new(pki.client(mixed, false));
    let mut pair = Pair::new(&client, &Arc::new(pki.server(sm_provider(), false)));
    pair.drive().unwrap();
    assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));
    assert_eq!(pair.client.negotiated_key_exchange_group().unwrap().name(), NamedGroup::Unknown(41));
}

/// A key that is kept elsewhere, and fails on demand.
#[derive(Debug)]
struct Token {
    inner: SoftwareSigner,
    answers: Mutex<u32>,
}

impl Sm2Signer for Token {
    fn public_key(&self) -> PublicKey {
        self.inner.public_key()
    }

    fn sign(&self, user_id: UserId<'_>, message: &[u8]) -> Result<Signature, SignerError> {
        let mut left = self.answers.lock().unwrap();
        *left = left.checked_sub(1).ok_or_else(|| SignerError("token was pulled".to_owned()))?;
        self.inner.sign(user_id, message)
    }
}

#[test]
fn a_key_may_live_elsewhere_and_its_failure_ends_the_handshake() {
    let pki = Hierarchy::new();
    let inner = SoftwareSigner::new(SecretKey::from_pem(&pki.server.key.to_pkcs8_pem().unwrap()).unwrap());
    let token = Arc::new(Token { inner, answers: Mutex::new(1) });
    let key = Arc::new(Sm2SigningKey::new(token));
    let certified = CertifiedKey::new(vec![pki.server.certificate.clone()], key);
    certified.keys_match().unwrap();
    let mut server = pki.server(sm_provider(), false);
    server.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    let (client, server) = (Arc::new(pki.client(sm_provider(), false)), Arc::new(server));
    let mut pair = Pair::new(&client, &server);
    pair.drive().unwrap();
    pair.exchange();
    let mut pki_client = pki.client(sm_provider(), false);
    pki_client.resumption = Resumption::disabled();
    let error = Pair::new(&Arc::new(pki_client), &server).drive().unwrap_err();
    assert!(format!("{error:?}").contains("token was pulled"), "{error:?}");
}
