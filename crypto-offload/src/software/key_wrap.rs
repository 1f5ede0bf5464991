//! Content keys under a vehicle's key-encryption key: nonce (12 bytes), ciphertext, tag (16 bytes).

use std::sync::Arc;

use super::aead;
use crate::job::{Cipher, JobError, Seal, SecretKey};

/// The content key in `wrapped`, which `signing::wrap` made with the same `kek`, `cipher` and `aad`.
///
/// # Errors
/// [`JobError::TagMismatch`] when `wrapped` is damaged, cut short, or made for another vehicle, target or key;
/// [`JobError::KeyLength`] when `kek` is not a key for `cipher`.
pub fn unwrap(kek: &SecretKey, cipher: Cipher, aad: &[u8], wrapped: &[u8]) -> Result<SecretKey, JobError> {
    let (nonce, sealed) =
        wrapped.split_first_chunk::<{ Cipher::NONCE_LEN }>().ok_or(JobError::TagMismatch(cipher))?;
    let seal = Seal { cipher, key: Arc::new(kek.clone()), nonce: *nonce, aad: aad.to_vec() };
    aead::open(&seal, sealed.to_vec()).map(SecretKey::new)
}
