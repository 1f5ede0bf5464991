//! AES-GCM by AWS-LC, about five times as fast as RustCrypto's on a CPU with wide AES instructions.

use aws_lc_rs::aead::{Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};

use super::{TOO_LONG, key_length};
use crate::job::{JobError, Seal};

pub(super) fn open(
    algorithm: &'static Algorithm,
    seal: &Seal,
    mut data: Vec<u8>,
) -> Result<Vec<u8>, JobError> {
    let nonce = Nonce::assume_unique_for_key(seal.nonce);
    let len = keyed(algorithm, seal)?
        .open_in_place(nonce, Aad::from(&seal.aad), &mut data)
        .map_err(|_| JobError::TagMismatch(seal.cipher))?
        .len();
    data.truncate(len);
    Ok(data)
}

pub(super) fn seal(
    algorithm: &'static Algorithm,
    seal: &Seal,
    mut data: Vec<u8>,
) -> Result<Vec<u8>, JobError> {
    let nonce = Nonce::assume_unique_for_key(seal.nonce);
    keyed(algorithm, seal)?
        .seal_in_place_append_tag(nonce, Aad::from(&seal.aad), &mut data)
        .map_err(|_| TOO_LONG)?;
    Ok(data)
}

fn keyed(algorithm: &'static Algorithm, seal: &Seal) -> Result<LessSafeKey, JobError> {
    UnboundKey::new(algorithm, seal.key.expose()).map(LessSafeKey::new).map_err(|_| key_length(seal))
}
