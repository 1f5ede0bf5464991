//! Why an image's way through the gateway ends.

use crypto_offload::job::JobError;
use ota::tree::TreeError;

use crate::gateway::message::{FetchError, StoreError};

/// Why a pipeline gave up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::gateway) enum PipelineError {
    /// The origin's or the publisher's fault: a chunk that is not what was signed, twice.
    #[error("chunk {chunk} of {count} is not what was signed: {error}")]
    ChunkRejected {
        /// Index of the chunk, from 0.
        chunk: u64,
        /// Number of chunks.
        count: u64,
        /// What the engine says.
        error: JobError,
    },
    /// The origin's or the publisher's fault: a node of the chunk tree that is not what was signed.
    #[error("the chunk tree is not what was signed: {0}")]
    Tree(TreeError),
    /// The origin's or the network's fault.
    #[error("{error}; given up after {attempts} attempts in a row")]
    Fetch {
        /// Attempts without a new byte.
        attempts: u32,
        /// The last failure.
        error: FetchError,
    },
    /// This machine's fault.
    #[error("{0}")]
    Store(StoreError),
    /// The engine's fault.
    #[error("{0}")]
    Engine(JobError),
}

impl PipelineError {
    /// A stable code for events.
    pub(in crate::gateway) const fn code(&self) -> &'static str {
        match self {
            Self::ChunkRejected { .. } => "CHUNK_REJECTED",
            Self::Tree(_) => "TREE_REJECTED",
            Self::Fetch { error, .. } => match error {
                FetchError::NotFound { .. } => "NOT_FOUND",
                FetchError::Refused { .. } => "REFUSED",
                FetchError::Truncated { .. } => "TRUNCATED",
                FetchError::TooLong { .. } => "ENDLESS_DATA",
                FetchError::Stalled { .. } => "STALLED",
                FetchError::Unreachable { .. } => "UNREACHABLE",
            },
            Self::Store(_) => "STORE",
            Self::Engine(_) => "ENGINE",
        }
    }

    /// The chunk it is about.
    pub(in crate::gateway) const fn chunk(&self) -> Option<u64> {
        match self {
            Self::ChunkRejected { chunk, .. } => Some(*chunk),
            _ => None,
        }
    }
}
