//! An engine whose interface waits, on a thread of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::thread::Builder;

use rustix::event::{EventfdFlags, eventfd};

use super::{Capabilities, Engine, Health, Refused, RefusedReason};
use crate::job::{
    ChunkOperation, Completion, Digest, HashAlgorithm, Job, JobError, Operation, Outcome, PublicKey, Seal,
    Verdict,
};

/// What such an interface does, one call after the other. No call may wait for ever by itself; the queue gives up on one
/// that does, but its thread remains.
pub(crate) trait Primitives: Send + 'static {
    /// Hashes `parts` one after the other.
    fn digest(&mut self, algorithm: HashAlgorithm, parts: &[&[u8]]) -> Result<Digest, JobError>;

    /// Opens `data` (ciphertext, then tag).
    fn open(&mut self, seal: &Seal, data: &[u8]) -> Result<Vec<u8>, JobError>;

    /// Checks a signature.
    fn verify(&mut self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<Verdict, JobError>;
}

/// Does jobs one after the other on a thread that ends with the engine: at once, or after the job that it has.
#[derive(Debug)]
pub(crate) struct WaitingEngine {
    capabilities: Capabilities,
    identity: String,
    jobs: SyncSender<Job>,
    completions: Receiver<Completion>,
    /// Counts completions that were not looked at.
    event: Arc<OwnedFd>,
    in_flight: usize,
    /// Whether the thread has ended without being told to.
    dead: bool,
}

impl WaitingEngine {
    /// An engine over `primitives`, on a thread called `name`. It claims no midstates, since [`Primitives`] have none.
    pub(crate) fn new(
        name: &str,
        capabilities: Capabilities,
        identity: String,
        mut primitives: impl Primitives,
    ) -> std::io::Result<Self> {
        let (jobs, orders) = sync_channel::<Job>(capabilities.depth);
        let (answers, completions) = channel();
        let event = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let signal = Arc::clone(&event);
        // Not joined: an interface that hangs must not hold the program up.
        Builder::new().name(name.to_owned()).spawn(move || {
            for Job { id, operation, .. } in orders {
                let result = run(&mut primitives, operation);
                if answers.send(Completion { id, result }).is_err() {
                    return;
                }
                // A counter that is full says already what there is to say.
                let _ = rustix::io::write(&signal, &1_u64.to_ne_bytes());
            }
        })?;
        let capabilities = Capabilities { midstates: false, ..capabilities };
        Ok(Self { capabilities, identity, jobs, completions, event, in_flight: 0, dead: false })
    }
}

impl Engine for WaitingEngine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, job: Job) -> Result<(), Refused> {
        if !self.capabilities.supports(&job.operation) {
            return Err(Refused::new(job, RefusedReason::Unsupported));
        }
        if self.in_flight >= self.capabilities.depth {
            return Err(Refused::new(job, RefusedReason::Full));
        }
        match self.jobs.try_send(job) {
            Ok(()) => {
                self.in_flight += 1;
                Ok(())
            }
            Err(TrySendError::Full(job)) => Err(Refused::new(job, RefusedReason::Full)),
            Err(TrySendError::Disconnected(job)) => {
                self.dead = true;
                Err(Refused::new(job, RefusedReason::Down))
            }
        }
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        // Reset before the look: what comes in between sets it again.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        match self.completions.try_recv() {
            Ok(completion) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                Some(completion)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.dead = true;
                None
            }
        }
    }

    fn health(&self) -> Health {
        if self.dead { Health::Down("engine's thread has ended") } else { Health::Up }
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.dead).then(|| self.event.as_fd())
    }
}

fn run(primitives: &mut impl Primitives, operation: Operation) -> Result<Outcome, JobError> {
    match operation {
        Operation::Chunk(chunk) => open_chunk(primitives, chunk),
        Operation::Digest { algorithm, data } => primitives.digest(algorithm, &[&data]).map(Outcome::Digest),
        Operation::Open { seal, data } => open(primitives, &seal, &data).map(Outcome::Opened),
        Operation::VerifySignature { key, message, signature } => {
            primitives.verify(&key, &message, &signature).map(Outcome::Signature)
        }
    }
}

/// The order is the contract of [`ChunkOperation`]: authenticate, then open. There are no running hashes, since the
/// engine claims no midstates.
fn open_chunk(primitives: &mut impl Primitives, chunk: ChunkOperation) -> Result<Outcome, JobError> {
    let found = primitives.digest(chunk.tree_algorithm, &[&chunk.leaf_prefix, &chunk.data])?;
    if found != chunk.expected_leaf {
        return Err(JobError::LeafMismatch { expected: chunk.expected_leaf, found });
    }
    let data = match &chunk.seal {
        Some(seal) => open(primitives, seal, &chunk.data)?,
        None => chunk.data,
    };
    Ok(Outcome::Chunk { data, running: Vec::new() })
}

fn open(primitives: &mut impl Primitives, seal: &Seal, data: &[u8]) -> Result<Vec<u8>, JobError> {
    let found = seal.key.expose().len();
    if found != seal.cipher.key_len() {
        return Err(JobError::KeyLength { cipher: seal.cipher, found });
    }
    primitives.open(seal, data)
}
