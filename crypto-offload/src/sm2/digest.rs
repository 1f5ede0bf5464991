//! What an SM2 signature is made over (GB/T 32918.2 clauses 5.5 and 6.1).

use super::PublicKey;
use super::point::{Affine, GENERATOR};
use super::scalar::Scalar;
use crate::sm2::limbs;
use crate::sm3::Sm3;

/// Longest user id, in bytes: its length in bits is written into 16.
const MAX_USER_ID: usize = 0xffff / 8;

/// The name of the signer that is mixed into the digest. Both sides must use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserId<'a>(&'a [u8]);

impl<'a> UserId<'a> {
    /// That of certificates and of everything that names none (GM/T 0009 clause 10).
    pub const DEFAULT: UserId<'static> = UserId(b"1234567812345678");
    /// That of the TLS 1.3 CertificateVerify message (RFC 8998 clause 3.2.1).
    pub const TLS13: UserId<'static> = UserId(b"TLSv1.3+GM+Cipher+Suite");

    /// Any other, up to 8191 bytes.
    ///
    /// # Errors
    /// The caller's fault: it is longer.
    pub const fn new(id: &'a [u8]) -> Result<Self, UserIdTooLong> {
        if id.len() > MAX_USER_ID { Err(UserIdTooLong(id.len())) } else { Ok(Self(id)) }
    }
}

/// A user id whose length in bits does not fit 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sm2 user id has {0} bytes, more than 8191")]
pub struct UserIdTooLong(usize);

/// Z: the digest of signer and curve.
pub(super) fn identity(user_id: UserId<'_>, key: &PublicKey) -> [u8; 32] {
    let mut hash = Sm3::new();
    // The constructor's bound makes the number of bits fit.
    let bits = u16::try_from(user_id.0.len() * 8).unwrap_or(u16::MAX);
    hash.update(&bits.to_be_bytes());
    hash.update(user_id.0);
    hash.update(&Affine::a());
    hash.update(&Affine::b());
    hash.update(&GENERATOR.x.to_be_bytes());
    hash.update(&GENERATOR.y.to_be_bytes());
    hash.update(&key.to_uncompressed()[1..]);
    hash.finish()
}

/// e: the digest of Z and the message, whose parts are taken as one, as a number modulo n.
pub(super) fn message(user_id: UserId<'_>, key: &PublicKey, parts: &[&[u8]]) -> Scalar {
    let mut hash = Sm3::new();
    hash.update(&identity(user_id, key));
    parts.iter().for_each(|part| hash.update(part));
    Scalar::reduce(&limbs::from_be_bytes(&hash.finish()))
}
