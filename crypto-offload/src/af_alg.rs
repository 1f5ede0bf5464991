//! The kernel's own crypto over `AF_ALG` sockets.
//!
//! The last resort among engines: each job costs several system calls and two copies, current kernels have taken the
//! accelerators away from behind it (Linux 7.2, Documentation/crypto/userspace-if.rst), and there never were signatures
//! or midstates. It is for vehicles with an older kernel whose accelerator has no other door.

mod socket;

use std::io;
use std::os::fd::BorrowedFd;

use self::socket::Transform;
use crate::engine::waiting::{Primitives, WaitingEngine};
use crate::engine::{Capabilities, Engine, Health, Kind, Refused, RefusedReason};
use crate::job::{
    Cipher, Completion, Digest, HashAlgorithm, Job, JobError, Operation, PublicKey, Seal, Verdict,
};

/// Jobs that may wait for the kernel, which does one at a time.
const DEPTH: usize = 4;
/// Most bytes of one job that are asked for; the kernel's limit on socket buffers may allow less.
const MAX_BYTES: usize = (1 << 20) + Cipher::TAG_LEN;
/// Most bytes of additional data, which share the socket's buffer.
const MAX_AAD: usize = 4096;

/// Why there is no such engine.
#[derive(Debug, thiserror::Error)]
pub enum AfAlgError {
    /// The kernel was built without it, its module is not loaded, or the unit's sandbox forbids the address family.
    #[error("this kernel has no AF_ALG, or does not let us have it: {0}")]
    NotThere(#[source] io::Error),
    /// It is there and knows none of the algorithms that we use.
    #[error("AF_ALG is there, but knows none of sha256, sha512, sm3, gcm(aes) and gcm(sm4)")]
    Nothing,
    /// A socket, an event or a thread could not be had.
    #[error("AF_ALG cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// The kernel as an engine, on a thread of its own.
#[derive(Debug)]
pub struct AfAlgEngine(WaitingEngine);

impl AfAlgEngine {
    /// Asks the kernel for each algorithm.
    ///
    /// # Errors
    /// [`AfAlgError`] when there is nothing to be had.
    pub fn open() -> Result<Self, AfAlgError> {
        let kernel = Kernel::open()?;
        let (capabilities, identity) = (kernel.capabilities()?, kernel.identity());
        Ok(Self(WaitingEngine::new("af-alg", capabilities, identity, kernel)?))
    }
}

impl Engine for AfAlgEngine {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn submit(&mut self, job: Job) -> Result<(), Refused> {
        let aad = match &job.operation {
            Operation::Chunk(chunk) => chunk.seal.as_ref().map_or(0, |seal| seal.aad.len()),
            Operation::Open { seal, .. } => seal.aad.len(),
            _ => 0,
        };
        if aad > MAX_AAD {
            return Err(Refused::new(job, RefusedReason::Unsupported));
        }
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

/// The algorithms that the kernel has, each behind a socket that is bound to it.
#[derive(Debug)]
struct Kernel {
    hashes: Vec<(HashAlgorithm, Transform)>,
    ciphers: Vec<(Cipher, Transform)>,
}

const fn hash_name(algorithm: HashAlgorithm) -> &'static str {
    // The metadata's names happen to be the kernel's.
    algorithm.name()
}

const fn cipher_name(cipher: Cipher) -> &'static str {
    match cipher {
        Cipher::Aes128Gcm | Cipher::Aes256Gcm => "gcm(aes)",
        Cipher::Sm4Gcm => "gcm(sm4)",
    }
}

impl Kernel {
    fn open() -> Result<Self, AfAlgError> {
        socket::probe().map_err(AfAlgError::NotThere)?;
        // A name that the kernel does not know is a question, not a failure.
        let hash = |algorithm| Some((algorithm, Transform::bind("hash", hash_name(algorithm)).ok()?));
        let cipher = |cipher| {
            let transform = Transform::bind("aead", cipher_name(cipher)).ok()?;
            transform.set_tag_len(Cipher::TAG_LEN).ok()?;
            Some((cipher, transform))
        };
        let hashes = [HashAlgorithm::Sha256, HashAlgorithm::Sha512, HashAlgorithm::Sm3];
        let ciphers = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Sm4Gcm];
        let kernel = Self {
            hashes: hashes.into_iter().filter_map(hash).collect(),
            ciphers: ciphers.into_iter().filter_map(cipher).collect(),
        };
        let nothing = kernel.hashes.is_empty() && kernel.ciphers.is_empty();
        if nothing { Err(AfAlgError::Nothing) } else { Ok(kernel) }
    }

    fn capabilities(&self) -> io::Result<Capabilities> {
        let mut max_bytes = MAX_BYTES;
        for (cipher, transform) in &self.ciphers {
            transform.set_key(&vec![0; cipher.key_len()])?;
            max_bytes = max_bytes.min(transform.room(MAX_BYTES + MAX_AAD)?.saturating_sub(MAX_AAD));
        }
        Ok(Capabilities {
            name: "af-alg",
            kind: Kind::Device,
            hashes: self.hashes.iter().map(|(algorithm, _)| *algorithm).collect(),
            ciphers: self.ciphers.iter().map(|(cipher, _)| *cipher).collect(),
            schemes: Vec::new(),
            midstates: false,
            depth: DEPTH,
            max_bytes,
        })
    }

    fn identity(&self) -> String {
        let hashes = self.hashes.iter().map(|(algorithm, _)| hash_name(*algorithm));
        let mut names: Vec<_> =
            hashes.chain(self.ciphers.iter().map(|(cipher, _)| cipher_name(*cipher))).collect();
        names.dedup();
        format!("AF_ALG {}", names.join(" "))
    }
}

impl Primitives for Kernel {
    fn digest(&mut self, algorithm: HashAlgorithm, parts: &[&[u8]]) -> Result<Digest, JobError> {
        let found = self.hashes.iter().find(|(it, _)| *it == algorithm);
        let (_, transform) = found.ok_or(JobError::Engine("kernel has no such hash function"))?;
        let mut output = vec![0; algorithm.digest_len()];
        transform.hash(parts, &mut output).map_err(|_| JobError::Engine("kernel fails to hash"))?;
        Digest::new(&output).ok_or(JobError::Engine("kernel hands out a digest of a wrong length"))
    }

    fn open(&mut self, seal: &Seal, data: &[u8]) -> Result<Vec<u8>, JobError> {
        if data.len() < Cipher::TAG_LEN {
            return Err(JobError::TagMismatch(seal.cipher));
        }
        let found = self.ciphers.iter().find(|(it, _)| *it == seal.cipher);
        let (_, transform) = found.ok_or(JobError::Engine("kernel has no such cipher"))?;
        let mut output = vec![0; data.len() - Cipher::TAG_LEN];
        let opened = transform
            .set_key(seal.key.expose())
            .and_then(|()| transform.open(&seal.nonce, &seal.aad, data, &mut output));
        match opened {
            Ok(true) => Ok(output),
            Ok(false) => Err(JobError::TagMismatch(seal.cipher)),
            Err(_) => Err(JobError::Engine("kernel fails to open")),
        }
    }

    fn verify(&mut self, _: &PublicKey, _: &[u8], _: &[u8]) -> Result<Verdict, JobError> {
        Err(JobError::Engine("kernel checks no signatures"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_it_is_told_apart_from_one_with_it() {
        match AfAlgEngine::open() {
            Ok(engine) => assert!(engine.identity().starts_with("AF_ALG ")),
            Err(error @ AfAlgError::NotThere(_)) => {
                assert!(error.to_string().starts_with("this kernel has no AF_ALG"));
                println!("not checked: {error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
