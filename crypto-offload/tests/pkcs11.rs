//! Keys that never leave a token, against SoftHSM. Without softhsm2 nothing is checked, and the test says so.
#![cfg(feature = "pkcs11")]

mod softhsm;

use std::path::Path;
use std::sync::Arc;

use crypto_offload::job::{Cipher, PublicKey, Seal, SecretKey, SignatureScheme, Verdict};
use crypto_offload::pkcs11::{Module, Token, TokenError};
use crypto_offload::software::{aead, signature};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

const P256: SignatureScheme = SignatureScheme::EcdsaSha2Nistp256;
const RSA: SignatureScheme = SignatureScheme::RsaPssSha256;
const KEY: [u8; 32] = [7; 32];

#[test]
fn with_a_token_all_of_this_holds() {
    if std::env::var_os(softhsm::LIBRARY).is_none() {
        softhsm::run_again_with_a_token("with_a_token_all_of_this_holds");
    }
}

/// A token, and a session beside it to make keys with; `None` in the run without a token.
fn token() -> Option<(Token, Session)> {
    let library = std::env::var_os(softhsm::LIBRARY)?;
    let library = Path::new(&library);
    let pin = AuthPin::from(softhsm::PIN.to_owned());
    let token = Module::load(library).and_then(|module| module.open(softhsm::LABEL, &pin)).expect("a token");
    let beside = Pkcs11::new(library).expect("a library");
    let slot = beside.get_slots_with_initialized_token().expect("slots")[0];
    let session = beside.open_rw_session(slot).expect("a session");
    // The token's own login counts for the whole program.
    let _ = session.login(UserType::User, Some(&pin));
    Some((token, session))
}

fn key_pair(session: &Session, label: &str, mechanism: &Mechanism<'_>, public: Attribute) -> Vec<u8> {
    let label = Attribute::Label(label.as_bytes().to_vec());
    let public = [Attribute::Token(false), Attribute::Verify(true), label.clone(), public];
    let private = [
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        label,
    ];
    let (public, _) = session.generate_key_pair(mechanism, &public, &private).expect("a key pair");
    match session.get_attributes(public, &[AttributeType::EcPoint]).expect("attributes").first() {
        Some(Attribute::EcPoint(point)) => point[2..].to_vec(),
        _ => Vec::new(),
    }
}

fn p256_curve() -> Attribute {
    Attribute::EcParams(vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07])
}

fn p256_key(point: &[u8]) -> PublicKey {
    // SubjectPublicKeyInfo of a P-256 point (RFC 5480 clause 2).
    let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").expect("hex");
    PublicKey { scheme: P256, bytes: [&head, point].concat() }
}

#[test]
fn p256_signatures_of_a_token_are_good_for_everyone_else() {
    let Some((token, session)) = token() else { return };
    let point = key_pair(&session, "p256", &Mechanism::EccKeyPairGen, p256_curve());
    let signed = token.sign("p256", P256, b"message").expect("a signature");
    let key = p256_key(&point);
    assert_eq!(signature::verify(&key, b"message", &signed), Verdict::Valid);
    assert_eq!(token.verify("p256", P256, b"message", &signed).ok(), Some(Verdict::Valid));
    assert_eq!(token.verify("p256", P256, b"another", &signed).ok(), Some(Verdict::Invalid));
    assert_eq!(token.verify("p256", P256, b"message", b"noise").ok(), Some(Verdict::Invalid));
}

#[test]
fn rsa_signatures_of_a_token_are_checked_by_it() {
    let Some((token, session)) = token() else { return };
    key_pair(&session, "rsa", &Mechanism::RsaPkcsKeyPairGen, Attribute::ModulusBits(2048_u64.into()));
    let signed = token.sign("rsa", RSA, b"message").expect("a signature");
    assert_eq!(signed.len(), 256);
    assert_eq!(token.verify("rsa", RSA, b"message", &signed).ok(), Some(Verdict::Valid));
    assert_eq!(token.verify("rsa", RSA, b"another", &signed).ok(), Some(Verdict::Invalid));
    assert_eq!(token.verify("rsa", RSA, b"message", &signed[1..]).ok(), Some(Verdict::Invalid));
}

#[test]
fn a_content_key_is_unwrapped_by_a_key_that_stays_in_the_token() {
    let Some((token, session)) = token() else { return };
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Decrypt(true),
        Attribute::Label(b"kek".to_vec()),
        Attribute::Value(KEY.to_vec()),
    ];
    session.create_object(&template).expect("a key");
    let key = Arc::new(SecretKey::new(KEY.to_vec()));
    let seal = Seal { cipher: Cipher::Aes256Gcm, key, nonce: [3; 12], aad: b"for this vehicle".to_vec() };
    let mut wrapped = aead::seal(&seal, vec![9; 16]).expect("a key of the right length");
    assert_eq!(token.open("kek", seal.nonce, &seal.aad, &wrapped).ok(), Some(vec![9; 16]));
    assert!(matches!(token.open("kek", seal.nonce, b"another", &wrapped), Err(TokenError::TagMismatch)));
    assert!(matches!(token.open("kek", seal.nonce, &seal.aad, &[1; 15]), Err(TokenError::TagMismatch)));
    wrapped[3] ^= 1;
    assert!(matches!(token.open("kek", seal.nonce, &seal.aad, &wrapped), Err(TokenError::TagMismatch)));
    // It works on after a refusal.
    wrapped[3] ^= 1;
    assert!(token.open("kek", seal.nonce, &seal.aad, &wrapped).is_ok());
}

#[test]
fn what_is_not_there_is_named() {
    let Some((token, _session)) = token() else { return };
    assert!(matches!(token.sign("nobody", P256, b""), Err(TokenError::NoKey(label)) if label == "nobody"));
    assert!(matches!(
        token.sign("p256", SignatureScheme::Sm2Sm3, b""),
        Err(TokenError::Unsupported("sm2-sm3"))
    ));
    let library = std::env::var_os(softhsm::LIBRARY).expect("a run with a token");
    let module = Module::load(Path::new(&library)).expect("a library");
    let pin = AuthPin::from(softhsm::PIN.to_owned());
    assert!(matches!(module.open("another", &pin), Err(TokenError::NoToken(label)) if label == "another"));
    assert!(Module::load(Path::new("/nonexistent/library.so")).is_err());
}

/// A P-256 public key, as certificates are made for.
#[cfg(feature = "tls")]
struct Point(Vec<u8>);

#[cfg(feature = "tls")]
impl rcgen::PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_server_whose_key_stays_in_the_token_shakes_hands() {
    use crypto_offload::pkcs11::{KeyUri, TokenSigningKey};
    use crypto_offload::tls::international_provider;
    use rustls::pki_types::ServerName;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

    let Some((_token, session)) = token() else { return };
    let folder = tempfile::tempdir().expect("a directory");
    let pin = folder.path().join("pin");
    std::fs::write(&pin, format!("{}\n", softhsm::PIN)).expect("a file");
    let library = std::env::var(softhsm::LIBRARY).expect("a run with a token");
    let uri = |object: &str, pin: &Path| -> KeyUri {
        let (token, pin) = (softhsm::LABEL, pin.display());
        let text =
            format!("pkcs11:token={token};object={object}?module-path={library}&pin-source=file:{pin}");
        text.parse().expect("a URI")
    };
    let point = key_pair(&session, "tls", &Mechanism::EccKeyPairGen, p256_curve());
    let authority = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = parameters.self_signed(&authority).expect("a certificate").der().clone();
    let issuer = rcgen::Issuer::new(parameters, authority);
    let leaf = rcgen::CertificateParams::new(vec!["origin.example".to_owned()])
        .and_then(|parameters| parameters.signed_by(&Point(point), &issuer))
        .expect("a certificate")
        .der()
        .clone();
    let missing = TokenSigningKey::open(&uri("nobody", &pin), &pin, &leaf);
    assert!(matches!(missing, Err(TokenError::NoKey(label)) if label == "nobody"));
    let unread = TokenSigningKey::open(&uri("tls", &pin), &folder.path().join("none"), &leaf);
    assert!(matches!(unread, Err(TokenError::Pin(_))));
    let foreign = TokenSigningKey::open(&uri("tls", &pin), &pin, &root);
    assert!(matches!(foreign, Err(TokenError::Certificate)));
    let key = TokenSigningKey::open(&uri("tls", &pin), &pin, &leaf).expect("the key");

    let mut roots = RootCertStore::empty();
    roots.add(root).expect("a root");
    let provider = Arc::new(international_provider());
    let versions = &[&rustls::version::TLS13];
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![leaf], Arc::new(key)));
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    let name = ServerName::try_from("origin.example").expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).expect("memory");
        }
        server.read_tls(&mut flight.as_slice()).expect("memory");
        server.process_new_packets().expect("the client's flight");
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).expect("memory");
        }
        client.read_tls(&mut flight.as_slice()).expect("memory");
        client.process_new_packets().expect("the server's flight, signed by the token");
    }
}
