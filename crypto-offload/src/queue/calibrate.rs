//! Measuring what an engine's work costs.

use std::sync::Arc;
use std::time::Duration;

use super::cost::{Class, Costs};
use crate::engine::{Capabilities, Engine, Kind};
use crate::job::{Job, JobError, JobId, Operation, Outcome, Seal, SecretKey, Verdict};
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
    /// Measures everything that the engine can do. All questions take turns, so that a slow spell of the machine hits
    /// them alike.
    ///
    /// # Errors
    /// What the engine did instead of answering.
    pub(super) fn costs(&mut self) -> Result<Costs, JobError> {
        let questions = questions(self.engine.capabilities());
        let mut samples = vec![[Duration::ZERO; SAMPLES]; questions.len()];
        for (_, operation) in &questions {
            self.time(operation.clone())?;
        }
        for turn in 0..SAMPLES {
            for ((_, operation), samples) in questions.iter().zip(&mut samples) {
                samples[turn] = self.time(operation.clone())?;
            }
        }
        let typical = match self.engine.capabilities().kind {
            Kind::Software => 0,
            Kind::Device => SAMPLES / 2,
        };
        let mut costs = Costs::default();
        for ((class, operation), mut samples) in questions.into_iter().zip(samples) {
            samples.sort_unstable();
            costs.0.entry(class).or_default().add(operation.len(), samples[typical]);
        }
        Ok(costs)
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

/// What is measured: each hash and cipher at each size that the engine takes, each signature scheme once.
fn questions(capabilities: &Capabilities) -> Vec<(Class, Operation)> {
    let mut questions = Vec::new();
    for bytes in SIZES {
        for &algorithm in &capabilities.hashes {
            questions
                .push((Class::Hash(algorithm), Operation::Digest { algorithm, data: vec![0x5a; bytes] }));
        }
        for &cipher in &capabilities.ciphers {
            let key = Arc::new(SecretKey::new(vec![0x5a; cipher.key_len()]));
            let seal = Seal { cipher, key, nonce: [0; 12], aad: vec![0; 31] };
            if let Ok(data) = aead::seal(&seal, vec![0x5a; bytes]) {
                questions.push((Class::Open(cipher), Operation::Open { seal, data }));
            }
        }
    }
    questions.retain(|(_, operation)| capabilities.supports(operation));
    for question in known_answers(capabilities) {
        if let Operation::VerifySignature { key, .. } = &question.operation
            && question.expected == Ok(Outcome::Signature(Verdict::Valid))
        {
            questions.push((Class::Verify(key.scheme), question.operation));
        }
    }
    questions
}
