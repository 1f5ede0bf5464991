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

#[test]
fn p256_signatures_of_a_token_are_good_for_everyone_else() {
    let Some((token, session)) = token() else { return };
    let curve = Attribute::EcParams(vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    let point = key_pair(&session, "p256", &Mechanism::EccKeyPairGen, curve);
    let signed = token.sign("p256", P256, b"message").expect("a signature");
    // SubjectPublicKeyInfo of a P-256 point (RFC 5480 clause 2).
    let head = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let bytes = [hex::decode(head).expect("hex"), point].concat();
    let key = PublicKey { scheme: P256, bytes };
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
