//! Signature checks. Whatever is malformed is simply not valid: the caller learns nothing it could act on.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use p256::ecdsa::signature::Verifier as _;

use crate::job::{PublicKey, SignatureScheme, Verdict, der, key_text};

/// The user id that GB/T 32918.2 clause 5.5 mixes into every SM2 signature. GM/T 0009 fixes this one as the default.
pub const SM2_USER_ID: &str = "1234567812345678";

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
        SignatureScheme::Sm2Sm3 => verify_sm2(SM2_USER_ID, &key.bytes, message, signature),
    };
    if genuine.is_some() { Verdict::Valid } else { Verdict::Invalid }
}

fn verify_ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
    let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
    key.verify_strict(message, &signature).ok()
}

fn verify_p256(spki: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let point = key_text::read_point(key_text::P256, spki)?;
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
    let signature = p256::ecdsa::Signature::from_slice(&der::read_signature(signature)?).ok()?;
    key.verify(message, &signature).ok()
}

fn verify_rsa(spki: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = key_text::read_rsa(spki)?;
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key).verify(message, signature).ok()
}

fn verify_sm2(user_id: &str, point: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    // Compressed points would be taken otherwise; the scheme prescribes 65 bytes.
    if point.len() != 65 || point.first() != Some(&4) {
        return None;
    }
    let key = sm2::dsa::VerifyingKey::from_sec1_bytes(user_id, point).ok()?;
    let signature = sm2::dsa::Signature::from_slice(&der::read_signature(signature)?).ok()?;
    key.verify(message, &signature).ok()
}
