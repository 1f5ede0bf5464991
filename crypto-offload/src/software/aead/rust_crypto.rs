//! AES-GCM by RustCrypto, for targets that AWS-LC does not build for.

use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, Nonce};
use aes_gcm::{KeyInit, Tag};

use super::{TOO_LONG, key_length};
use crate::job::{Cipher, JobError, Seal};

pub(super) fn open<A>(seal: &Seal, mut data: Vec<u8>) -> Result<Vec<u8>, JobError>
where
    A: KeyInit + AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let mismatch = || JobError::TagMismatch(seal.cipher);
    let aead = keyed::<A>(seal)?;
    let (text, tag) = data.split_last_chunk_mut::<{ Cipher::TAG_LEN }>().ok_or_else(mismatch)?;
    let tag = Tag::from(*tag);
    let len = text.len();
    aead.decrypt_inout_detached(&Nonce::<A>::from(seal.nonce), &seal.aad, text.into(), &tag)
        .map_err(|_| mismatch())?;
    data.truncate(len);
    Ok(data)
}

pub(super) fn seal<A>(seal: &Seal, mut data: Vec<u8>) -> Result<Vec<u8>, JobError>
where
    A: KeyInit + AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let tag = keyed::<A>(seal)?
        .encrypt_inout_detached(&Nonce::<A>::from(seal.nonce), &seal.aad, data.as_mut_slice().into())
        .map_err(|_| TOO_LONG)?;
    data.extend_from_slice(&tag);
    Ok(data)
}

fn keyed<A: KeyInit>(seal: &Seal) -> Result<A, JobError> {
    A::new_from_slice(seal.key.expose()).map_err(|_| key_length(seal))
}
