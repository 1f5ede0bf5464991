//! A signature's two spellings: 64 bytes, and DER.

use super::scalar::Scalar;
use crate::job::der;

/// r and s, each from 1 to n - 1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    pub(super) r: Scalar,
    pub(super) s: Scalar,
}

/// Why bytes are not a signature. The sender's fault in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not exactly one SEQUENCE of two non-negative INTEGERs of at most 32 bytes in DER.
    #[error("sm2 signature is not two integers in der")]
    Der,
    /// r or s is zero or not below the group order.
    #[error("sm2 signature has a number out of range")]
    Range,
}

impl Signature {
    /// r || s, big endian, as hardware and GM/T formats have it.
    ///
    /// # Errors
    /// [`SignatureError::Range`].
    pub fn from_be_bytes(both: &[u8; 64]) -> Result<Self, SignatureError> {
        let (numbers, _) = both.as_chunks::<32>();
        let mut numbers = numbers.iter().map(|number| {
            Scalar::from_be_bytes(number).filter(|number| !number.is_zero()).ok_or(SignatureError::Range)
        });
        let mut next = || numbers.next().unwrap_or(Err(SignatureError::Range));
        Ok(Self { r: next()?, s: next()? })
    }

    /// r || s, big endian.
    pub fn to_be_bytes(&self) -> [u8; 64] {
        let mut both = [0; 64];
        let (r, s) = both.split_at_mut(32);
        r.copy_from_slice(&self.r.to_be_bytes());
        s.copy_from_slice(&self.s.to_be_bytes());
        both
    }

    /// `SEQUENCE { r INTEGER, s INTEGER }` (GM/T 0009 clause 7.3), as TLS, X.509 and CMS have it.
    ///
    /// # Errors
    /// When the bytes are anything but the one DER spelling of two numbers in range.
    pub fn from_der(der: &[u8]) -> Result<Self, SignatureError> {
        Self::from_be_bytes(&der::read_signature(der).ok_or(SignatureError::Der)?)
    }

    /// What [`Signature::from_der`] reads; 8 to 72 bytes.
    pub fn to_der(&self) -> Vec<u8> {
        der::write_signature(&self.to_be_bytes())
    }
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sm2::Signature(")?;
        self.to_be_bytes().iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        f.write_str(")")
    }
}
