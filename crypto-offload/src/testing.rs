//! Engines for tests: one whose faults are switched on and off while it runs, and others on simulated time.

mod timed;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::{Capabilities, Engine, Health, Kind, Refused, RefusedReason};
use crate::job::{Cipher, Completion, Job, JobError, JobId, Operation, Outcome, Verdict};
use crate::software::{KnownAnswerFailed, SoftwareEngine, run};
pub use timed::{TimedSoftware, calibrate, emulated_device};

/// What is wrong with a [`FaultyEngine`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Each completion takes that many polls.
    Slow(u32),
    /// Every job fails with [`JobError::Engine`].
    Fail,
    /// Every job's data is called forged.
    RejectAll,
    /// Every job is answered with seven opened bytes, whatever was asked.
    Babble,
    /// Jobs are swallowed until the fault is taken away; then they are answered, late.
    Stall,
    /// Says that it is down, and refuses.
    Down,
}

/// A device that computes like the CPU does, but for its [`Fault`].
#[derive(Debug)]
pub struct FaultyEngine {
    capabilities: Capabilities,
    shared: Arc<Mutex<Shared>>,
    waiting: VecDeque<(u32, Job)>,
}

/// The test's end of a [`FaultyEngine`].
#[derive(Clone, Debug)]
pub struct FaultControl(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    fault: Fault,
    submitted: Vec<JobId>,
}

impl FaultyEngine {
    /// A device of that name, in order, and the switch for its faults.
    ///
    /// # Errors
    /// [`KnownAnswerFailed`] when this build computes wrongly, so that no test can mean anything.
    pub fn new(name: &'static str) -> Result<(Self, FaultControl), KnownAnswerFailed> {
        let software = SoftwareEngine::new()?;
        let capabilities = Capabilities { name, kind: Kind::Device, ..software.capabilities().clone() };
        let shared = Arc::new(Mutex::new(Shared::default()));
        let control = FaultControl(Arc::clone(&shared));
        Ok((Self { capabilities, shared, waiting: VecDeque::new() }, control))
    }

    /// The same device with other capabilities.
    #[must_use]
    pub fn with_capabilities(mut self, change: impl FnOnce(&mut Capabilities)) -> Self {
        change(&mut self.capabilities);
        self
    }
}

impl FaultControl {
    /// From now on, this is wrong with the engine.
    pub fn set(&self, fault: Fault) {
        lock(&self.0).fault = fault;
    }

    /// How many jobs the engine has taken in, known questions included.
    pub fn submitted(&self) -> usize {
        lock(&self.0).submitted.len()
    }
}

impl Engine for FaultyEngine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, job: Job) -> Result<(), Refused> {
        let mut shared = lock(&self.shared);
        let reason = if shared.fault == Fault::Down {
            Some(RefusedReason::Down)
        } else if !self.capabilities.supports(&job.operation) {
            Some(RefusedReason::Unsupported)
        } else {
            (self.waiting.len() >= self.capabilities.depth).then_some(RefusedReason::Full)
        };
        if let Some(reason) = reason {
            return Err(Refused::new(job, reason));
        }
        shared.submitted.push(job.id);
        self.waiting.push_back((0, job));
        Ok(())
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        let fault = lock(&self.shared).fault;
        let (polls, _) = self.waiting.front_mut()?;
        match fault {
            Fault::Stall | Fault::Down => return None,
            Fault::Slow(needed) if *polls < needed => {
                *polls += 1;
                return None;
            }
            _ => {}
        }
        let (_, job) = self.waiting.pop_front()?;
        let result = match fault {
            Fault::Fail => Err(JobError::Engine("device error")),
            Fault::RejectAll => reject(job.operation),
            Fault::Babble => Ok(Outcome::Opened(vec![0; 7])),
            _ => run(job.operation),
        };
        Some(Completion { id: job.id, result })
    }

    fn health(&self) -> Health {
        match lock(&self.shared).fault {
            Fault::Down => Health::Down("switched off by the test"),
            _ => Health::Up,
        }
    }
}

fn reject(operation: Operation) -> Result<Outcome, JobError> {
    match operation {
        Operation::Chunk(chunk) => {
            let cipher = chunk.seal.map_or(Cipher::Aes128Gcm, |seal| seal.cipher);
            Err(JobError::TagMismatch(cipher))
        }
        Operation::Open { seal, .. } => Err(JobError::TagMismatch(seal.cipher)),
        Operation::VerifySignature { .. } => Ok(Outcome::Signature(Verdict::Invalid)),
        digest @ Operation::Digest { .. } => run(digest),
    }
}

/// A test that panicked elsewhere leaves nothing half done in here.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
