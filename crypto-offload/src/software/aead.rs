//! AES-GCM and SM4-GCM, in place: the buffer that comes in is the buffer that goes out.
//!
//! AES-GCM is AWS-LC's with feature `aws-lc` and RustCrypto's without; SM4-GCM is [`crate::sm4`]'s. All of them run in
//! constant time.

#[cfg(feature = "aws-lc")]
mod aws_lc;

#[cfg(any(test, not(feature = "aws-lc")))]
mod rust_crypto;

use crate::job::{Cipher, JobError, Seal};
use crate::sm4::{AeadError, Sm4Gcm};

const TOO_LONG: JobError = JobError::Engine("data longer than GCM allows under one nonce");

/// Authenticates and decrypts `data` (ciphertext, then tag), handing the same buffer back with the plain bytes.
///
/// # Errors
/// [`JobError::TagMismatch`] when the tag is wrong or missing. [`JobError::KeyLength`] when the key is not one for
/// the cipher.
pub fn open(seal: &Seal, data: Vec<u8>) -> Result<Vec<u8>, JobError> {
    match seal.cipher {
        #[cfg(feature = "aws-lc")]
        Cipher::Aes128Gcm => aws_lc::open(&aws_lc_rs::aead::AES_128_GCM, seal, data),
        #[cfg(feature = "aws-lc")]
        Cipher::Aes256Gcm => aws_lc::open(&aws_lc_rs::aead::AES_256_GCM, seal, data),
        #[cfg(not(feature = "aws-lc"))]
        Cipher::Aes128Gcm => rust_crypto::open::<aes_gcm::Aes128Gcm>(seal, data),
        #[cfg(not(feature = "aws-lc"))]
        Cipher::Aes256Gcm => rust_crypto::open::<aes_gcm::Aes256Gcm>(seal, data),
        Cipher::Sm4Gcm => open_sm4(seal, data),
    }
}

/// Encrypts `data` in place and appends the tag. 16 bytes of spare capacity save the buffer from moving.
///
/// # Errors
/// [`JobError::KeyLength`] when the key is not one for the cipher; [`JobError::Engine`] when `data` is longer than
/// the 2^36 - 32 bytes that SP 800-38D clause 5.2.1.1 allows.
pub fn seal(seal: &Seal, data: Vec<u8>) -> Result<Vec<u8>, JobError> {
    match seal.cipher {
        #[cfg(feature = "aws-lc")]
        Cipher::Aes128Gcm => aws_lc::seal(&aws_lc_rs::aead::AES_128_GCM, seal, data),
        #[cfg(feature = "aws-lc")]
        Cipher::Aes256Gcm => aws_lc::seal(&aws_lc_rs::aead::AES_256_GCM, seal, data),
        #[cfg(not(feature = "aws-lc"))]
        Cipher::Aes128Gcm => rust_crypto::seal::<aes_gcm::Aes128Gcm>(seal, data),
        #[cfg(not(feature = "aws-lc"))]
        Cipher::Aes256Gcm => rust_crypto::seal::<aes_gcm::Aes256Gcm>(seal, data),
        Cipher::Sm4Gcm => seal_sm4(seal, data),
    }
}

fn keyed(seal: &Seal) -> Result<Sm4Gcm, JobError> {
    let key = seal.key.expose().try_into().map_err(|_| key_length(seal))?;
    Ok(Sm4Gcm::new(key))
}

fn key_length(seal: &Seal) -> JobError {
    JobError::KeyLength { cipher: seal.cipher, found: seal.key.expose().len() }
}

fn open_sm4(seal: &Seal, mut data: Vec<u8>) -> Result<Vec<u8>, JobError> {
    let mismatch = JobError::TagMismatch(seal.cipher);
    let key = keyed(seal)?;
    let Some((text, tag)) = data.split_last_chunk_mut::<{ Cipher::TAG_LEN }>() else { return Err(mismatch) };
    let len = text.len();
    match key.open_in_place(&seal.nonce, &seal.aad, text, tag) {
        Ok(()) => {
            data.truncate(len);
            Ok(data)
        }
        Err(AeadError::TooLong) => Err(TOO_LONG),
        Err(_) => Err(mismatch),
    }
}

fn seal_sm4(seal: &Seal, mut data: Vec<u8>) -> Result<Vec<u8>, JobError> {
    let tag = keyed(seal)?.seal_in_place(&seal.nonce, &seal.aad, &mut data).map_err(|_| TOO_LONG)?;
    data.extend_from_slice(&tag);
    Ok(data)
}

#[cfg(all(test, feature = "aws-lc"))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::job::SecretKey;

    #[test]
    fn both_libraries_seal_alike_at_every_length() {
        for len in (0..300).chain([4095, 4096, 65536]) {
            let plain: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let how = |cipher: Cipher| Seal {
                cipher,
                key: Arc::new(SecretKey::new(vec![3; cipher.key_len()])),
                nonce: [5; 12],
                aad: plain.iter().copied().take(len % 37).collect(),
            };
            let (short, long) = (how(Cipher::Aes128Gcm), how(Cipher::Aes256Gcm));
            let other = rust_crypto::seal::<aes_gcm::Aes128Gcm>(&short, plain.clone());
            assert_eq!(seal(&short, plain.clone()), other, "{len}");
            assert_eq!(rust_crypto::open::<aes_gcm::Aes128Gcm>(&short, other.unwrap()), Ok(plain.clone()));
            let other = rust_crypto::seal::<aes_gcm::Aes256Gcm>(&long, plain.clone());
            assert_eq!(seal(&long, plain.clone()), other, "{len}");
        }
    }
}
