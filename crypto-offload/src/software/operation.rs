//! Carrying out one operation, here and now.

use super::{aead, hash, signature};
use crate::job::{ChunkOperation, Digest, JobError, Operation, Outcome};

/// Carries out `operation`. Buffers come back in the outcome; those of a refused operation are dropped.
///
/// # Errors
/// Any [`JobError`] but [`JobError::Deadline`].
pub fn run(operation: Operation) -> Result<Outcome, JobError> {
    match operation {
        Operation::Chunk(chunk) => {
            let leaf = hash::digest(chunk.tree_algorithm, &[&chunk.leaf_prefix, &chunk.data]);
            open_chunk(chunk, leaf)
        }
        Operation::Digest { algorithm, data } => Ok(Outcome::Digest(hash::digest(algorithm, &[&data]))),
        Operation::Open { seal, data } => aead::open(&seal, data).map(Outcome::Opened),
        Operation::VerifySignature { key, message, signature } => {
            Ok(Outcome::Signature(signature::verify(&key, &message, &signature)))
        }
    }
}

/// The order is the contract of [`ChunkOperation`]: authenticate, hash, open. `found` is the chunk's leaf.
pub(super) fn open_chunk(chunk: ChunkOperation, found: Digest) -> Result<Outcome, JobError> {
    if found != chunk.expected_leaf {
        return Err(JobError::LeafMismatch { expected: chunk.expected_leaf, found });
    }
    let running =
        chunk.running.iter().map(|state| hash::advance(state, &chunk.data)).collect::<Result<_, _>>()?;
    let data = match &chunk.seal {
        Some(seal) => aead::open(seal, chunk.data)?,
        None => chunk.data,
    };
    Ok(Outcome::Chunk { data, running })
}
