//! AES-GCM and SM4-GCM, in place: the buffer that comes in is the buffer that goes out.
//!
//! AES-GCM is AWS-LC's with feature `aws-lc` and RustCrypto's without; both run in constant time, with the CPU's AES
//! instructions where there are any. SM4 does **not**: the
//! block cipher underneath looks its S-box up in a table by secret bytes, which leaks through the cache to other
//! programs on the same core. A constant-time SM4 is pending.

#[cfg(feature = "aws-lc")]
mod aws_lc;

use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, Nonce};
use aes_gcm::{AesGcm, KeyInit, Tag};
use sm4::Sm4;

use crate::job::{Cipher, JobError, Seal};

/// SP 800-38D's mode over SM4, as RFC 8998 clause 3.2 uses it.
type Sm4Gcm = AesGcm<Sm4, U12>;

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
        Cipher::Aes128Gcm => open_with(&keyed::<aes_gcm::Aes128Gcm>(seal)?, seal, data),
        #[cfg(not(feature = "aws-lc"))]
        Cipher::Aes256Gcm => open_with(&keyed::<aes_gcm::Aes256Gcm>(seal)?, seal, data),
        Cipher::Sm4Gcm => open_with(&keyed::<Sm4Gcm>(seal)?, seal, data),
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
        Cipher::Aes128Gcm => seal_with(&keyed::<aes_gcm::Aes128Gcm>(seal)?, seal, data),
        #[cfg(not(feature = "aws-lc"))]
        Cipher::Aes256Gcm => seal_with(&keyed::<aes_gcm::Aes256Gcm>(seal)?, seal, data),
        Cipher::Sm4Gcm => seal_with(&keyed::<Sm4Gcm>(seal)?, seal, data),
    }
}

fn keyed<A: KeyInit>(seal: &Seal) -> Result<A, JobError> {
    let key = seal.key.expose();
    A::new_from_slice(key).map_err(|_| key_length(seal))
}

fn key_length(seal: &Seal) -> JobError {
    JobError::KeyLength { cipher: seal.cipher, found: seal.key.expose().len() }
}

fn open_with<A>(aead: &A, seal: &Seal, mut data: Vec<u8>) -> Result<Vec<u8>, JobError>
where
    A: AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let mismatch = || JobError::TagMismatch(seal.cipher);
    let (text, tag) = data.split_last_chunk_mut::<{ Cipher::TAG_LEN }>().ok_or_else(mismatch)?;
    let tag = Tag::from(*tag);
    let len = text.len();
    aead.decrypt_inout_detached(&Nonce::<A>::from(seal.nonce), &seal.aad, text.into(), &tag)
        .map_err(|_| mismatch())?;
    data.truncate(len);
    Ok(data)
}

fn seal_with<A>(aead: &A, seal: &Seal, mut data: Vec<u8>) -> Result<Vec<u8>, JobError>
where
    A: AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let tag = aead
        .encrypt_inout_detached(&Nonce::<A>::from(seal.nonce), &seal.aad, data.as_mut_slice().into())
        .map_err(|_| TOO_LONG)?;
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
            let other = seal_with(&keyed::<aes_gcm::Aes128Gcm>(&short).unwrap(), &short, plain.clone());
            assert_eq!(seal(&short, plain.clone()), other, "{len}");
            let other = seal_with(&keyed::<aes_gcm::Aes256Gcm>(&long).unwrap(), &long, plain.clone());
            assert_eq!(seal(&long, plain.clone()), other, "{len}");
        }
    }
}
