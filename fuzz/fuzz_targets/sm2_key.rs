//! SM2 keys in their files, from whoever wrote them: refused, or written back as a file of the same key.
#![no_main]

use crypto_offload::sm2::{PublicKey, SecretKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = PublicKey::from_spki_der(bytes) {
        assert_eq!(key.to_spki_der(), bytes);
    }
    if let Ok(key) = PublicKey::from_uncompressed(bytes) {
        assert_eq!(key.to_uncompressed(), bytes);
    }
    let text = std::str::from_utf8(bytes).ok().and_then(|text| SecretKey::from_pem(text).ok());
    let read = [SecretKey::from_pkcs8_der(bytes).ok(), SecretKey::from_sec1_der(bytes).ok(), text];
    for key in read.into_iter().flatten() {
        let again = SecretKey::from_pkcs8_der(&*key.to_pkcs8_der()).expect("own bytes can be read");
        assert_eq!(again.public_key(), key.public_key());
    }
});
