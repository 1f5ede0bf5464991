//! An SM2 signature from whoever signs: refused, or the one DER spelling of what was read; and judged alike with a
//! prepared key and without.
#![no_main]

use std::sync::LazyLock;

use crypto_offload::sm2::{PreparedKey, SecretKey, Signature, UserId};
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<PreparedKey> =
    LazyLock::new(|| PreparedKey::new(SecretKey::from_be_bytes(&[7; 32]).expect("in range").public_key()));

fuzz_target!(|bytes: &[u8]| {
    let Ok(signature) = Signature::from_der(bytes) else { return };
    assert_eq!(signature.to_der(), bytes);
    assert_eq!(Signature::from_be_bytes(&signature.to_be_bytes()), Ok(signature));
    let plain = KEY.key().verify(UserId::DEFAULT, &[b"message"], &signature);
    assert_eq!(KEY.verify(UserId::DEFAULT, &[b"message"], &signature), plain);
});
