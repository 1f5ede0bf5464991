//! A job in the queue, and what an answer to it looks like.

use std::time::Instant;

use super::lane::Lane;
use crate::engine::Kind;
use crate::job::{Cipher, Job, JobError, JobId, Operation, Outcome};

/// A job that was taken in and has no result yet.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: JobId,
    pub(super) deadline: Instant,
    pub(super) bytes: usize,
    shape: Shape,
    /// `None` while the only copy is at an engine.
    pub(super) operation: Option<Operation>,
    /// By lane: whether it has had this job.
    pub(super) tried: Vec<bool>,
    /// The device that has answered, and its answer, while the CPU does the same again.
    pub(super) claim: Option<Claim>,
    /// What the last engine that failed said.
    pub(super) failure: JobError,
}

/// A device's answer that the CPU is to confirm.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) lane: usize,
    pub(super) result: Result<Outcome, JobError>,
}

/// What an answer to a question must look like.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Chunk { plain_len: Option<usize>, running: usize },
    Digest { len: usize },
    Opened { plain_len: Option<usize> },
    Signature,
}

impl Entry {
    pub(super) fn new(job: Job, lanes: usize) -> Self {
        Self {
            id: job.id,
            deadline: job.deadline,
            bytes: job.operation.len(),
            shape: Shape::of(&job.operation),
            operation: Some(job.operation),
            tried: vec![false; lanes],
            claim: None,
            failure: JobError::Engine("no engine is working"),
        }
    }

    /// The engines that may have this job now, the preferred one first, in use or not.
    pub(super) fn candidates(&self, lanes: &[Lane]) -> Vec<usize> {
        let Some(operation) = &self.operation else { return Vec::new() };
        let may =
            |lane: &Lane| lane.supports(operation) && (self.claim.is_none() || lane.kind() == Kind::Software);
        let lanes = lanes.iter().zip(&self.tried).enumerate();
        lanes.filter(|&(_, (lane, &tried))| !tried && may(lane)).map(|(at, _)| at).collect()
    }

    /// There is a new engine in front of number `at`.
    pub(super) fn handle_added_lane(&mut self, at: usize) {
        self.tried.insert(at.min(self.tried.len()), false);
        if let Some(claim) = self.claim.as_mut().filter(|claim| claim.lane >= at) {
            claim.lane += 1;
        }
    }

    /// Whether `outcome` is an answer to this question at all.
    pub(super) fn is_answered_by(&self, outcome: &Outcome) -> bool {
        self.shape.fits(outcome)
    }
}

impl Shape {
    fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Chunk(chunk) => Self::Chunk {
                plain_len: match chunk.seal {
                    Some(_) => chunk.data.len().checked_sub(Cipher::TAG_LEN),
                    None => Some(chunk.data.len()),
                },
                running: chunk.running.len(),
            },
            Operation::Digest { algorithm, .. } => Self::Digest { len: algorithm.digest_len() },
            Operation::Open { data, .. } => {
                Self::Opened { plain_len: data.len().checked_sub(Cipher::TAG_LEN) }
            }
            Operation::VerifySignature { .. } => Self::Signature,
        }
    }

    fn fits(self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Chunk { plain_len, running: count }, Outcome::Chunk { data, running }) => {
                plain_len == Some(data.len()) && running.len() == count
            }
            (Self::Digest { len }, Outcome::Digest(digest)) => digest.as_bytes().len() == len,
            (Self::Opened { plain_len }, Outcome::Opened(data)) => plain_len == Some(data.len()),
            (Self::Signature, Outcome::Signature(_)) => true,
            _ => false,
        }
    }
}
