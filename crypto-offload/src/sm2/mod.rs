//! SM2 (GB/T 32918): keys, signatures, key agreement, on the recommended curve of GB/T 32918.5.
//!
//! ```
//! use crypto_offload::job::Verdict;
//! use crypto_offload::sm2::{SecretKey, SigningKey, UserId};
//!
//! # let random = |bytes: &mut [u8]| -> Result<(), std::convert::Infallible> { bytes.fill(7); Ok(()) };
//! // `random` fills a slice from a cryptographic generator.
//! let key = SigningKey::new(SecretKey::generate(random)?);
//! let signature = key.sign(UserId::DEFAULT, &[b"release 7"]);
//!
//! let public = key.secret().public_key();
//! assert_eq!(public.verify(UserId::DEFAULT, &[b"release 7"], &signature), Verdict::Valid);
//! assert_eq!(public.verify(UserId::TLS13, &[b"release 7"], &signature), Verdict::Invalid);
//!
//! let other = SecretKey::generate(|bytes: &mut [u8]| Ok::<_, std::convert::Infallible>(bytes.fill(9)))?;
//! assert_eq!(*key.secret().agree(&other.public_key()), *other.agree(&public));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What touches a secret (key generation, signing, [`SecretKey::agree`]) takes the same steps and reads the same
//! addresses whatever the secret is. Verifying does not, for it sees public values only.
//!
//! A key that verifies often, such as a trust anchor, is worth a [`PreparedKey`].

mod digest;
mod encoding;
mod field;
mod key;
mod limbs;
mod multiply;
mod nonce;
mod point;
mod scalar;
mod sign;
mod signature;
mod table;
mod verify;

#[cfg(test)]
mod tests;

pub use digest::{UserId, UserIdTooLong};
pub use key::{KeyError, PublicKey, SecretKey};
pub use sign::SigningKey;
pub use signature::{Signature, SignatureError};
pub use verify::PreparedKey;
