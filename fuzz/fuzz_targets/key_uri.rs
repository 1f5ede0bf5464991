//! URIs of keys in tokens, as a configuration names them: what is read is written back to the same meaning.
#![no_main]

use crypto_offload::pkcs11::{KeyUri, PinSource};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(uri) = text.parse::<KeyUri>() else { return };
    assert!(!uri.token.is_empty() && !uri.object.is_empty() && uri.module_path.is_absolute());
    match &uri.pin_source {
        PinSource::File(path) => assert!(path.is_absolute()),
        // It becomes a file name.
        PinSource::Credential(name) => assert!(!name.is_empty() && !name.contains('/') && name != ".."),
    }
    let written = uri.to_string();
    // Percent codes may make it longer than what is taken.
    if written.len() <= 1024 {
        assert_eq!(written.parse(), Ok(uri));
    }
});
