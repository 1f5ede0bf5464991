//! Signature checks. Whatever is malformed is simply not valid: the caller learns nothing it could act on.

#[cfg(feature = "aws-lc")]
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};

use crate::job::{PublicKey, SignatureScheme, Verdict, der, key_text};
use crate::sm2::{self, UserId};

/// Whether `signature` is `key`'s over `message`.
///
/// Ed25519 is checked strictly: small-order keys and nonces are refused. For ECDSA and SM2 both numbers must lie
/// between 1 and the group order less 1, in DER without a spare byte. An ECDSA signature with a high `s` is genuine
/// (FIPS 186-5 clause 6.4.2) and accepted.
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> Verdict {
    let genuine = match key.scheme {
        SignatureScheme::Ed25519 => verify_ed25519(&key.bytes, message, signature),
        SignatureScheme::EcdsaSha2Nistp256 => verify_p256(&key.bytes, message, signature),
        SignatureScheme::RsaPssSha256 => verify_rsa(&key.bytes, message, signature),
        SignatureScheme::Sm2Sm3 => verify_sm2(UserId::DEFAULT, &key.bytes, message, signature),
    };
    if genuine.is_some() { Verdict::Valid } else { Verdict::Invalid }
}

fn verify_ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
    let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
    key.verify_strict(message, &signature).ok()
}

/// By AWS-LC, three times as fast as the `p256` crate.
#[cfg(feature = "aws-lc")]
fn verify_p256(spki: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let point = key_text::read_point(key_text::P256, spki)?;
    let both = der::read_signature(signature)?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &both).ok()
}

#[cfg(not(feature = "aws-lc"))]
fn verify_p256(spki: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    use p256::ecdsa::signature::Verifier as _;

    let point = key_text::read_point(key_text::P256, spki)?;
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
    let signature = p256::ecdsa::Signature::from_slice(&der::read_signature(signature)?).ok()?;
    key.verify(message, &signature).ok()
}

fn verify_rsa(spki: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = key_text::read_rsa(spki)?;
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key).verify(message, signature).ok()
}

fn verify_sm2(user_id: UserId<'_>, point: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = sm2::PublicKey::from_uncompressed(point).ok()?;
    let signature = sm2::Signature::from_der(signature).ok()?;
    (key.verify(user_id, &[message], &signature) == Verdict::Valid).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known_answer::{P256_POINT, P256_SIGNATURE, SM2_POINT, SM2_SIGNATURE};

    type Number = [u8; 32];

    const ZERO: Number = [0; 32];
    const MAX: Number = [0xff; 32];
    const SM2_MESSAGE: &[u8] = b"message digest";

    fn number(text: &str) -> Number {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    fn sm2_order() -> Number {
        number("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123")
    }

    fn p256_order() -> Number {
        number("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
    }

    /// `a - b`, where that is not negative.
    fn minus(a: &Number, b: &Number) -> Number {
        let mut borrow = 0_i16;
        let mut difference = *a;
        for (octet, other) in difference.iter_mut().zip(b).rev() {
            let value = i16::from(*octet) - i16::from(*other) - borrow;
            borrow = i16::from(value < 0);
            *octet = u8::try_from(value.rem_euclid(256)).unwrap();
        }
        difference
    }

    fn split(signature: &[u8]) -> (Number, Number) {
        let both = der::read_signature(signature).unwrap();
        (both[..32].try_into().unwrap(), both[32..].try_into().unwrap())
    }

    fn join(r: &Number, s: &Number) -> Vec<u8> {
        der::write_signature(&[&r[..], s].concat().try_into().unwrap())
    }

    fn sm2(signature: &[u8]) -> bool {
        verify_sm2(UserId::DEFAULT, &SM2_POINT, SM2_MESSAGE, signature).is_some()
    }

    #[test]
    fn sm2_numbers_out_of_range_are_invalid() {
        let (r, s) = split(&SM2_SIGNATURE);
        let n = sm2_order();
        assert!(sm2(&join(&r, &s)));
        for (name, r, s) in [
            ("r = 0", ZERO, s),
            ("s = 0", r, ZERO),
            ("r = n", n, s),
            ("s = n", r, n),
            ("r = 2^256 - 1", MAX, s),
            ("s = 2^256 - 1", r, MAX),
            ("r + s = n", r, minus(&n, &r)),
            ("s turned round", r, minus(&n, &s)),
            ("swapped", s, r),
        ] {
            assert!(!sm2(&join(&r, &s)), "{name}");
        }
    }

    #[test]
    fn sm2_signatures_have_one_spelling() {
        let genuine = SM2_SIGNATURE.to_vec();
        let (r, s) = split(&genuine);
        let padded = [&[0x30, 71, 2, 34, 0, 0], &r[..], &[2, 33, 0], &s].concat();
        let negative = [&[0x30, 68, 2, 32], &r[..], &[2, 32], &s].concat();
        let long = [&[0x30, 0x81, 70], &genuine[2..]].concat();
        for (name, der) in [
            ("trailing byte", [&genuine[..], &[0]].concat()),
            ("padded r", padded),
            ("negative numbers", negative),
            ("long length", long),
            ("raw", [r, s].concat()),
            ("empty", Vec::new()),
        ] {
            assert!(!sm2(&der), "{name}");
        }
    }

    #[test]
    fn an_sm2_signature_belongs_to_its_user_id_and_message() {
        let check = |id, message: &[u8]| verify_sm2(id, &SM2_POINT, message, &SM2_SIGNATURE).is_some();
        assert!(check(UserId::DEFAULT, SM2_MESSAGE));
        assert!(!check(UserId::TLS13, SM2_MESSAGE));
        assert!(!check(UserId::new(b"").unwrap(), SM2_MESSAGE));
        assert!(!check(UserId::DEFAULT, b"message digesu"));
    }

    #[test]
    fn sm2_keys_that_are_no_uncompressed_point_on_the_curve_are_invalid() {
        let check = |point: &[u8]| verify_sm2(UserId::DEFAULT, point, SM2_MESSAGE, &SM2_SIGNATURE).is_some();
        assert!(check(&SM2_POINT));
        let mut off_curve = SM2_POINT;
        off_curve[64] ^= 1;
        let mut hybrid = SM2_POINT;
        hybrid[0] = 7;
        let compressed = [&[3], &SM2_POINT[1..33]].concat();
        let past_the_field = [&[4], &MAX[..], &MAX].concat();
        let on_another_curve = P256_POINT;
        for (name, point) in [
            ("off the curve", &off_curve[..]),
            ("hybrid", &hybrid),
            ("compressed", &compressed),
            ("coordinates past the field", &past_the_field),
            ("on P-256", &on_another_curve),
            ("the point at infinity", &[0]),
            ("all zeros", &[0; 65]),
            ("empty", &[]),
        ] {
            assert!(!check(point), "{name}");
        }
    }

    #[test]
    fn p256_takes_either_s_and_nothing_out_of_range() {
        let key = key_text::write_point(key_text::P256, &P256_POINT);
        let check = |r: &Number, s: &Number| verify_p256(&key, b"sample", &join(r, s)).is_some();
        let (r, s) = split(&P256_SIGNATURE);
        let n = p256_order();
        assert!(check(&r, &s));
        assert!(check(&r, &minus(&n, &s)));
        for (name, r, s) in [
            ("r = 0", ZERO, s),
            ("s = 0", r, ZERO),
            ("both 0", ZERO, ZERO),
            ("r = n", n, s),
            ("s = n", r, n),
            ("s = 2^256 - 1", r, MAX),
        ] {
            assert!(!check(&r, &s), "{name}");
        }
    }

    #[test]
    fn p256_keys_off_the_curve_or_on_another_are_invalid() {
        let mut off_curve = P256_POINT;
        off_curve[64] ^= 1;
        for point in [off_curve, SM2_POINT] {
            let key = key_text::write_point(key_text::P256, &point);
            assert_eq!(verify_p256(&key, b"sample", &P256_SIGNATURE), None);
        }
        let sm2_curve = key_text::write_point(key_text::SM2, &P256_POINT);
        assert_eq!(verify_p256(&sm2_curve, b"sample", &P256_SIGNATURE), None);
    }

    #[test]
    fn ed25519_keys_of_small_order_are_invalid() {
        // The neutral element as key and nonce with s = 0 satisfies the lenient equation for every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert_eq!(verify_ed25519(&neutral, b"any", &signature), None);
        let lenient = ed25519_dalek::VerifyingKey::from_bytes(&neutral).unwrap();
        let signature = ed25519_dalek::Signature::from_bytes(&signature);
        assert!(ed25519_dalek::Verifier::verify(&lenient, b"any", &signature).is_ok());
    }
}
