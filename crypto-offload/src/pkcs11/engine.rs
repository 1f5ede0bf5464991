//! A token as an engine.

use std::os::fd::BorrowedFd;

use cryptoki::mechanism::MechanismType;

use super::token::{Token, TokenError};
use crate::engine::waiting::{Primitives, WaitingEngine};
use crate::engine::{Capabilities, Engine, Health, Kind, Refused};
use crate::job::{
    Cipher, Completion, Digest, HashAlgorithm, Job, JobError, PublicKey, Seal, SignatureScheme, Verdict,
};

/// Jobs that may be at the token.
const DEPTH: usize = 4;
/// Largest buffer of one job in bytes. Tokens are slow, and some take everything into their own memory.
const MAX_BYTES: usize = 4 << 20;

/// A token that does jobs one after the other on a thread of its own, which ends with the engine: at once, or after the
/// job that the token has.
#[derive(Debug)]
pub struct Pkcs11Engine(WaitingEngine);

impl Pkcs11Engine {
    /// An engine over `token`.
    ///
    /// # Errors
    /// When there is no thread or no event to be had.
    pub fn new(token: Token) -> std::io::Result<Self> {
        let (capabilities, identity) = (capabilities(&token), token.identity().to_owned());
        WaitingEngine::new("pkcs11", capabilities, identity, token).map(Self)
    }
}

impl Engine for Pkcs11Engine {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn submit(&mut self, job: Job) -> Result<(), Refused> {
        self.0.submit(job)
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        self.0.poll_completion()
    }

    fn health(&self) -> Health {
        self.0.health()
    }

    fn identity(&self) -> String {
        self.0.identity()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.fd()
    }
}

fn capabilities(token: &Token) -> Capabilities {
    let with = |mechanism| token.has(mechanism);
    let hashes =
        [(MechanismType::SHA256, HashAlgorithm::Sha256), (MechanismType::SHA512, HashAlgorithm::Sha512)];
    let ciphers = [Cipher::Aes128Gcm, Cipher::Aes256Gcm];
    let p256 = [SignatureScheme::EcdsaSha2Nistp256];
    Capabilities {
        name: "pkcs11",
        kind: Kind::Device,
        hashes: hashes.into_iter().filter(|(needed, _)| with(*needed)).map(|(_, hash)| hash).collect(),
        ciphers: ciphers.into_iter().filter(|_| with(MechanismType::AES_GCM)).collect(),
        schemes: p256.into_iter().filter(|_| with(MechanismType::ECDSA)).collect(),
        midstates: false,
        depth: DEPTH,
        max_bytes: MAX_BYTES,
    }
}

impl Primitives for Token {
    fn digest(&mut self, algorithm: HashAlgorithm, parts: &[&[u8]]) -> Result<Digest, JobError> {
        Self::digest(self, algorithm, parts).map_err(failure)
    }

    fn open(&mut self, seal: &Seal, data: &[u8]) -> Result<Vec<u8>, JobError> {
        self.open_sealed(seal, data).map_err(|error| match error {
            TokenError::TagMismatch => JobError::TagMismatch(seal.cipher),
            error => failure(error),
        })
    }

    fn verify(&mut self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<Verdict, JobError> {
        self.verify_p256(&key.bytes, message, signature).map_err(failure)
    }
}

/// What exactly the token said does not fit a job's error; its kind does.
fn failure(error: TokenError) -> JobError {
    JobError::Engine(match error {
        TokenError::Pkcs11(_) | TokenError::Pin(_) | TokenError::Thread(_) => "token failed",
        TokenError::NoToken(_) | TokenError::NoKey(_) | TokenError::Certificate => "token has no such key",
        TokenError::Unsupported(_) => "token cannot do what it claims",
        TokenError::Silent | TokenError::Gone => "token does not answer",
        TokenError::TagMismatch | TokenError::Answer(_) => "token gave no answer to the question",
    })
}
