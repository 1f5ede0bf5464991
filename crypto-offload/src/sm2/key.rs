//! Keys, and the agreement on a secret that TLS makes of two.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::multiply;
use super::point::Affine;
use super::scalar::Scalar;

/// Why bytes are not a key. The fault of whoever wrote them, in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A public key that is not 4, x, y in 65 bytes.
    #[error("sm2 public key is not an uncompressed point of 65 bytes")]
    Form,
    /// A public key that is not on the curve, or has a coordinate not below the field's modulus.
    #[error("sm2 public key is not on the curve")]
    OffCurve,
    /// A private key that is not from 1 to n - 2 (GB/T 32918.1 clause 6.1).
    #[error("sm2 private key is out of range")]
    Range,
    /// A private key that came with a public key which is another's.
    #[error("sm2 private key does not belong to the public key beside it")]
    Mismatch,
    /// Not the structure that was asked for, in DER.
    #[error("key is not the expected structure in der")]
    Der,
    /// The structure holds a key of another algorithm or curve.
    #[error("key is not for the sm2 curve")]
    Algorithm,
    /// Not exactly one PEM block with a private key's label. Encrypted keys are not read.
    #[error("private key is not one pem block")]
    Pem,
}

/// A point of the curve, not that at infinity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub(super) Affine);

impl PublicKey {
    /// The point 4 || x || y (SEC 1 clause 2.3.4), which is checked to be on the curve. Compressed and hybrid forms are
    /// refused.
    ///
    /// # Errors
    /// [`KeyError::Form`] or [`KeyError::OffCurve`].
    pub fn from_uncompressed(bytes: &[u8]) -> Result<Self, KeyError> {
        let Some(([4], coordinates)) = bytes.split_first_chunk() else { return Err(KeyError::Form) };
        let ([x, y], []) = coordinates.as_chunks() else { return Err(KeyError::Form) };
        Affine::from_coordinates(x, y).map(Self).ok_or(KeyError::OffCurve)
    }

    /// 4 || x || y.
    pub fn to_uncompressed(&self) -> [u8; 65] {
        let mut bytes = [4; 65];
        bytes[1..33].copy_from_slice(&self.0.x.to_be_bytes());
        bytes[33..].copy_from_slice(&self.0.y.to_be_bytes());
        bytes
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sm2::PublicKey(")?;
        self.to_uncompressed().iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        f.write_str(")")
    }
}

/// A private key and its public half. Wiped when dropped; never printed.
#[derive(Clone)]
pub struct SecretKey {
    pub(super) scalar: Scalar,
    public: PublicKey,
}

impl SecretKey {
    /// A new key. `random` fills a slice from a cryptographic generator; it is asked again in the rare case that its
    /// bytes are out of range.
    ///
    /// # Errors
    /// Whatever `random` fails with.
    pub fn generate<E>(mut random: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = Zeroizing::new([0; 32]);
        loop {
            random(&mut *bytes)?;
            if let Ok(key) = Self::from_be_bytes(&bytes) {
                return Ok(key);
            }
        }
    }

    /// The key that is this big-endian number.
    ///
    /// # Errors
    /// [`KeyError::Range`].
    pub fn from_be_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let scalar = Scalar::from_be_bytes(bytes).map(Zeroizing::new).ok_or(KeyError::Range)?;
        if scalar.is_zero() || scalar.add(&Scalar::ONE).is_zero() {
            return Err(KeyError::Range);
        }
        let public = PublicKey(Zeroizing::new(multiply::generator(&scalar)).to_affine());
        Ok(Self { scalar: *scalar, public })
    }

    /// The big-endian number.
    pub fn to_be_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.scalar.to_be_bytes())
    }

    /// The public half.
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The x coordinate of this key's scalar times the other's point, big endian: the shared secret of curveSM2 in TLS
    /// 1.3 (RFC 8998 clause 3.2, RFC 8446 clause 7.4.2). It never is the point at infinity, since a [`PublicKey`] lies on
    /// a curve whose group has prime order. It is not the key exchange of GB/T 32918.3.
    pub fn agree(&self, other: &PublicKey) -> Zeroizing<[u8; 32]> {
        let shared = Zeroizing::new(multiply::point(&self.scalar, &other.0));
        Zeroizing::new(Zeroizing::new(shared.to_affine()).x.to_be_bytes())
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.scalar.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sm2::SecretKey")
    }
}
