//! Every scheme signs what it verifies, and verifies nothing else.
#![cfg(feature = "signing")]

use crypto_offload::job::{PublicKey, SignatureScheme, Verdict, Verifier as _};
use crypto_offload::signing::{SigningError, SigningKey};
use crypto_offload::software::SoftwareVerifier;

const SCHEMES: [SignatureScheme; 4] = [
    SignatureScheme::Ed25519,
    SignatureScheme::EcdsaSha2Nistp256,
    SignatureScheme::RsaPssSha256,
    SignatureScheme::Sm2Sm3,
];

#[test]
fn a_signature_is_valid_for_its_key_and_message_only() {
    for scheme in SCHEMES {
        let key = SigningKey::generate(scheme).unwrap();
        let other = SigningKey::generate(scheme).unwrap().public().unwrap();
        let public = key.public().unwrap();
        let signature = key.sign(b"release 7").unwrap();

        assert_eq!(SoftwareVerifier.verify(&public, b"release 7", &signature), Verdict::Valid, "{scheme:?}");
        assert_eq!(SoftwareVerifier.verify(&public, b"release 8", &signature), Verdict::Invalid);
        assert_eq!(SoftwareVerifier.verify(&other, b"release 7", &signature), Verdict::Invalid);
        for wrong in [&signature[..signature.len() - 1], &[&signature[..], &[0]].concat(), &[]] {
            assert_eq!(SoftwareVerifier.verify(&public, b"release 7", wrong), Verdict::Invalid, "{scheme:?}");
        }
    }
}

#[test]
fn a_bit_flipped_anywhere_in_a_signature_makes_it_invalid() {
    for scheme in SCHEMES {
        let key = SigningKey::generate(scheme).unwrap();
        let public = key.public().unwrap();
        let signature = key.sign(b"release 7").unwrap();
        for byte in 0..signature.len() {
            let mut bad = signature.clone();
            bad[byte] ^= 1 << (byte % 8);
            assert_eq!(SoftwareVerifier.verify(&public, b"release 7", &bad), Verdict::Invalid, "{byte}");
        }
    }
}

#[test]
fn a_key_says_nothing_under_another_scheme() {
    for scheme in SCHEMES {
        let key = SigningKey::generate(scheme).unwrap();
        let signature = key.sign(b"release 7").unwrap();
        for other in SCHEMES.into_iter().filter(|&other| other != scheme) {
            let confused = PublicKey { scheme: other, ..key.public().unwrap() };
            assert_eq!(SoftwareVerifier.verify(&confused, b"release 7", &signature), Verdict::Invalid);
        }
    }
}

#[test]
fn keys_round_trip_through_pem_and_metadata() {
    for scheme in SCHEMES {
        let key = SigningKey::generate(scheme).unwrap();
        let public = key.public().unwrap();
        let again = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
        assert_eq!(again.public().unwrap(), public);
        assert_eq!(PublicKey::from_tuf(scheme, &public.to_tuf()), Ok(public));
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", scheme.name()));
    }
}

#[test]
fn files_that_are_not_one_of_our_private_keys_are_refused() {
    let key = SigningKey::generate(SignatureScheme::EcdsaSha2Nistp256).unwrap();
    let pem = key.to_pkcs8_pem().unwrap();
    let public = key.public().unwrap().to_tuf();
    assert!(matches!(SigningKey::from_pkcs8_pem(""), Err(SigningError::Pem)));
    assert!(matches!(SigningKey::from_pkcs8_pem(&public), Err(SigningError::Pem)));
    let relabelled = public.replace("PUBLIC", "PRIVATE");
    assert!(matches!(SigningKey::from_pkcs8_pem(&relabelled), Err(SigningError::Algorithm)));
    // One character inside the scalar's curve point, which then no longer is the scalar's.
    let at = pem.len() - 40;
    let mut damaged = pem.to_string();
    let other = if &damaged[at..=at] == "A" { "B" } else { "A" };
    damaged.replace_range(at..=at, other);
    assert!(matches!(
        SigningKey::from_pkcs8_pem(&damaged),
        Err(SigningError::Key(SignatureScheme::EcdsaSha2Nistp256))
    ));
}
