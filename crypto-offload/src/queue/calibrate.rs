//! Measuring what an engine's work costs.

use std::sync::Arc;
use std::time::Duration;

use super::cost::{Class, Costs, Curve};
use crate::engine::{Capabilities, Engine, Kind};
use crate::job::{Job, JobError, JobId, Operation, Seal, SecretKey};
use crate::known_answer::known_answers;
use crate::software::aead;

/// Sizes that are measured, in bytes. Beyond the last, cost grows as between the last two.
const SIZES: [usize; 6] = [64, 256, 1 << 10, 4 << 10, 16 << 10, 128 << 10];
/// Times that each size is measured, after once for the caches. Of the CPU the best counts, since whatever else the
/// machine does at its start can only make one slower; of a device the median, since waking up for its answers is part
/// of its price.
const SAMPLES: usize = 9;

/// The caller's means of measuring: time, and waiting.
pub struct Clock<'a> {
    /// A time that never runs backwards, from any point on.
    pub now: &'a mut dyn FnMut() -> Duration,
    /// Called while a device has no answer yet.
    pub pause: &'a mut dyn FnMut(),
}

impl std::fmt::Debug for Clock<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

/// An engine while it is measured.
pub(super) struct Bench<'a, 'b> {
    pub(super) engine: &'a mut dyn Engine,
    pub(super) clock: &'a mut Clock<'b>,
    /// Gives ids that no job has.
    pub(super) next_id: &'a mut dyn FnMut() -> JobId,
    /// How long one answer may take.
    pub(super) patience: Duration,
    /// As far as the engine reads it: when it may stop.
    pub(super) deadline: std::time::Instant,
    /// Answers to other questions, from before.
    pub(super) late: u64,
}

impl Bench<'_, '_> {
    /// Measures everything that the engine can do.
    ///
    /// # Errors
    /// What the engine did instead of answering.
    pub(super) fn costs(&mut self) -> Result<Costs, JobError> {
        let capabilities = self.engine.capabilities().clone();
        let mut costs = Costs::default();
        for &algorithm in &capabilities.hashes {
            let operation = |bytes| Operation::Digest { algorithm, data: vec![0x5a; bytes] };
            costs.0.insert(Class::Hash(algorithm), self.curve(&capabilities, operation)?);
        }
        for &cipher in &capabilities.ciphers {
            let key = Arc::new(SecretKey::new(vec![0x5a; cipher.key_len()]));
            let seal = Seal { cipher, key, nonce: [0; 12], aad: vec![0; 31] };
            let operation = |bytes| {
                let plain = vec![0x5a; bytes];
                let data = aead::seal(&seal, plain).unwrap_or_default();
                Operation::Open { seal: seal.clone(), data }
            };
            costs.0.insert(Class::Open(cipher), self.curve(&capabilities, operation)?);
        }
        for question in known_answers(&capabilities) {
            if let Operation::VerifySignature { key, .. } = &question.operation
                && !costs.0.contains_key(&Class::Verify(key.scheme))
            {
                let class = Class::Verify(key.scheme);
                let mut curve = Curve::default();
                curve.add(question.operation.len(), self.typical(&question.operation)?);
                costs.0.insert(class, curve);
            }
        }
        Ok(costs)
    }

    fn curve(
        &mut self,
        capabilities: &Capabilities,
        operation: impl Fn(usize) -> Operation,
    ) -> Result<Curve, JobError> {
        let mut curve = Curve::default();
        for bytes in SIZES {
            let operation = operation(bytes);
            if capabilities.supports(&operation) {
                curve.add(operation.len(), self.typical(&operation)?);
            }
        }
        Ok(curve)
    }

    fn typical(&mut self, operation: &Operation) -> Result<Duration, JobError> {
        self.time(operation.clone())?;
        let mut samples = [Duration::ZERO; SAMPLES];
        for sample in &mut samples {
            *sample = self.time(operation.clone())?;
        }
        samples.sort_unstable();
        Ok(match self.engine.capabilities().kind {
            Kind::Software => samples[0],
            Kind::Device => samples[SAMPLES / 2],
        })
    }

    fn time(&mut self, operation: Operation) -> Result<Duration, JobError> {
        let id = (self.next_id)();
        let begin = (self.clock.now)();
        let job = Job { id, deadline: self.deadline, operation };
        self.engine.submit(job).map_err(|_| JobError::Engine("engine refuses what it claims to support"))?;
        loop {
            match self.engine.poll_completion() {
                Some(completion) if completion.id == id => {
                    let took = (self.clock.now)().saturating_sub(begin);
                    return completion.result.map(|_| took);
                }
                Some(_) => self.late += 1,
                None if (self.clock.now)().saturating_sub(begin) > self.patience => {
                    return Err(JobError::Deadline);
                }
                None => (self.clock.pause)(),
            }
        }
    }
}
