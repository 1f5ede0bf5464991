//! The CPU as an engine.

use std::collections::VecDeque;

use super::operation;
use crate::engine::{Capabilities, Engine, Health, Kind, Refused, RefusedReason};
use crate::job::{Cipher, Completion, HashAlgorithm, Job, SignatureScheme};
use crate::known_answer::known_answers;

/// Jobs that may wait in a [`SoftwareEngine`].
const DEPTH: usize = 16;
/// Largest buffer of one job: what GCM allows under one nonce (SP 800-38D clause 5.2.1.1) is out of reach on a
/// 32-bit machine, and no chunk comes near this.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Does every job itself, one per call of [`Engine::poll_completion`], in the order they came.
#[derive(Debug)]
pub struct SoftwareEngine {
    capabilities: Capabilities,
    waiting: VecDeque<Job>,
}

/// The CPU, or this build, computes something else than the standards say. Nothing it computes may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("known-answer test failed: {0}")]
pub struct KnownAnswerFailed(
    /// The question.
    pub &'static str,
);

impl SoftwareEngine {
    /// An engine that has just answered every known question correctly. Takes a few milliseconds.
    ///
    /// # Errors
    /// [`KnownAnswerFailed`] with the first wrong answer.
    pub fn new() -> Result<Self, KnownAnswerFailed> {
        let capabilities = Capabilities {
            name: "software",
            kind: Kind::Software,
            hashes: vec![HashAlgorithm::Sha256, HashAlgorithm::Sha512, HashAlgorithm::Sm3],
            ciphers: vec![Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Sm4Gcm],
            schemes: vec![
                SignatureScheme::Ed25519,
                SignatureScheme::EcdsaSha2Nistp256,
                SignatureScheme::RsaPssSha256,
                SignatureScheme::Sm2Sm3,
            ],
            midstates: true,
            depth: DEPTH,
            max_bytes: MAX_BYTES,
        };
        for question in known_answers(&capabilities) {
            if operation::run(question.operation) != question.expected {
                return Err(KnownAnswerFailed(question.name));
            }
        }
        Ok(Self { capabilities, waiting: VecDeque::new() })
    }
}

impl Engine for SoftwareEngine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, job: Job) -> Result<(), Refused> {
        if !self.capabilities.supports(&job.operation) {
            return Err(Refused::new(job, RefusedReason::Unsupported));
        }
        if self.waiting.len() >= self.capabilities.depth {
            return Err(Refused::new(job, RefusedReason::Full));
        }
        self.waiting.push_back(job);
        Ok(())
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        let job = self.waiting.pop_front()?;
        Some(Completion { id: job.id, result: operation::run(job.operation) })
    }

    fn health(&self) -> Health {
        Health::Up
    }
}
