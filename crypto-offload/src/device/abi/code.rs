//! The numbers that stand for operations, algorithms and results.

use super::AbiError;
use crate::job::{Cipher, HashAlgorithm, SignatureScheme};

/// What a device can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Operation {
    /// The capability record, into the output.
    Capabilities = 1,
    /// The digest of aux followed by input.
    Digest = 2,
    /// The midstate in extra, advanced by input.
    HashUpdate = 3,
    /// The plain bytes of input, if its tag matches.
    Open = 4,
    /// Whether extra is a signature over input by the public key in aux.
    Verify = 5,
    /// Takes the key in, and puts its handle out.
    LoadKey = 6,
    /// Forgets the key of the handle.
    DropKey = 7,
}

impl Operation {
    const ALL: [Self; 7] = [
        Self::Capabilities,
        Self::Digest,
        Self::HashUpdate,
        Self::Open,
        Self::Verify,
        Self::LoadKey,
        Self::DropKey,
    ];

    pub(super) fn from_code(code: u32) -> Result<Self, AbiError> {
        Self::ALL.into_iter().find(|&it| it as u32 == code).ok_or(AbiError::Field("op"))
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Done, with as many bytes of output as the request asks for.
    Ok = 0,
    /// The authentication tag is wrong. Nothing was put out.
    TagMismatch = 1,
    /// The signature is not the key's over this input, or one of them is malformed.
    BadSignature = 2,
    /// The request contradicts itself or the interface.
    BadRequest = 3,
    /// The device cannot do this.
    Unsupported = 4,
    /// The device failed.
    DeviceError = 5,
    /// The device gave up because the request's time was over.
    Expired = 6,
    /// The midstate is none.
    BadMidstate = 7,
    /// No key of that handle.
    NoKey = 8,
    /// As many keys as there may be are loaded.
    NoRoom = 9,
}

impl Status {
    const ALL: [Self; 10] = [
        Self::Ok,
        Self::TagMismatch,
        Self::BadSignature,
        Self::BadRequest,
        Self::Unsupported,
        Self::DeviceError,
        Self::Expired,
        Self::BadMidstate,
        Self::NoKey,
        Self::NoRoom,
    ];

    pub(super) fn from_code(code: u32) -> Result<Self, AbiError> {
        Self::ALL.into_iter().find(|&it| it as u32 == code).ok_or(AbiError::Field("status"))
    }
}

pub(in crate::device) const ALL_HASHES: [HashAlgorithm; 3] =
    [HashAlgorithm::Sha256, HashAlgorithm::Sha512, HashAlgorithm::Sm3];
pub(in crate::device) const ALL_CIPHERS: [Cipher; 3] = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Sm4Gcm];
pub(in crate::device) const ALL_SCHEMES: [SignatureScheme; 4] = [
    SignatureScheme::Ed25519,
    SignatureScheme::EcdsaSha2Nistp256,
    SignatureScheme::RsaPssSha256,
    SignatureScheme::Sm2Sm3,
];

pub(in crate::device) const fn hash_code(algorithm: HashAlgorithm) -> u32 {
    match algorithm {
        HashAlgorithm::Sha256 => 1,
        HashAlgorithm::Sha512 => 2,
        HashAlgorithm::Sm3 => 3,
    }
}

pub(in crate::device) const fn cipher_code(cipher: Cipher) -> u32 {
    match cipher {
        Cipher::Aes128Gcm => 1,
        Cipher::Aes256Gcm => 2,
        Cipher::Sm4Gcm => 3,
    }
}

pub(in crate::device) const fn scheme_code(scheme: SignatureScheme) -> u32 {
    match scheme {
        SignatureScheme::Ed25519 => 1,
        SignatureScheme::EcdsaSha2Nistp256 => 2,
        SignatureScheme::RsaPssSha256 => 3,
        SignatureScheme::Sm2Sm3 => 4,
    }
}

#[cfg(feature = "emulator")]
pub(in crate::device) fn hash_from(code: u32) -> Option<HashAlgorithm> {
    ALL_HASHES.into_iter().find(|&it| hash_code(it) == code)
}

#[cfg(feature = "emulator")]
pub(in crate::device) fn cipher_from(code: u32) -> Option<Cipher> {
    ALL_CIPHERS.into_iter().find(|&it| cipher_code(it) == code)
}

#[cfg(feature = "emulator")]
pub(in crate::device) fn scheme_from(code: u32) -> Option<SignatureScheme> {
    ALL_SCHEMES.into_iter().find(|&it| scheme_code(it) == code)
}

/// Algorithm number `n` is bit `n`.
pub(in crate::device) fn mask<T: Copy>(items: &[T], code: impl Fn(T) -> u32) -> u32 {
    items.iter().fold(0, |mask, &item| mask | 1 << code(item))
}

/// The algorithms of a mask; those we do not know are left out.
pub(in crate::device) fn unmask<T: Copy>(mask: u32, all: &[T], code: impl Fn(T) -> u32) -> Vec<T> {
    all.iter().copied().filter(|&item| mask & 1 << code(item) != 0).collect()
}
