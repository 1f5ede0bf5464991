//! The CPU as an engine.

use std::collections::VecDeque;

use super::operation;
use crate::engine::{Capabilities, Engine, Health, Kind, Refused, RefusedReason};
use crate::job::{Cipher, Completion, Digest, HashAlgorithm, Job, Operation, SignatureScheme};
use crate::known_answer::known_answers;
use crate::sm3;

/// Jobs that may wait in a [`SoftwareEngine`].
const DEPTH: usize = 16;
/// Largest buffer of one job: what GCM allows under one nonce (SP 800-38D clause 5.2.1.1) is out of reach on a
/// 32-bit machine, and no chunk comes near this.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Does every job itself, one per call of [`Engine::poll_completion`], in the order they came.
///
/// The SM3 leaves of all chunks that wait are hashed together, with the first of them.
#[derive(Debug)]
pub struct SoftwareEngine {
    capabilities: Capabilities,
    /// Each with its leaf, where that is known already.
    waiting: VecDeque<(Job, Option<Digest>)>,
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

impl SoftwareEngine {
    /// Hashes the leaves of all waiting chunks, if the next one's is not known and there are others.
    fn hash_leaves(&mut self) {
        if self.waiting.front().is_none_or(|(job, leaf)| leaf.is_some() || sm3_parts(job).is_none()) {
            return;
        }
        let pending = |leaf: &Option<Digest>, job: &Job| leaf.is_none() && sm3_parts(job).is_some();
        let messages: Vec<[&[u8]; 2]> = self
            .waiting
            .iter()
            .filter(|(_, leaf)| leaf.is_none())
            .filter_map(|(job, _)| sm3_parts(job))
            .collect();
        if messages.len() < 2 {
            return;
        }
        let digests = sm3::digest_many(&messages);
        let chunks = self.waiting.iter_mut().filter(|(job, leaf)| pending(leaf, job));
        for ((_, leaf), digest) in chunks.zip(digests) {
            *leaf = Digest::new(&digest);
        }
    }
}

/// What an SM3 leaf is the digest of.
fn sm3_parts(job: &Job) -> Option<[&[u8]; 2]> {
    match &job.operation {
        Operation::Chunk(chunk) if chunk.tree_algorithm == HashAlgorithm::Sm3 => {
            Some([&chunk.leaf_prefix, &chunk.data])
        }
        _ => None,
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
        self.waiting.push_back((job, None));
        Ok(())
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        self.hash_leaves();
        let (job, leaf) = self.waiting.pop_front()?;
        let result = match (job.operation, leaf) {
            (Operation::Chunk(chunk), Some(leaf)) => operation::open_chunk(chunk, leaf),
            (operation, _) => operation::run(operation),
        };
        Some(Completion { id: job.id, result })
    }

    fn health(&self) -> Health {
        Health::Up
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::job::{ChunkOperation, HashState, JobError, JobId, Outcome, Seal, SecretKey};
    use crate::software::{aead, hash};

    fn chunk(number: u8, genuine: bool) -> Operation {
        let key = Arc::new(SecretKey::new(vec![1; 16]));
        let seal = Seal { cipher: Cipher::Sm4Gcm, key, nonce: [number; 12], aad: Vec::new() };
        let algorithm = if number == 3 { HashAlgorithm::Sha256 } else { HashAlgorithm::Sm3 };
        let data = aead::seal(&seal, vec![number; 500 + usize::from(number)]).unwrap();
        let leaf_prefix = vec![number; 9];
        let expected_leaf = hash::digest(algorithm, &[&leaf_prefix, if genuine { &data } else { b"" }]);
        let running = vec![HashState::new(HashAlgorithm::Sm3)];
        let seal = Some(seal);
        Operation::Chunk(ChunkOperation {
            tree_algorithm: algorithm,
            leaf_prefix,
            expected_leaf,
            running,
            seal,
            data,
        })
    }

    #[test]
    fn chunks_that_wait_together_end_as_each_by_itself() {
        let mut engine = SoftwareEngine::new().unwrap();
        let mut expected = Vec::new();
        for number in 0..16 {
            let operation = match number {
                5 => Operation::Digest { algorithm: HashAlgorithm::Sm3, data: vec![5; 70] },
                _ => chunk(number, number != 7),
            };
            expected.push(operation::run(operation.clone()));
            let (id, deadline) = (JobId(number.into()), Instant::now());
            engine.submit(Job { id, deadline, operation }).unwrap();
        }
        assert!(matches!(expected[7], Err(JobError::LeafMismatch { .. })));
        assert!(matches!(&expected[3], Ok(Outcome::Chunk { data, .. }) if *data == vec![3; 503]));
        for (number, expected) in (0_u64..).zip(expected) {
            let completion = engine.poll_completion().unwrap();
            assert_eq!((completion.id, completion.result), (JobId(number), expected));
        }
        assert!(engine.poll_completion().is_none());
    }
}
