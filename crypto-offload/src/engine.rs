//! What carries jobs out: the CPU, or a coprocessor behind a driver.

#[cfg(any(feature = "pkcs11", feature = "af-alg"))]
pub(crate) mod waiting;

use std::fmt;
use std::os::fd::BorrowedFd;

use crate::job::{Cipher, Completion, HashAlgorithm, Job, Operation, SignatureScheme};

/// Carries out jobs.
///
/// For the author of a coprocessor driver, the contract:
///
/// * [`Engine::submit`] and [`Engine::poll_completion`] return at once. The one exception is the software engine,
///   which has nobody else to do the work.
/// * An accepted job is completed once, with the id it came with, in any order; or never, when the device hangs. The
///   queue stops waiting by itself and ignores an answer that comes too late. Buffers of a job that was accepted stay
///   the engine's until its completion, so a driver may leave them under DMA for as long as the device holds them.
/// * Of a chunk, nothing is opened when the leaf does not match ([`crate::job::ChunkOperation`]), and no plain byte
///   is handed out when the tag does not.
/// * A failure of the device is [`crate::job::JobError::Engine`]. All other errors are statements about the data, and
///   the queue has each of them confirmed by the CPU before it believes them.
/// * The engine must answer the questions of [`crate::known_answer`] correctly before the queue uses it, after start
///   and after each failure.
/// * Keys arrive by value in [`crate::job::SecretKey`] and are the engine's to wipe from the device. One that stays in the
///   device between jobs goes when its last owner has dropped it.
pub trait Engine: fmt::Debug + Send {
    /// What this engine can do. Does not change while the engine lives.
    fn capabilities(&self) -> &Capabilities;

    /// Takes a job in.
    ///
    /// # Errors
    /// Gives the job back, untouched, with the reason.
    fn submit(&mut self, job: Job) -> Result<(), Refused>;

    /// Gives out one finished job, or `None` when none is finished now.
    fn poll_completion(&mut self) -> Option<Completion>;

    /// Whether the engine believes that it works. The queue tests that belief.
    fn health(&self) -> Health;

    /// Prepares the engine for its questions, before the first time and after each failure: whatever it still holds
    /// is given up. Returns at once.
    fn recover(&mut self) {}

    /// What exactly this is, for reports: the device's own name and version where it has them.
    fn identity(&self) -> String {
        self.capabilities().name.to_owned()
    }

    /// What becomes readable when there may be a completion; `None` for an engine that works only when it is polled.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Whether the engine waits for [`Engine::fd`] to become writable too.
    fn wants_write(&self) -> bool {
        false
    }
}

/// What an engine can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// For reports: `software`, or the device's name.
    pub name: &'static str,
    /// Whose word counts.
    pub kind: Kind,
    /// Hash functions, for digests and chunk leaves.
    pub hashes: Vec<HashAlgorithm>,
    /// Ciphers, for opening.
    pub ciphers: Vec<Cipher>,
    /// Signature schemes, for checking.
    pub schemes: Vec<SignatureScheme>,
    /// Whether hash midstates can be taken in and handed out in the software engine's form. Without it, chunks that
    /// carry running hashes go elsewhere.
    pub midstates: bool,
    /// Jobs that may be in the engine at once. At least 1.
    pub depth: usize,
    /// Largest buffer of one job, in bytes.
    pub max_bytes: usize,
}

/// Whose word counts when engines disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The CPU that runs this program: the reference.
    Software,
    /// Anything beyond a driver.
    Device,
}

impl Capabilities {
    /// Whether the engine can carry out `operation`.
    pub fn supports(&self, operation: &Operation) -> bool {
        let able = match operation {
            Operation::Chunk(chunk) => {
                self.hashes.contains(&chunk.tree_algorithm)
                    && (chunk.running.is_empty() || self.midstates)
                    && chunk.running.iter().all(|state| self.hashes.contains(&state.algorithm))
                    && chunk.seal.as_ref().is_none_or(|seal| self.ciphers.contains(&seal.cipher))
            }
            Operation::Digest { algorithm, .. } => self.hashes.contains(algorithm),
            Operation::Open { seal, .. } => self.ciphers.contains(&seal.cipher),
            Operation::VerifySignature { key, .. } => self.schemes.contains(&key.scheme),
        };
        able && operation.len() <= self.max_bytes
    }
}

/// Why an engine, or the queue, did not take a job. The job comes back.
#[derive(Debug, thiserror::Error)]
#[error("job was not taken: {reason}")]
pub struct Refused {
    /// The job, untouched.
    pub job: Box<Job>,
    /// Why.
    pub reason: RefusedReason,
}

impl Refused {
    /// `job` goes back for `reason`.
    pub fn new(job: Job, reason: RefusedReason) -> Self {
        Self { job: Box::new(job), reason }
    }
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    /// As many jobs or bytes as may be are in already. Try again after a completion.
    #[error("full")]
    Full,
    /// No engine can do this operation, or none takes a buffer this large.
    #[error("unsupported")]
    Unsupported,
    /// The engine does not work at present.
    #[error("down")]
    Down,
}

/// Whether an engine works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As far as it knows.
    Up,
    /// As far as it knows, but less well than it should, and why.
    Degraded(&'static str),
    /// Not, and why, in a few words for the log.
    Down(&'static str),
}
