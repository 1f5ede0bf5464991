//! The software engine: every job done on the CPU that asks.

pub mod aead;
mod engine;
pub mod hash;
pub mod key_wrap;
mod operation;
pub mod signature;

pub use engine::{KnownAnswerFailed, SoftwareEngine};
pub use operation::run;

use crate::job::{Digest, HashAlgorithm, PublicKey, Verdict, Verifier};

/// The [`Verifier`] that sans-io cores are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoftwareVerifier;

impl Verifier for SoftwareVerifier {
    fn digest(&self, algorithm: HashAlgorithm, parts: &[&[u8]]) -> Digest {
        hash::digest(algorithm, parts)
    }

    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Verdict {
        signature::verify(key, message, signature)
    }
}
