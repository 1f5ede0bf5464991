//! AES-GCM and SM4-GCM, in place: the buffer that comes in is the buffer that goes out.
//!
//! AES runs in constant time (AES-NI and PCLMUL where there are any, bit-sliced where not). SM4 does **not**: the
//! block cipher underneath looks its S-box up in a table by secret bytes, which leaks through the cache to other
//! programs on the same core. A constant-time SM4 is pending.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, Nonce};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, KeyInit, Tag};
use sm4::Sm4;

use crate::job::{Cipher, JobError, Seal};

/// SP 800-38D's mode over SM4, as RFC 8998 clause 3.2 uses it.
type Sm4Gcm = AesGcm<Sm4, U12>;

/// Authenticates and decrypts `data` (ciphertext, then tag), handing the same buffer back with the plain bytes.
///
/// # Errors
/// [`JobError::TagMismatch`] when the tag is wrong or missing: nothing was decrypted. [`JobError::KeyLength`] when the
/// key is not one for the cipher.
pub fn open(seal: &Seal, data: Vec<u8>) -> Result<Vec<u8>, JobError> {
    match seal.cipher {
        Cipher::Aes128Gcm => open_with(&keyed::<Aes128Gcm>(seal)?, seal, data),
        Cipher::Aes256Gcm => open_with(&keyed::<Aes256Gcm>(seal)?, seal, data),
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
        Cipher::Aes128Gcm => seal_with(&keyed::<Aes128Gcm>(seal)?, seal, data),
        Cipher::Aes256Gcm => seal_with(&keyed::<Aes256Gcm>(seal)?, seal, data),
        Cipher::Sm4Gcm => seal_with(&keyed::<Sm4Gcm>(seal)?, seal, data),
    }
}

fn keyed<A: KeyInit>(seal: &Seal) -> Result<A, JobError> {
    let key = seal.key.expose();
    A::new_from_slice(key).map_err(|_| JobError::KeyLength { cipher: seal.cipher, found: key.len() })
}

fn open_with<A>(aead: &A, seal: &Seal, mut data: Vec<u8>) -> Result<Vec<u8>, JobError>
where
    A: AeadInOut<NonceSize = U12, TagSize = aes_gcm::aead::consts::U16>,
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
    A: AeadInOut<NonceSize = U12, TagSize = aes_gcm::aead::consts::U16>,
{
    let tag = aead
        .encrypt_inout_detached(&Nonce::<A>::from(seal.nonce), &seal.aad, data.as_mut_slice().into())
        .map_err(|_| JobError::Engine("data longer than GCM allows under one nonce"))?;
    data.extend_from_slice(&tag);
    Ok(data)
}
