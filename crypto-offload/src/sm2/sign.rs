//! Signing (GB/T 32918.2 clause 6), in constant time.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::nonce::Nonces;
use super::scalar::Scalar;
use super::{SecretKey, Signature, UserId, digest, multiply};

/// A private key with what signing needs computed ahead. Wiped when dropped; never printed.
#[derive(Clone)]
pub struct SigningKey {
    secret: SecretKey,
    /// 1 / (1 + d).
    inverse: Scalar,
}

impl SigningKey {
    /// Prepares `secret` for signing.
    pub fn new(secret: SecretKey) -> Self {
        let inverse = Zeroizing::new(secret.scalar.add(&Scalar::ONE)).invert();
        Self { secret, inverse }
    }

    /// The key itself.
    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The signature over `parts` as one message. The nonce is drawn by RFC 6979, so that the same message gives the
    /// same signature.
    pub fn sign(&self, user_id: UserId<'_>, parts: &[&[u8]]) -> Signature {
        self.sign_digest(&digest::message(user_id, &self.secret.public_key(), parts), &[])
    }

    /// [`SigningKey::sign`] with fresh random bytes mixed into the nonce (RFC 6979 clause 3.6). Should they be
    /// predictable or repeat, it is no worse than [`SigningKey::sign`].
    pub fn sign_hedged(&self, user_id: UserId<'_>, parts: &[&[u8]], random: &[u8; 32]) -> Signature {
        self.sign_digest(&digest::message(user_id, &self.secret.public_key(), parts), random)
    }

    pub(super) fn sign_digest(&self, digest: &Scalar, random: &[u8]) -> Signature {
        let mut nonces = Nonces::new(&self.secret.scalar, digest, random);
        loop {
            // That a candidate was refused says nothing of the one that is used.
            match self.try_nonce(digest, &nonces.next()) {
                Some(signature) => return signature,
                None => nonces.refuse(),
            }
        }
    }

    /// `None` where the standard demands another nonce: r or s is zero, or r + k is.
    pub(super) fn try_nonce(&self, digest: &Scalar, nonce: &Scalar) -> Option<Signature> {
        let point = Zeroizing::new(multiply::generator(nonce));
        let r = digest.add(&Scalar::reduce(&point.to_affine().x.to_limbs()));
        let sum = Zeroizing::new(r.add(nonce));
        // (k - rd) / (1 + d), written so that the secret is multiplied once.
        let s = self.inverse.mul(&sum).sub(&r);
        (!r.is_zero() && !sum.is_zero() && !s.is_zero()).then_some(Signature { r, s })
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.inverse.zeroize();
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sm2::SigningKey")
    }
}
