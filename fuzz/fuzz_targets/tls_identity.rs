//! What a TLS identity is read from, as rustls hands it over: no bytes are two kinds of key, and none of them panics.
#![no_main]

use crypto_offload::sm2::SecretKey;
use crypto_offload::tls::{Family, sm_provider};
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

fuzz_target!(|bytes: &[u8]| {
    let keys = sm_provider().key_provider;
    let pkcs8 = keys.load_private_key(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(bytes.to_vec())));
    let sec1 = keys.load_private_key(PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(bytes.to_vec())));
    assert!(pkcs8.is_err() || sec1.is_err());
    if let Ok(key) = pkcs8 {
        let secret = SecretKey::from_pkcs8_der(bytes).expect("rustls was given this key");
        let spki = key.public_key().expect("an SM2 key has a public half");
        assert_eq!(spki.as_ref(), secret.public_key().to_spki_der());
    }
    let _ = Family::of_certificate(&CertificateDer::from(bytes));
});
